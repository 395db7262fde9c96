package lease

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

// world drives a state by commands, with a wall clock of its own.
type world struct {
	t     *testing.T
	s     *state
	index uint64
	now   time.Time
	req   int
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s: newState(), index: 3, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.do(command{Op: opInit, ID: "c1"})
	return w
}

func (w *world) do(c command) answer {
	w.index++
	c.V, c.At = commandVersion, w.now.UnixMilli()
	if c.Req == "" {
		w.req++
		c.Req = fmt.Sprint("r", w.req)
	}
	return w.s.apply(w.index, c)
}

func request(id string) *watchdog.Request {
	return &watchdog.Request{
		ID: id, Donor: "db1", Trigger: "auto", Method: "clone",
		Cause:  watchdog.Cause{Class: watchdog.ClassDivergent, Reason: "row-missing"},
		Budget: watchdog.Budget{NodePerDay: 100, ClusterPerHour: 100},
	}
}

func (w *world) acquire(node string, req *watchdog.Request) answer {
	return w.do(command{Op: opAcquire, Node: node, TTL: 2 * time.Minute, Request: req})
}

// grant acquires and fails the test where it is refused.
func (w *world) grant(node, id string) uint64 {
	w.t.Helper()
	a := w.acquire(node, request(id))
	if a.Code != codeOK {
		w.t.Fatalf("acquire %s: %+v", id, a)
	}
	return a.Lease.Token
}

func (w *world) release(node string, token uint64, rec watchdog.Record) answer {
	return w.do(command{Op: opRelease, Node: node, Token: token, Record: &rec})
}

// rebuild runs a whole one with the given outcome.
func (w *world) rebuild(node, id string, critical bool, rec watchdog.Record) {
	w.t.Helper()
	token := w.grant(node, id)
	if critical {
		w.want(codeOK, w.do(command{Op: opEnter, Node: node, Token: token}))
	}
	w.want(codeOK, w.release(node, token, rec))
}

func (w *world) want(c code, a answer) {
	w.t.Helper()
	if a.Code != c {
		w.t.Fatalf("answer %+v, want %s", a, c)
	}
}

func (w *world) wantGuard(guard string, a answer) {
	w.t.Helper()
	if a.Code != codeRefused || a.Refusal.Guard != guard {
		w.t.Fatalf("answer %+v, want refusal by %s", a, guard)
	}
}

func TestGrantAndToken(t *testing.T) {
	w := newWorld(t)
	first := w.grant("db2", "a")
	if first != w.index {
		t.Errorf("token %d, want the index %d", first, w.index)
	}
	w.wantGuard("lease", w.acquire("db3", request("b")))
	w.want(codeOK, w.release("db2", first, watchdog.Record{Outcome: watchdog.Healed}))
	w.wantGuard("lease", w.acquire("db2", request("a"))) // that rebuild has ended
	w.index = 1                                          // a group built anew from a snapshot counts from the start
	if next := w.grant("db3", "b"); next != first+1 {
		t.Errorf("token %d after %d", next, first)
	}
}

func TestTokenGrowsAfterRecover(t *testing.T) {
	w := newWorld(t)
	token := w.grant("db2", "a")
	b, err := w.s.encode()
	if err != nil {
		t.Fatal(err)
	}
	if w.s, err = decodeState(b); err != nil {
		t.Fatal(err)
	}
	w.index = 0
	w.want(codeOK, w.release("db2", token, watchdog.Record{Outcome: watchdog.Healed}))
	if next := w.grant("db3", "b"); next <= token {
		t.Errorf("token %d after %d", next, token)
	}
}

func TestRepeatGetsFirstAnswer(t *testing.T) {
	w := newWorld(t)
	c := command{Op: opAcquire, Req: "same", Node: "db2", TTL: time.Minute, Request: request("a")}
	a := w.do(c)
	w.want(codeOK, a)
	w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: watchdog.Healed}))
	if again := w.do(c); !reflect.DeepEqual(again, a) {
		t.Errorf("repeat got %+v, want %+v", again, a)
	}
	if w.s.Lease != nil {
		t.Error("the repeat granted once more")
	}
}

func TestSameRebuildGetsSameGrant(t *testing.T) {
	w := newWorld(t)
	token := w.grant("db2", "a")
	before := w.s.Lease.Renewed
	if again := w.grant("db2", "a"); again != token {
		t.Errorf("token %d, want %d", again, token)
	}
	if w.s.Lease.Renewed <= before {
		t.Error("the repeated acquire did not renew: its asker's deadline would be too late")
	}
	if len(w.s.Charges) != 1 {
		t.Errorf("%d charges, want 1", len(w.s.Charges))
	}
	w.wantGuard("lease", w.acquire("db3", request("a")))
}

func TestExpireComparesAndSets(t *testing.T) {
	w := newWorld(t)
	token := w.grant("db2", "a")
	old := w.s.Lease.Renewed
	w.want(codeOK, w.do(command{Op: opRenew, Node: "db2", Token: token}))
	w.want(codeStale, w.do(command{Op: opExpire, Token: token, Renewed: old}))
	w.want(codeStale, w.do(command{Op: opExpire, Token: token + 1, Renewed: w.s.Lease.Renewed}))
	w.want(codeOK, w.do(command{Op: opExpire, Token: token, Renewed: w.s.Lease.Renewed}))
	if r := w.s.History[0]; r.Outcome != watchdog.Failed || r.Error != "lost" || r.Node != "db2" || r.Ended.IsZero() {
		t.Errorf("record %+v", r)
	}
	w.want(codeStale, w.do(command{Op: opRenew, Node: "db2", Token: token}))
	w.want(codeStale, w.do(command{Op: opEnter, Node: "db2", Token: token}))
}

func TestCriticalNeverExpires(t *testing.T) {
	w := newWorld(t)
	token := w.grant("db2", "a")
	w.want(codeOK, w.do(command{Op: opEnter, Node: "db2", Token: token}))
	r := w.s.Lease.Renewed
	w.want(codeStale, w.do(command{Op: opExpire, Token: token, Renewed: r}))
	w.want(codeOK, w.do(command{Op: opAck, Reason: "too early"}))
	if w.s.Lease == nil {
		t.Fatal("ack ended a lease that is not overdue")
	}
	w.want(codeOK, w.do(command{Op: opOverdue, Token: token, Renewed: r}))
	if !w.s.Breaker.Open || w.s.Lease == nil {
		t.Fatalf("breaker %+v, lease %+v", w.s.Breaker, w.s.Lease)
	}
	w.want(codeOK, w.do(command{Op: opAck, Reason: "ann"}))
	if w.s.Breaker.Open || w.s.Lease != nil {
		t.Fatalf("after ack: breaker %+v, lease %+v", w.s.Breaker, w.s.Lease)
	}
	// Its holder comes back after all: history learns the truth.
	w.want(codeStale, w.release("db2", token, watchdog.Record{Outcome: watchdog.Healed, Bytes: 7}))
	if r := w.s.History[0]; r.Outcome != watchdog.Healed || r.Bytes != 7 || w.s.Nodes["db2"].Fails != 0 {
		t.Errorf("record %+v, node %+v", r, w.s.Nodes["db2"])
	}
}

func TestOnlyTheHolderMayActOnIt(t *testing.T) {
	w := newWorld(t)
	token := w.grant("db2", "a")
	for _, o := range []op{opRenew, opEnter, opAdopt} {
		w.want(codeStale, w.do(command{Op: o, Node: "db3", Token: token, ID: "a"}))
		w.want(codeStale, w.do(command{Op: o, Node: "db2", Token: token - 1, ID: "a"}))
	}
	w.want(codeStale, w.release("db3", token, watchdog.Record{Outcome: watchdog.Healed}))
	if w.s.Lease == nil || w.s.Lease.Phase != watchdog.PhaseCopying {
		t.Fatalf("lease %+v", w.s.Lease)
	}
}

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	token := w.grant("db2", "a")
	w.want(codeStale, w.do(command{Op: opAdopt, Node: "db2", Token: token, ID: "a"}))
	if w.s.Lease != nil || w.s.History[0].Outcome != watchdog.Cancelled {
		t.Fatalf("lease %+v, record %+v", w.s.Lease, w.s.History[0])
	}
	if len(w.s.Charges) != 1 {
		t.Error("a sidecar that dies in each copy would never meet its budget")
	}
	token = w.grant("db2", "b")
	w.want(codeOK, w.do(command{Op: opEnter, Node: "db2", Token: token}))
	w.want(codeOK, w.do(command{Op: opAdopt, Node: "db2", Token: token, ID: "b"}))
	w.want(codeStale, w.do(command{Op: opAdopt, Node: "db2", Token: token, ID: "other"}))
}

func TestRefusals(t *testing.T) {
	day := 24 * time.Hour
	healed := watchdog.Record{Outcome: watchdog.Healed}
	failed := watchdog.Record{Outcome: watchdog.Failed, Untouched: true}
	for name, c := range map[string]struct {
		before func(w *world)
		change func(r *watchdog.Request)
		guard  string // empty: granted
	}{
		"plain":             {},
		"donor is holder":   {change: func(r *watchdog.Request) { r.Donor = "db2" }, guard: "donor"},
		"no donor":          {change: func(r *watchdog.Request) { r.Donor = "" }, guard: "donor"},
		"cluster paused":    {before: func(w *world) { w.pause("", 0) }, guard: "paused"},
		"node paused":       {before: func(w *world) { w.pause("db2", 0) }, guard: "paused"},
		"other node paused": {before: func(w *world) { w.pause("db3", 0) }},
		"pause is over":     {before: func(w *world) { w.pause("", time.Hour); w.now = w.now.Add(time.Hour) }},
		"pause cannot be overridden": {before: func(w *world) { w.pause("", 0) }, guard: "paused",
			change: func(r *watchdog.Request) { r.Override = []string{"paused", "lease"} }},
		"resumed": {before: func(w *world) {
			w.pause("", 0)
			w.want(codeOK, w.do(command{Op: opResume}))
		}},
		"breaker": {before: func(w *world) { w.s.open("x") }, guard: "breaker"},
		"breaker overridden": {before: func(w *world) { w.s.open("x") },
			change: func(r *watchdog.Request) { r.Override = []string{"breaker"} }},
		"node budget": {before: func(w *world) { w.rebuild("db2", "1", true, healed) }, guard: "budget-node",
			change: func(r *watchdog.Request) { r.Budget.NodePerDay = 1 }},
		"node budget overridden": {before: func(w *world) { w.rebuild("db2", "1", true, healed) },
			change: func(r *watchdog.Request) { r.Budget.NodePerDay = 1; r.Override = []string{"budget-node"} }},
		"budget of another node": {before: func(w *world) { w.rebuild("db3", "1", true, healed) },
			change: func(r *watchdog.Request) { r.Budget.NodePerDay = 1 }},
		"budget of yesterday": {before: func(w *world) { w.rebuild("db2", "1", true, healed); w.now = w.now.Add(day) },
			change: func(r *watchdog.Request) { r.Budget.NodePerDay = 1 }},
		"untouched gives back": {before: func(w *world) { w.rebuild("db2", "1", false, failed) },
			change: func(r *watchdog.Request) { r.Budget.NodePerDay = 1 }},
		"expiry keeps the charge": {before: func(w *world) {
			w.want(codeOK, w.do(command{Op: opExpire, Token: w.grant("db2", "1"), Renewed: w.index}))
		}, guard: "budget-node", change: func(r *watchdog.Request) { r.Budget.NodePerDay = 1 }},
		"cluster budget": {before: func(w *world) { w.rebuild("db3", "1", true, healed) }, guard: "budget-cluster",
			change: func(r *watchdog.Request) { r.Budget.ClusterPerHour = 1 }},
		"cluster budget an hour later": {
			before: func(w *world) { w.rebuild("db3", "1", true, healed); w.now = w.now.Add(time.Hour) },
			change: func(r *watchdog.Request) { r.Budget.ClusterPerHour = 1 }},
		"no budget at all": {guard: "budget-node", change: func(r *watchdog.Request) { r.Budget.NodePerDay = 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.before != nil {
				c.before(w)
			}
			req := request("mine")
			if c.change != nil {
				c.change(req)
			}
			a := w.acquire("db2", req)
			if c.guard == "" {
				w.want(codeOK, a)
			} else {
				w.wantGuard(c.guard, a)
			}
		})
	}
}

func (w *world) pause(node string, d time.Duration) {
	p := &watchdog.Pause{By: "ann", Reason: "work", Node: node}
	if d != 0 {
		p.Until = watchdog.StampOf(w.now.Add(d))
	}
	w.want(codeOK, w.do(command{Op: opPause, Pause: p}))
}

func TestCooldownDoubles(t *testing.T) {
	w := newWorld(t)
	ask := func(id string) answer {
		r := request(id)
		r.Budget.Cooldown = 10 * time.Minute
		return w.acquire("db2", r)
	}
	end := func(a answer, o watchdog.Result) {
		t.Helper()
		w.want(codeOK, a)
		w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: o, Untouched: true}))
	}
	end(ask("1"), watchdog.Healed)
	w.now = w.now.Add(9 * time.Minute)
	w.wantGuard("cooldown", ask("2"))
	w.now = w.now.Add(time.Minute)
	end(ask("3"), watchdog.Failed)
	w.now = w.now.Add(19 * time.Minute)
	w.wantGuard("cooldown", ask("4"))
	w.now = w.now.Add(time.Minute)
	end(ask("5"), watchdog.Cancelled) // does not count
	end(ask("6"), watchdog.Failed)
	w.now = w.now.Add(39 * time.Minute)
	w.wantGuard("cooldown", ask("7"))
	w.now = w.now.Add(time.Minute)
	end(ask("8"), watchdog.Healed)
	w.now = w.now.Add(10 * time.Minute)
	w.want(codeOK, ask("9"))
}

func TestInvariant10WhatOpensTheBreaker(t *testing.T) {
	rec := func(o watchdog.Result, untouched bool) watchdog.Record {
		return watchdog.Record{Outcome: o, Untouched: untouched}
	}
	for name, c := range map[string]struct {
		do   func(w *world)
		open bool
	}{
		"healed":                 {func(w *world) { w.rebuild("db2", "1", true, rec(watchdog.Healed, false)) }, false},
		"cancelled in stop":      {func(w *world) { w.rebuild("db2", "1", true, rec(watchdog.Cancelled, true)) }, false},
		"failed while copying":   {func(w *world) { w.rebuild("db2", "1", false, rec(watchdog.Failed, true)) }, false},
		"failed before critical": {func(w *world) { w.rebuild("db2", "1", false, rec(watchdog.Failed, false)) }, false},
		"rolled back":            {func(w *world) { w.rebuild("db2", "1", true, rec(watchdog.RolledBack, false)) }, true},
		"wrong after the swap":   {func(w *world) { w.rebuild("db2", "1", true, rec(watchdog.Failed, false)) }, true},
		"three in a row": {func(w *world) {
			for i := range 3 {
				w.rebuild("db2", fmt.Sprint(i), false, rec(watchdog.Failed, true))
			}
		}, true},
		"three of two nodes": {func(w *world) {
			for i, n := range []string{"db2", "db3", "db2"} {
				w.rebuild(n, fmt.Sprint(i), false, rec(watchdog.Failed, true))
			}
		}, false},
		"three with one healed": {func(w *world) {
			w.rebuild("db2", "1", false, rec(watchdog.Failed, true))
			w.rebuild("db2", "2", false, rec(watchdog.Failed, true))
			w.rebuild("db2", "3", true, rec(watchdog.Healed, false))
			w.rebuild("db2", "4", false, rec(watchdog.Failed, true))
		}, false},
		"three lost": {func(w *world) {
			for i := range 3 {
				w.want(codeOK, w.do(command{Op: opExpire, Token: w.grant("db2", fmt.Sprint(i)), Renewed: w.index}))
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.do(w)
			if w.s.Breaker.Open != c.open {
				t.Errorf("breaker %+v, want open %v", w.s.Breaker, c.open)
			}
		})
	}
}

func TestSameErrorAtSameTransaction(t *testing.T) {
	w := newWorld(t)
	ask := func(id, gtid string) answer {
		r := request(id)
		r.Cause.GTID = gtid
		return w.acquire("db2", r)
	}
	heal := func(a answer) {
		t.Helper()
		w.want(codeOK, a)
		w.want(codeOK, w.release("db2", a.Lease.Token, watchdog.Record{Outcome: watchdog.Healed}))
	}
	heal(ask("1", ""))
	heal(ask("2", ""))
	heal(ask("3", "u:5"))
	heal(ask("4", "u:6"))
	w.wantGuard("breaker", ask("5", "u:6"))
	if !w.s.Breaker.Open {
		t.Fatal("breaker closed")
	}
	w.want(codeOK, w.do(command{Op: opAck, Reason: "ann"}))
	w.want(codeOK, ask("6", "u:6"))
}

func TestUnknownCommandsAreAnswered(t *testing.T) {
	m := newMachine()
	for _, data := range []string{"", "{", "[]", `{"v":2,"req":"x","op":"acquire"}`, `{"v":1,"req":"x","op":"nonsense"}`,
		`{"v":1,"op":"renew"}`, `{"v":1,"req":"a","op":"acquire"}`, `{"v":1,"req":"b","op":"release"}`,
		`{"v":1,"req":"c","op":"pause"}`, `{"v":1,"req":"d","op":"init-cluster"}`} {
		a, ok := m.Apply(&raft.Log{Index: 1, Data: []byte(data)}).(answer)
		if !ok || a.Code != codeInvalid {
			t.Errorf("%s: %+v", data, a)
		}
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	w := newWorld(t)
	w.rebuild("db2", "1", true, watchdog.Record{Outcome: watchdog.RolledBack, Steps: []watchdog.StepTime{{Name: watchdog.StepStage, Seconds: 1}}})
	w.pause("db3", time.Hour)
	w.want(codeOK, w.do(command{Op: opAck, Reason: "ann"}))
	w.grant("db2", "2")
	m := newMachine()
	m.state = w.s
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	to := newMachine()
	if err := to.Restore(io.NopCloser(bytes.NewReader(snap.(snapshot)))); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(w.s)
	b, _ := json.Marshal(to.state)
	if !bytes.Equal(a, b) {
		t.Errorf("restored\n%s\nwant\n%s", b, a)
	}
	if g, _ := to.leaseNow(); g == nil {
		t.Error("no lease after restore")
	}
	for _, bad := range []string{"", "{", `{"version":99}`} {
		if err := to.Restore(io.NopCloser(bytes.NewReader([]byte(bad)))); err == nil {
			t.Errorf("restored %q", bad)
		}
	}
	if after, _ := json.Marshal(to.state); !bytes.Equal(a, after) {
		t.Error("a failed restore changed the state")
	}
}

func TestBounds(t *testing.T) {
	w := newWorld(t)
	for i := range 200 {
		w.now = w.now.Add(time.Minute)
		w.rebuild(fmt.Sprint("n", i%7), fmt.Sprint(i), true, watchdog.Record{Outcome: watchdog.Healed})
	}
	if len(w.s.History) != maxHistory || len(w.s.Seen) != maxSeen {
		t.Errorf("history %d, seen %d", len(w.s.History), len(w.s.Seen))
	}
	if w.s.History[0].ID != "199" {
		t.Errorf("newest is %s", w.s.History[0].ID)
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	w := newWorld(t)
	w.grant("db2", "a")
	at := w.s.Clock
	w.now = w.now.Add(-time.Hour)
	w.want(codeOK, w.do(command{Op: opRenew, Node: "db2", Token: w.s.Lease.Token}))
	if w.s.Clock != at {
		t.Errorf("clock went from %d to %d", at, w.s.Clock)
	}
}
