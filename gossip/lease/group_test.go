package lease

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"resilver/watchdog"
)

// inGroup runs a test with a formed group of nodes in virtual time.
func inGroup(t *testing.T, names []string, do func(t *testing.T, g *group)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1, names...)
		defer g.stopAll()
		g.startAll()
		g.leader()
		g.until("all agree", func() bool {
			for _, n := range names {
				if s := g.node(n).State(); !s.Quorum || s.ClusterID == "" {
					return false
				}
			}
			return true
		})
		do(t, g)
	})
}

func three() []string { return []string{"db1", "db2", "db3"} }

func TestAcquireRenewRelease(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		for _, holder := range []string{lead, g.other(lead)} {
			donor := g.other(holder)
			l := g.mustAcquire(holder, "rebuild-"+holder, donor)
			time.Sleep(time.Minute) // ten times the ttl
			if err := l.Context().Err(); err != nil {
				t.Fatalf("lease lost while renewed: %v", err)
			}
			var refusal *watchdog.Refusal
			if _, err := g.acquire(donor, "second", holder); !errors.As(err, &refusal) || refusal.Guard != "lease" {
				t.Fatalf("second acquire: %v", err)
			}
			if again := g.mustAcquire(holder, "rebuild-"+holder, donor); again.Token() != l.Token() {
				t.Error("a repeat got another grant")
			}
			g.until("donor accepts", func() bool { return g.node(donor).Check(l.ClusterID(), l.Token(), holder) == nil })
			if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
				t.Fatal(err)
			}
			if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
				t.Fatalf("second release: %v", err)
			}
			g.until("donor refuses", func() bool {
				return errors.Is(g.node(donor).Check(l.ClusterID(), l.Token(), holder), watchdog.ErrTokenStale)
			})
			g.until("history everywhere", func() bool {
				for _, n := range three() {
					s := g.node(n).State()
					if s.Lease != nil || len(s.History) == 0 || s.History[0].Outcome != watchdog.Healed {
						return false
					}
				}
				return true
			})
		}
	})
}

func TestCheck(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		l := g.mustAcquire("db2", "a", "db1")
		g.until("applied", func() bool { return g.node("db1").Check(l.ClusterID(), l.Token(), "db2") == nil })
		for name, c := range map[string]struct {
			at, cluster string
			token       uint64
			holder      string
			want        error
		}{
			"ahead":         {"db1", l.ClusterID(), l.Token() + 1, "db2", watchdog.ErrTokenAhead},
			"lower":         {"db1", l.ClusterID(), l.Token() - 1, "db2", watchdog.ErrTokenStale},
			"other holder":  {"db1", l.ClusterID(), l.Token(), "db3", watchdog.ErrTokenStale},
			"other donor":   {"db3", l.ClusterID(), l.Token(), "db2", watchdog.ErrTokenStale},
			"other cluster": {"db1", "elsewhere", l.Token(), "db2", watchdog.ErrTokenStale},
		} {
			g.until("copy of "+c.at, func() bool { return g.node(c.at).State().LastToken == l.Token() })
			if err := g.node(c.at).Check(c.cluster, c.token, c.holder); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		// Of nodes that are asked for less than a copy, any answers the holder.
		for _, at := range three() {
			n := g.node(at)
			if err := n.CheckHolder(l.ClusterID(), l.Token(), "db2"); err != nil {
				t.Errorf("the holder at %s: %v", at, err)
			}
			if err := n.CheckHolder(l.ClusterID(), l.Token(), at); at != "db2" && !errors.Is(err, watchdog.ErrTokenStale) {
				t.Errorf("another at %s: %v", at, err)
			}
		}
		// A donor that hears of no leader does not trust its copy.
		g.net.cut("db1", "db2")
		g.net.cut("db1", "db3")
		time.Sleep(contactMax + 2*time.Second)
		if err := g.node("db1").Check(l.ClusterID(), l.Token(), "db2"); !errors.Is(err, watchdog.ErrTokenAhead) {
			t.Errorf("cut off donor: %v", err)
		}
	})
}

func TestHolderCutOffLosesItsLease(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		holder := g.other(lead)
		l := g.mustAcquire(holder, "a", lead)
		for _, n := range three() {
			if n != holder {
				g.net.cut(holder, n)
			}
		}
		select {
		case <-l.Context().Done():
		case <-time.After(time.Minute):
			t.Fatal("a holder without quorum keeps its lease")
		}
		next := g.mustAcquireEventually(g.other(holder, lead), "b", lead)
		if next.Token() <= l.Token() {
			t.Errorf("token %d after %d", next.Token(), l.Token())
		}
		g.net.mend()
		if err := l.EnterCritical(t.Context()); !errors.Is(err, watchdog.ErrLeaseLost) {
			t.Errorf("enter critical with a lost lease: %v", err)
		}
		if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Failed}); err != nil {
			t.Errorf("release of a lost lease: %v", err)
		}
		if err := next.Context().Err(); err != nil {
			t.Errorf("the new holder lost its lease: %v", err)
		}
		h := g.node(lead).State().History
		if len(h) != 2 || h[1].Outcome != watchdog.Failed {
			t.Errorf("history %+v", h)
		}
	})
}

// mustAcquireEventually asks again while another holds the lease.
func (g *group) mustAcquireEventually(node, id, donor string) (l watchdog.Lease) {
	g.t.Helper()
	g.until("lease for "+node, func() bool {
		var err error
		l, err = g.acquire(node, id, donor)
		return err == nil
	})
	return l
}

func TestRenewalsOutliveALeader(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		for range 3 {
			lead := g.leader()
			holder := g.other(lead)
			l := g.mustAcquireEventually(holder, "r"+randomHex(4), g.other(lead, holder))
			g.stop(lead)
			time.Sleep(20 * time.Second)
			if err := l.Context().Err(); err != nil {
				t.Errorf("lease lost by a change of leader: %v", err)
			}
			if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
				t.Error(err)
			}
			g.start(lead)
			g.until("back", func() bool { return g.node(lead).State().Quorum })
		}
	})
}

func TestCriticalLeaseNeverExpires(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		holder := g.other(lead)
		l := g.mustAcquire(holder, "a", lead)
		if err := l.EnterCritical(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, n := range three() {
			if n != holder {
				g.net.cut(holder, n)
			}
		}
		time.Sleep(50 * time.Second)
		if g.node(lead).State().Breaker.Open {
			t.Error("breaker open before critical_max")
		}
		time.Sleep(30 * time.Second)
		s := g.node(lead).State()
		if !s.Breaker.Open || s.Lease == nil || s.Lease.Phase != watchdog.PhaseCritical {
			t.Errorf("after critical_max: breaker %+v, lease %+v", s.Breaker, s.Lease)
		}
		if err := l.Context().Err(); err != nil {
			t.Errorf("the context of a critical lease died: %v", err)
		}
		g.net.mend()
		g.until("contact", func() bool { return g.node(holder).State().Quorum })
		if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
			t.Error(err)
		}
	})
}

func TestAckEndsAnOverdueLease(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		holder := g.other(lead)
		l := g.mustAcquire(holder, "a", lead)
		if err := l.EnterCritical(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.stop(holder)
		g.until("breaker", func() bool { return g.node(lead).State().Breaker.Open })
		if err := g.node(lead).Ack(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		if s := g.node(lead).State(); s.Breaker.Open || s.Lease != nil {
			t.Errorf("after ack: %+v %+v", s.Breaker, s.Lease)
		}
		g.start(holder)
		g.until("back", func() bool { return g.node(holder).State().Quorum })
		if _, err := g.node(holder).Adopt(t.Context(), "a", l.Token()); !errors.Is(err, watchdog.ErrLeaseLost) {
			t.Errorf("adopt: %v", err)
		}
	})
}

func TestRestartAdopts(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		l := g.mustAcquire("db2", "a", "db1")
		g.stop("db2")
		if l.Context().Err() == nil {
			t.Error("a stopped node keeps a lease that is copying")
		}
		g.start("db2")
		if _, err := g.node("db2").Adopt(t.Context(), "a", l.Token()); !errors.Is(err, watchdog.ErrLeaseLost) {
			t.Fatalf("adopt while copying: %v", err)
		}
		if h := g.node(g.leader()).State(); h.Lease != nil || h.History[0].Outcome != watchdog.Cancelled {
			t.Errorf("after adopt: %+v", h)
		}
		l = g.mustAcquire("db2", "b", "db1")
		if err := l.EnterCritical(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.stop("db2")
		if l.Context().Err() != nil {
			t.Error("stopping cancelled the context of a critical lease")
		}
		time.Sleep(30 * time.Second)
		g.start("db2")
		again, err := g.node("db2").Adopt(t.Context(), "b", l.Token())
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
			t.Error(err)
		}
	})
}

func TestNoQuorum(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		g.stop("db2")
		g.stop("db3")
		g.until("no quorum", func() bool { return !g.node("db1").State().Quorum })
		began := time.Now()
		if _, err := g.acquire("db1", "a", "db2"); !errors.Is(err, watchdog.ErrNoQuorum) {
			t.Errorf("acquire: %v", err)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("it took %s to give up", d)
		}
		if err := g.node("db1").Pause(t.Context(), watchdog.Pause{By: "ann"}); !errors.Is(err, watchdog.ErrNoQuorum) {
			t.Errorf("pause: %v", err)
		}
	})
}

func TestPauseResumeBreakerAck(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		for _, n := range three() { // through the leader, and through the others
			node := g.node(n)
			if err := node.Pause(t.Context(), watchdog.Pause{By: "ann", Reason: "upgrade"}); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, g, "paused")
			if err := node.Resume(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			rollBack(t, g.mustAcquire("db2", "r"+n, "db1"))
			wantRefusal(t, g, "breaker")
			if err := node.Ack(t.Context(), "ann"); err != nil {
				t.Fatal(err)
			}
			l := g.mustAcquire("db2", "x"+n, "db1")
			if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Cancelled, Untouched: true}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// rollBack ends a rebuild in the way that opens the breaker.
func rollBack(t *testing.T, l watchdog.Lease) {
	t.Helper()
	if err := l.EnterCritical(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.RolledBack}); err != nil {
		t.Fatal(err)
	}
}

func wantRefusal(t *testing.T, g *group, guard string) {
	t.Helper()
	var r *watchdog.Refusal
	if _, err := g.acquire("db2", "refused", "db1"); !errors.As(err, &r) || r.Guard != guard {
		t.Fatalf("acquire: %v, want refusal by %s", err, guard)
	}
}

func TestYieldLeadership(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		if err := g.node(g.other(lead)).YieldLeadership(t.Context()); err != nil {
			t.Errorf("a follower: %v", err)
		}
		a, b := g.other(lead), g.other(lead, g.other(lead))
		g.mu.Lock()
		g.seats[a].sick = true
		g.mu.Unlock()
		if err := g.node(lead).YieldLeadership(t.Context()); err != nil {
			t.Fatalf("yield: %v", err)
		}
		if now := g.leader(); now != b {
			t.Errorf("%s leads, want the healthy %s", now, b)
		}
		g.mu.Lock()
		for _, s := range g.seats {
			s.sick = true
		}
		g.mu.Unlock()
		if err := g.node(b).YieldLeadership(t.Context()); err != nil {
			t.Errorf("nobody fit to take over: %v", err)
		}
		if now := g.leader(); now != b {
			t.Errorf("%s leads, want still %s", now, b)
		}
	})
}

func TestHandleRefusesStrangers(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		n := g.node(g.leader())
		for name, c := range map[string]struct{ caller, body string }{
			"no name":         {"", `{"ask":"status","cluster":"orders"}`},
			"not json":        {"db2", `{`},
			"other cluster":   {"db2", `{"ask":"status","cluster":"x"}`},
			"unknown":         {"db2", `{"ask":"x","cluster":"orders"}`},
			"for another":     {"db2", `{"ask":"command","cluster":"orders","command":{"v":1,"req":"q","op":"renew","node":"db3"}}`},
			"leader's own":    {"db2", `{"ask":"command","cluster":"orders","command":{"v":1,"req":"q","op":"expire","node":"db2"}}`},
			"joins as other":  {"db2", `{"ask":"join","cluster":"orders","join":{"raft_id":"db9#00000000","peer_address":"x:1"}}`},
			"without command": {"db2", `{"ask":"command","cluster":"orders"}`},
		} {
			if b, err := n.Handle(t.Context(), c.caller, []byte(c.body)); err == nil {
				t.Errorf("%s: answered %s", name, b)
			}
		}
	})
}
