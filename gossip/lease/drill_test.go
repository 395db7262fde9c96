package lease

import (
	"fmt"
	"testing"
	"time"

	"resilver/watchdog"
)

func (w *world) drill(node, id string, trigger string) answer {
	req := request(id)
	req.Trigger = trigger
	req.Budget = watchdog.Budget{NodePerDay: 1, ClusterPerHour: 1, Cooldown: time.Hour}
	return w.acquire(node, req)
}

// TestDrillsCostNothing: drills that fail, are lost or are released with
// whatever outcome charge no budget, begin no cooldown and open no breaker; and
// they are granted whatever the budgets say.
func TestDrillsCostNothing(t *testing.T) {
	for _, trigger := range []string{watchdog.TriggerDrill, watchdog.TriggerBackup} {
		w := newWorld(t)
		for i, outcome := range []watchdog.Result{watchdog.Failed, watchdog.Failed, watchdog.Failed, watchdog.Failed, watchdog.RolledBack, watchdog.Cancelled, watchdog.Healed} {
			a := w.drill("db2", fmt.Sprint("d", i), trigger)
			w.want(codeOK, a)
			w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: outcome}))
		}
		a := w.drill("db2", "lost", trigger)
		w.want(codeOK, a)
		w.want(codeOK, w.do(command{Op: opExpire, Token: a.Lease.Token, Renewed: a.Lease.Renewed}))
		if w.s.Breaker.Open || len(w.s.Charges) != 0 || w.s.Nodes["db2"] != (nodeLog{}) {
			t.Fatalf("%s: breaker %+v, charges %+v, node %+v", trigger, w.s.Breaker, w.s.Charges, w.s.Nodes["db2"])
		}
		w.want(codeOK, w.drill("db2", "r", watchdog.TriggerAuto)) // within a budget of one, without cooldown
	}
}

// TestDrillAfterFailures: a drill that fails after rebuilds that failed does
// not open the breaker that a person has closed.
func TestDrillAfterFailures(t *testing.T) {
	w := newWorld(t)
	for i := range failuresInRow {
		w.rebuild("db2", fmt.Sprint("r", i), false, watchdog.Record{Outcome: watchdog.Failed})
	}
	w.want(codeOK, w.do(command{Op: opAck, Reason: "ann"}))
	a := w.drill("db2", "d", watchdog.TriggerDrill)
	w.want(codeOK, a)
	w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: watchdog.Failed}))
	if w.s.Breaker.Open {
		t.Errorf("the breaker is open: %s", w.s.Breaker.Reason)
	}
}

// TestDrillNeverEntersCritical: whoever holds the lease for a drill cannot end
// a server under it.
func TestDrillNeverEntersCritical(t *testing.T) {
	w := newWorld(t)
	a := w.drill("db2", "d", watchdog.TriggerDrill)
	w.want(codeOK, a)
	w.want(codeStale, w.do(command{Op: opEnter, Node: "db2", Token: a.Lease.Token}))
	if w.s.Lease.Phase != watchdog.PhaseCopying {
		t.Errorf("phase %s", w.s.Lease.Phase)
	}
	w.wantGuard("lease", w.acquire("db3", request("r")))
	w.do(command{Op: opPause, Pause: &watchdog.Pause{By: "ann", Reason: "x"}})
	w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: watchdog.Passed}))
	if got := w.s.History[0]; got.Outcome != watchdog.Passed || got.Trigger != watchdog.TriggerDrill {
		t.Errorf("the record is %+v", got)
	}
	w.wantGuard("paused", w.drill("db2", "e", watchdog.TriggerDrill))
}
