package lease

import (
	"testing"
	"time"

	"resilver/watchdog"
)

func (w *world) rollback(node, id string) answer {
	return w.acquire(node, &watchdog.Request{ID: id, Trigger: watchdog.TriggerRollback, By: "ann",
		Budget: watchdog.Budget{NodePerDay: 1, ClusterPerHour: 1, Cooldown: time.Hour}})
}

// TestRollbackLease: a person's rollback takes no donor, is not charged, and
// an open breaker does not hold it back; but it is one at a time with all
// others, and a pause refuses it. Once it is done the breaker is open until an
// ack, and then the fault that is back may be healed again.
func TestRollbackLease(t *testing.T) {
	w := newWorld(t)
	w.wantGuard("donor", w.acquire("db2", &watchdog.Request{ID: "none", Trigger: watchdog.TriggerManual}))
	cause := watchdog.Cause{Class: watchdog.ClassDivergent, Reason: "row-missing", GTID: "u:7"}
	req := request("r")
	req.Cause = cause
	a := w.acquire("db2", req)
	w.want(codeOK, a)
	w.wantGuard("lease", w.rollback("db3", "b0"))
	w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: watchdog.Healed}))

	w.do(command{Op: opPause, Pause: &watchdog.Pause{By: "ann", Reason: "x"}})
	w.wantGuard("paused", w.rollback("db2", "b1"))
	w.do(command{Op: opResume})
	charges, log := len(w.s.Charges), w.s.Nodes["db2"]
	for i, id := range []string{"b2", "b3"} { // the second past an open breaker
		a := w.rollback("db2", id)
		w.want(codeOK, a)
		w.wantGuard("lease", w.acquire("db3", request("other")))
		w.want(codeOK, w.do(command{Op: opEnter, Node: "db2", Token: a.Lease.Token}))
		w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: watchdog.RolledBack}))
		if !w.s.Breaker.Open || w.s.History[0].Trigger != watchdog.TriggerRollback {
			t.Fatalf("%d: breaker %+v after %+v", i, w.s.Breaker, w.s.History[0])
		}
	}
	if now := w.s.Nodes["db2"]; len(w.s.Charges) != charges || now.Fails != log.Fails || now.Ended != log.Ended {
		t.Errorf("charges %d, %d before; node %+v, it was %+v", len(w.s.Charges), charges, now, log)
	}
	w.wantGuard("breaker", w.acquire("db2", request("again")))
	w.want(codeOK, w.do(command{Op: opAck, Reason: "ann"}))
	req.ID = "again"
	w.want(codeOK, w.acquire("db2", req))
}
