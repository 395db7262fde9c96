package watchdog

import "time"

// DonorPrimary says when the primary may be copied from.
type DonorPrimary string

// The rules for copying from the primary.
const (
	PrimaryLastResort DonorPrimary = "last-resort" // only when no replica fits and none merely has to be waited for
	PrimaryNever      DonorPrimary = "never"
	PrimaryAllowed    DonorPrimary = "allowed"
)

// Policy is what the operator allows. All times are wall time.
type Policy struct {
	Observe        bool          // say what would be done, and do nothing
	Exclude        bool          // this node is never rebuilt (node.rebuild: false)
	BrokenFor      time.Duration // how long a fault that only a rebuild cures must last
	SystemicWindow time.Duration // faults of several replicas within it have one cause
	Archive        bool          // transactions that only this node has are archived, not refused
	ErrantConfirm  time.Duration // how long a difference to the primary must last to count
	KeepServing    int           // healthy nodes, the primary included, that must remain
	MaxBytes       int64         // larger copies want a person; 0: no limit
	Budget         Budget
	DonorPrimary   DonorPrimary
	DonorMaxLag    time.Duration
	Fresh          time.Duration // how old a report may be and still count
}
