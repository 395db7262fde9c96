package watchdog

// Step is one of the twelve of a rebuild.
type Step string

// The twelve steps, in order.
const (
	StepPreflight  Step = "preflight"
	StepQuarantine Step = "quarantine"
	StepStage      Step = "stage"
	StepPrepare    Step = "prepare"
	StepOwn        Step = "own"
	StepRehearse   Step = "rehearse"
	StepStop       Step = "stop"
	StepSwap       Step = "swap"
	StepStart      Step = "start"
	StepAttach     Step = "attach"
	StepVerify     Step = "verify"
	StepSettle     Step = "settle"
)

// StepKeep is what a backup has after rehearse: the copy is left where backups
// go.
const StepKeep Step = "keep"

// Steps are the twelve steps in order.
func Steps() []Step {
	return []Step{StepPreflight, StepQuarantine, StepStage, StepPrepare, StepOwn, StepRehearse,
		StepStop, StepSwap, StepStart, StepAttach, StepVerify, StepSettle}
}

// Result is how a rebuild ended.
type Result string

// The results.
const (
	Healed     Result = "healed"
	Failed     Result = "failed"
	Cancelled  Result = "cancelled"
	RolledBack Result = "rolled-back"
	Passed     Result = "passed" // of a drill: the copy would have done
)

// Results are all results.
func Results() []Result { return []Result{Healed, Failed, Cancelled, RolledBack, Passed} }

// Cause is why a rebuild was begun.
type Cause struct {
	Class  Class  `json:"class"`
	Reason string `json:"reason"`
	// GTID is the transaction the replica failed at, where there is one: the
	// same error at the same GTID after a rebuild opens the breaker.
	GTID string `json:"gtid,omitempty"`
	// Since is when the fault began.
	Since Stamp `json:"since"`
}

// Same says that two causes are the same fault, whenever each began.
func (c Cause) Same(o Cause) bool {
	return c.Class == o.Class && c.Reason == o.Reason && c.GTID == o.GTID
}

// StepTime is how long a step took.
type StepTime struct {
	Name    Step    `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Archive is where what existed only on a node is kept, beside its old datadir.
type Archive struct {
	Path         string `json:"path"`
	GTIDs        string `json:"gtids"` // the first of them, where there are very many
	Transactions int    `json:"transactions"`
	Bytes        int64  `json:"bytes"`
	Objects      int    `json:"objects"` // made by SQL there alone, with their definitions
}

// Record is one rebuild as history keeps it. Started is the grant, Ended the
// release; Outcome is empty while it runs.
type Record struct {
	ID            string     `json:"id"`
	Node          string     `json:"node"`
	Trigger       string     `json:"trigger"` // auto | manual | drill | backup | rollback
	By            string     `json:"by"`
	Cause         Cause      `json:"cause"`
	Donor         string     `json:"donor"`
	Method        string     `json:"method"`
	Token         uint64     `json:"token"`
	Started       Stamp      `json:"started"`
	Ended         Stamp      `json:"ended"`
	Outcome       Result     `json:"outcome"`
	Error         string     `json:"error"`
	Bytes         int64      `json:"bytes"`
	OutageSeconds *float64   `json:"outage_seconds"`
	Steps         []StepTime `json:"steps"`
	Guards        []Guard    `json:"guards"`
	// Backup is the directory that a backup was left in.
	Backup string `json:"backup,omitempty"`
	// Archive is what existed only on the node, nil where nothing did.
	Archive *Archive `json:"archive,omitempty"`
	// Compared is what of the copy was held against the primary, nil where
	// nothing was.
	Compared *Compared `json:"compared,omitempty"`
	// Untouched says that the rebuild was given up before stage, and not by
	// its sidecar's death: its charge on the budgets is given back.
	Untouched bool `json:"untouched"`
}
