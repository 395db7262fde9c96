package watchdog

// Class is what kind of state a replica is in; it decides which cures fit.
type Class string

// The classes that Diagnose knows so far.
const (
	ClassHealthy     Class = "healthy"
	ClassLagging     Class = "lagging"
	ClassTransient   Class = "transient"  // connection to the source: it heals with its cause
	ClassCredential  Class = "credential" // account or password refused by the source
	ClassDivergent   Class = "divergent"  // the applier met data that is not the source's
	ClassPurged      Class = "purged"     // the source no longer has the logs this node needs
	ClassStopped     Class = "stopped"    // threads off without an error: a person's stop until proven otherwise
	ClassUnreachable Class = "unreachable"
	ClassUnknown     Class = "unknown"
)

// Curable says that a rebuild, and only a rebuild, cures the class
// (diagnosis.md, rule 2).
func (c Class) Curable() bool { return c == ClassDivergent || c == ClassPurged }

// Classes are all classes, for metrics and for checking configuration.
func Classes() []Class {
	return []Class{ClassHealthy, ClassLagging, ClassTransient, ClassCredential, ClassDivergent,
		ClassPurged, ClassStopped, ClassUnreachable, ClassUnknown}
}

// Evidence is what a verdict rests on.
type Evidence struct {
	Thread  string `json:"thread"` // receiver | applier | server
	Errno   int    `json:"errno"`
	Message string `json:"message"`
	GTID    string `json:"gtid"`
}

// Diagnosis is the judgement of one observation in the light of the ones
// before it.
type Diagnosis struct {
	Class    Class    `json:"class"`
	Reason   string   `json:"reason"` // a code from a closed set, such as row-missing
	Detail   string   `json:"detail"` // one line for a person
	Evidence Evidence `json:"evidence"`
	// Since is when the fault began. A class that alternates with others of
	// the same fault does not start anew.
	Since Stamp `json:"since"`
	Lag   Lag   `json:"-"`
	// Moves is how often Executed grew since the fault began; a healthy
	// replica of an idle source does not move.
	Moves int `json:"-"`
}
