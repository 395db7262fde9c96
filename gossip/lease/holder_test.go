package lease

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"resilver/watchdog"
)

// TestGrantNobodyHeardOf: the answers to an acquire are lost, its asker gives
// up; the grant is given back long before it would expire, and costs nothing.
func TestGrantNobodyHeardOf(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		holder := g.other(lead)
		calls := 0
		g.net.mu.Lock()
		g.net.lose = func() bool { calls++; return calls%2 == 0 } // each answer
		g.net.mu.Unlock()
		if _, err := g.acquire(holder, "a", lead); !errors.Is(err, watchdog.ErrNoQuorum) {
			t.Fatalf("acquire: %v", err)
		}
		if s := g.node(lead).State(); s.Lease == nil {
			t.Fatal("the lost answer was not a grant")
		}
		g.net.mu.Lock()
		g.net.lose = nil
		g.net.mu.Unlock()
		g.until("given back", func() bool { return g.node(lead).State().Lease == nil })
		if h := g.node(lead).State().History[0]; h.Outcome != watchdog.Cancelled || !h.Untouched {
			t.Errorf("record %+v", h)
		}
		l := g.mustAcquire(holder, "a", lead) // the same rebuild may ask again
		if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
			t.Error(err)
		}
	})
}

// TestLateAnswerNeverRevives: a renewal that is acknowledged after the
// deadline changes nothing.
func TestLateAnswerNeverRevives(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		holder := g.other(lead)
		l := g.mustAcquire(holder, "a", lead)
		g.net.mu.Lock()
		g.net.delay = func() time.Duration { return 4500 * time.Millisecond } // each way
		g.net.mu.Unlock()
		select {
		case <-l.Context().Done():
		case <-time.After(30 * time.Second):
			t.Fatal("the lease outlived answers that take longer than its ttl")
		}
		if !errors.Is(context.Cause(l.Context()), watchdog.ErrLeaseLost) {
			t.Errorf("cause %v", context.Cause(l.Context()))
		}
		g.net.mu.Lock()
		g.net.delay = nil
		g.net.mu.Unlock()
		time.Sleep(20 * time.Second)
		if l.Context().Err() == nil {
			t.Error("revived")
		}
	})
}

// TestClockJumpEndsAuthority: a machine that slept knows at its next look that
// the lease is gone, before any timer has run.
func TestClockJumpEndsAuthority(t *testing.T) {
	inGroup(t, []string{"db1"}, func(t *testing.T, g *group) {
		n := g.node("db1")
		l := g.mustAcquire("db1", "a", "db2")
		now := n.opts.clock()
		var slept atomic.Bool // the holder looks at the clock by itself, too
		n.mu.Lock()
		h := n.held[l.Token()]
		n.mu.Unlock()
		h.mu.Lock()
		n.opts.clock = func() time.Duration { slept.Store(true); return now + time.Hour }
		h.mu.Unlock()
		child, cancel := context.WithCancel(l.Context())
		defer cancel()
		if l.Context().Err() == nil || !slept.Load() {
			t.Error("authority outlived the sleep")
		}
		if child.Err() == nil {
			t.Error("a context made of it lives on")
		}
		if err := l.EnterCritical(t.Context()); !errors.Is(err, watchdog.ErrLeaseLost) {
			t.Errorf("enter critical: %v", err)
		}
	})
}

// TestSnapshotForLateJoiner: a node that joins when the log is long gone gets
// the state by snapshot.
func TestSnapshotForLateJoiner(t *testing.T) {
	bare(t, []string{"db1", "db2"}, func(t *testing.T, g *group) {
		g.seats["db1"].join = gossipAddresses([]string{"db1"})
		g.seats["db2"].join = gossipAddresses([]string{"db1"})
		g.start("db1")
		g.leader()
		n := g.node("db1")
		for range 700 {
			if err := n.Pause(t.Context(), watchdog.Pause{By: "ann", Reason: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		inst, done := n.instance()
		err := inst.raft.Snapshot().Error()
		done()
		if err != nil {
			t.Fatal(err)
		}
		if first, err := inst.store.FirstIndex(); err != nil || first < 2 {
			t.Fatalf("log begins at %d, %v", first, err)
		}
		g.start("db2")
		g.until("state and vote", func() bool {
			s := g.node("db2").State()
			return len(s.Pauses) == 1 && len(s.Voters) == 2 && s.ClusterID == n.State().ClusterID
		})
		g.stop("db1")
		g.start("db1") // and from its own snapshot
		g.leader()
		if s := g.node("db1").State(); len(s.Pauses) != 1 {
			t.Errorf("after restart: %+v", s)
		}
	})
}
