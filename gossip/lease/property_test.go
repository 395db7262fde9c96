package lease

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"resilver/watchdog"
)

// TestMachineInvariants drives the machine by random commands and repeats, and
// holds after each: tokens only grow, a grant is made only where nobody holds
// the lease, a critical lease ends only by its holder or by an ack once it is
// overdue, budgets are bounded, and a repeat gets the first answer.
func TestMachineInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newState()
		s.apply(1, command{V: commandVersion, Req: "init", Op: opInit, ID: "c1"})
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		index := uint64(1)
		var past []command
		first := map[string]answer{}
		budget := watchdog.Budget{NodePerDay: 2, ClusterPerHour: 3, Cooldown: time.Minute}
		for i := range rapid.IntRange(1, 120).Draw(t, "steps") {
			index += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
			now = now.Add(time.Duration(rapid.IntRange(-60, 1200).Draw(t, "sec")) * time.Second)
			var c command
			if len(past) > 0 && rapid.IntRange(0, 5).Draw(t, "repeat") == 0 {
				c = past[max(0, len(past)-1-rapid.IntRange(0, 10).Draw(t, "back"))]
			} else {
				c = drawCommand(t, s, i, budget)
			}
			c.At = now.UnixMilli()
			var before grant
			held := s.Lease != nil
			if held {
				before = *s.Lease
			}
			last := s.LastToken
			a := s.apply(index, c)
			if old, ok := first[c.Req]; ok {
				if !reflect.DeepEqual(a, old) {
					t.Fatalf("repeat of %s got %+v, first %+v", c.Req, a, old)
				}
				continue
			}
			past, first[c.Req] = append(past, c), a
			checkStep(t, s, c, a, held, before, last)
		}
	})
}

func checkStep(t *rapid.T, s *state, c command, a answer, held bool, before grant, last uint64) {
	if s.LastToken < last {
		t.Fatalf("token went from %d to %d", last, s.LastToken)
	}
	if s.LastToken > last && (held || c.Op != opAcquire || a.Code != codeOK) {
		t.Fatalf("granted over %+v by %+v", before, c)
	}
	if held && s.Lease != nil && (s.Lease.Token != before.Token || s.Lease.Holder != before.Holder) {
		t.Fatalf("lease %+v became %+v", before, s.Lease)
	}
	if held && s.Lease == nil && before.Phase == watchdog.PhaseCritical {
		byHolder := c.Op == opRelease && c.Node == before.Holder && c.Token == before.Token
		if !byHolder && !(c.Op == opAck && before.Overdue) {
			t.Fatalf("critical lease ended by %+v", c)
		}
	}
	if a.Code == codeOK && c.Op == opAcquire && s.LastToken > last && s.pauseOf(c.Node) != nil {
		t.Fatal("granted while paused")
	}
	if !slices.Contains([]op{opAcquire}, c.Op) || len(c.Request.Override) > 0 {
		return
	}
	if a.Code == codeOK && s.LastToken > last {
		if n := s.charged(c.Node, 24*time.Hour); n > c.Request.Budget.NodePerDay {
			t.Fatalf("%d rebuilds of %s in a day", n, c.Node)
		}
		if n := s.charged("", time.Hour); n > c.Request.Budget.ClusterPerHour {
			t.Fatalf("%d rebuilds in an hour", n)
		}
		if s.Breaker.Open {
			t.Fatal("granted with an open breaker")
		}
	}
}

// drawCommand prefers commands that fit the present lease.
func drawCommand(t *rapid.T, s *state, i int, budget watchdog.Budget) command {
	nodes := []string{"db1", "db2", "db3"}
	ops := []op{opAcquire, opAcquire, opAcquire, opRenew, opEnter, opRelease, opRelease,
		opAdopt, opExpire, opOverdue, opPause, opResume, opAck, "nonsense"}
	c := command{
		V: commandVersion, Req: fmt.Sprint("r", i), Op: rapid.SampledFrom(ops).Draw(t, "op"),
		Node: rapid.SampledFrom(nodes).Draw(t, "node"), TTL: time.Minute,
	}
	if g := s.Lease; g != nil && rapid.IntRange(0, 4).Draw(t, "fits") > 0 {
		c.Token, c.Renewed, c.ID = g.Token, g.Renewed, g.ID
		if c.Op != opAcquire {
			c.Node = g.Holder
		}
	}
	outcomes := []watchdog.Result{watchdog.Healed, watchdog.Healed, watchdog.Failed, watchdog.Cancelled, watchdog.RolledBack, ""}
	switch c.Op {
	case opAcquire:
		c.Request = &watchdog.Request{ID: fmt.Sprint("b", i), Donor: rapid.SampledFrom(nodes).Draw(t, "donor"), Budget: budget}
		if rapid.IntRange(0, 9).Draw(t, "override") == 0 {
			c.Request.Override = []string{"budget-node", "budget-cluster", "cooldown", "breaker"}
		}
	case opRelease:
		c.Record = &watchdog.Record{
			Outcome:   rapid.SampledFrom(outcomes).Draw(t, "outcome"),
			Untouched: rapid.Bool().Draw(t, "untouched"),
		}
	case opPause:
		c.Pause = &watchdog.Pause{By: "x", Until: watchdog.StampOf(time.UnixMilli(s.Clock + 60_000))}
	}
	return c
}
