package healing

import (
	"fmt"
	"time"

	"resilver/watchdog"
)

// fetchingStalls is for how many times verify.stall a replica that applies
// nothing may live on what it fetches.
const fetchingStalls = 10

// advance is how a new replica gets on.
type advance struct {
	stall             time.Duration
	executed, fetched string // as last seen while both threads ran
	moves             int    // of executed, without a break
	applied, at       time.Time
}

// look takes in an observation. What is fetched counts as well, because a long
// transaction is applied while more comes in, but not without end.
func (a *advance) look(obs watchdog.Observation, now time.Time) {
	if both, _ := runs(obs); !both {
		a.executed, a.moves = "", 0
		return
	}
	if a.executed != "" && obs.Executed != a.executed {
		a.moves, a.applied, a.at = a.moves+1, now, now
	}
	fetched := obs.Source().Retrieved
	if fetched != a.fetched && now.Sub(a.applied) <= fetchingStalls*a.stall {
		a.at = now
	}
	a.executed, a.fetched = obs.Executed, fetched
}

func (a *advance) stalled(now time.Time) bool { return now.Sub(a.at) > a.stall }

// runs says whether both threads run, and else in words what they do.
func runs(obs watchdog.Observation) (bool, string) {
	src := obs.Source()
	if !obs.Reachable || src == nil {
		return false, fmt.Sprintf("%d sources %s", len(obs.Sources), obs.Err)
	}
	state := fmt.Sprintf("receiver %s, applier %s: %s%s", src.Receiver.Running, src.Applier.Running, src.Receiver.Message, src.Applier.Message)
	return src.Receiver.Running == watchdog.ThreadRunning && src.Applier.Running == watchdog.ThreadRunning, state
}
