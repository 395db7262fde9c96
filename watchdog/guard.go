package watchdog

// Verdict is a guard's answer. Unknown counts as fail.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"
	Fail    Verdict = "fail"
	Unknown Verdict = "unknown"
)

// Guard is one condition that must hold before an action, with what was seen
// and what was wanted.
type Guard struct {
	ID          string  `json:"id"`
	Verdict     Verdict `json:"verdict"`
	Value       string  `json:"value"`
	Want        string  `json:"want"`
	Reason      string  `json:"reason"`
	Overridable bool    `json:"overridable"`
}

// Candidate is one possible donor and why it does or does not fit.
type Candidate struct {
	Name    string   `json:"name"`
	Score   float64  `json:"score"`
	Fit     bool     `json:"fit"`
	Reasons []string `json:"reasons"`
	// Wait says that only a passing condition keeps it from being fit, such
	// as a backup it is serving.
	Wait bool `json:"-"`
}

// Rung is one step of the healing ladder.
type Rung string

// The rungs that exist so far.
const (
	RungNone    Rung = ""
	RungWait    Rung = "wait"
	RungRebuild Rung = "rebuild"
	// RungRollback is none of the ladder's: a person's alone.
	RungRollback Rung = "rollback"
)

// Decision is what is to be done now and why.
type Decision struct {
	Rung     Rung
	WouldAct bool // every guard of the rung passes
	Guards   []Guard
	Donors   []Candidate
	Donor    string // the best fitting candidate
	Method   string
	Bytes    int64 // estimate of the copy, 0: unknown
	Weighed  bool  // all facts were asked for; else it is a first, cheap look
}

// GuardIDs are the names of all guards.
func GuardIDs() []string {
	return []string{"mode", "node-excluded", "paused", "role-known", "not-primary", "no-replicas-attached", "fixable-by-rebuild", "drill", "server",
		"broken-long-enough", "not-systemic", "single-source", "asynchronous", "not-delayed", "same-filters", "lease", "breaker",
		"keep-serving", "budget-node", "budget-cluster", "cooldown", "size", "retention", "donor", "donor-not-backuping", "primary-alive",
		"errant", "local-objects", "old-datadir", "staging-place", "starts-read-only", "source-account", "service", "encryption", "engines", "semi-sync", "disk-space", "versions", "wipe-first"}
}

// Overridable are the names of the guards that a person may let fail. The
// others stand for what nobody can make good by saying so.
func Overridable() []string {
	return []string{"node-excluded", "no-replicas-attached", "not-systemic", "not-delayed", "same-filters", "breaker",
		"keep-serving", "budget-node", "budget-cluster", "cooldown", "size", "local-objects", "engines", "semi-sync"}
}

// Failing returns the guards that do not pass.
func Failing(guards []Guard) []Guard {
	var out []Guard
	for _, g := range guards {
		if g.Verdict != Pass {
			out = append(out, g)
		}
	}
	return out
}
