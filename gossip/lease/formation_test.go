package lease

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

// bare runs a test with nodes that are not started yet.
func bare(t *testing.T, names []string, do func(t *testing.T, g *group)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1, names...)
		defer g.stopAll()
		do(t, g)
	})
}

// noGroup fails the test where a leader appears within half a minute.
func (g *group) noGroup() {
	g.t.Helper()
	time.Sleep(30 * time.Second)
	for _, name := range g.names {
		if n := g.node(name); n != nil {
			if s := n.State(); s.Quorum || s.ClusterID != "" {
				g.t.Fatalf("%s is in a group: %+v", name, s)
			}
		}
	}
}

func TestFormationNeedsEveryAnswer(t *testing.T) {
	bare(t, three(), func(t *testing.T, g *group) {
		g.start("db1")
		g.start("db2")
		g.noGroup()
		if _, err := g.acquire("db1", "a", "db2"); !errors.Is(err, watchdog.ErrNoQuorum) {
			t.Errorf("acquire without a group: %v", err)
		}
		g.net.cut("db1", "db3")
		g.start("db3")
		g.noGroup()
		g.net.mend()
		g.leader()
	})
}

func TestFormationNeedsEqualLists(t *testing.T) {
	bare(t, three(), func(t *testing.T, g *group) {
		g.seats["db3"].join = gossipAddresses([]string{"db3", "db1"})
		g.startAll()
		g.noGroup()
		g.stop("db3")
		g.seats["db3"].join = gossipAddresses([]string{"db3", "db2", "db1"}) // order does not matter
		g.start("db3")
		g.leader()
	})
}

func TestFormationAlone(t *testing.T) {
	bare(t, []string{"db1"}, func(t *testing.T, g *group) {
		g.start("db1")
		g.leader()
		if v := g.node("db1").State().Voters; !slices.Equal(v, []string{"db1"}) {
			t.Errorf("voters %v", v)
		}
	})
}

func TestNotInItsOwnListOnlyJoins(t *testing.T) {
	bare(t, []string{"db1", "db2"}, func(t *testing.T, g *group) {
		g.seats["db1"].join = gossipAddresses([]string{"db1"})
		g.seats["db2"].join = gossipAddresses([]string{"db1"})
		g.start("db2")
		g.noGroup()
		g.start("db1")
		g.leader()
		g.until("db2 votes", func() bool {
			return slices.Equal(g.node("db2").State().Voters, []string{"db1", "db2"})
		})
	})
}

func TestOldNodeAmongFresh(t *testing.T) {
	bare(t, three(), func(t *testing.T, g *group) {
		g.startAll()
		g.leader()
		token := g.mustAcquire("db2", "a", "db1").Token()
		id := g.node("db1").State().ClusterID
		g.until("all know it", func() bool {
			return g.node("db3").State().LastToken == token && g.node("db1").State().LastToken == token
		})
		// Two of three lose their state: a person must say what counts. The two
		// must not form a group of their own around the old one.
		g.stopAll()
		g.wipe("db1")
		g.wipe("db2")
		g.startAll()
		time.Sleep(30 * time.Second)
		for _, n := range three() {
			if s := g.node(n).State(); s.Quorum || s.ClusterID != "" && s.ClusterID != id {
				t.Errorf("%s: %+v", n, s)
			}
		}
	})
}

// wipe removes the state of a stopped node.
func (g *group) wipe(name string) { g.seats[name].dir += "-again" }

func TestWipedNodeSameName(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		victim := g.other(lead)
		old := raft.ServerID(g.node(victim).RaftID())
		g.stop(victim)
		g.wipe(victim)
		fresh := raft.ServerID(g.start(victim).RaftID())
		if old == fresh {
			t.Fatal("a wiped node kept its id")
		}
		members := func() []raft.Server {
			inst, done := g.node(lead).instance()
			defer done()
			return inst.servers()
		}
		g.until("joined without a vote", func() bool {
			return slices.ContainsFunc(members(), func(s raft.Server) bool {
				return s.ID == fresh && s.Suffrage == raft.Nonvoter
			})
		})
		g.until("took its former self's place", func() bool {
			all := members()
			return len(all) == 3 && slices.ContainsFunc(all, func(s raft.Server) bool {
				return s.ID == fresh && s.Suffrage == raft.Voter
			}) && !slices.ContainsFunc(all, func(s raft.Server) bool { return s.ID == old })
		})
		l := g.mustAcquire(victim, "a", lead)
		if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
			t.Error(err)
		}
	})
}

// TestWipedNodeNeverAnswersForItsFormerSelf: with the leader gone, a survivor
// and the wiped node must not elect anybody.
func TestWipedNodeNeverAnswersForItsFormerSelf(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		lead := g.leader()
		victim := g.other(lead)
		g.stop(lead)
		g.stop(victim)
		g.wipe(victim)
		g.start(victim)
		time.Sleep(time.Minute)
		for _, n := range []string{victim, g.other(victim)} {
			if s := g.node(n).State(); s.Quorum || s.IsLeader {
				t.Errorf("%s: %+v", n, s)
			}
		}
		g.start(lead)
		g.leader()
		g.until("the wiped one is back", func() bool { return g.node(victim).State().Quorum })
	})
}

func TestPartitionThenRejoin(t *testing.T) {
	inGroup(t, three(), func(t *testing.T, g *group) {
		for _, d := range []time.Duration{25 * time.Second, 2 * time.Minute} {
			lead := g.leader()
			for _, n := range three() {
				g.net.cut(lead, n)
			}
			time.Sleep(d)
			if g.node(lead).State().Quorum {
				t.Errorf("%s still claims a quorum", lead)
			}
			g.net.mend()
			g.until("all agree", func() bool {
				for _, n := range three() {
					if !g.node(n).State().Quorum {
						return false
					}
				}
				return true
			})
		}
	})
}

func TestDamagedIdentity(t *testing.T) {
	bare(t, []string{"db1"}, func(t *testing.T, g *group) {
		g.start("db1")
		g.leader()
		g.stop("db1")
		o := g.node("db1")
		if o != nil {
			t.Fatal("not stopped")
		}
		seat := g.seats["db1"]
		writeFile(t, seat.dir+"/"+identityFile, "deadbeef\n")
		n, err := New(g.options("db1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "raft state damaged") {
			t.Errorf("start with another incarnation: %v", err)
		}
		writeFile(t, seat.dir+"/"+identityFile, "nonsense\n")
		if _, err := New(g.options("db1")); err == nil || !strings.Contains(err.Error(), "raft state damaged") {
			t.Errorf("no incarnation: %v", err)
		}
	})
}

func TestWantVoters(t *testing.T) {
	for members, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5: 5, 6: 5, 9: 5} {
		if got := wantVoters(members); got != want {
			t.Errorf("%d members: %d voters, want %d", members, got, want)
		}
	}
}

func TestPlan(t *testing.T) {
	at := func(id string) raft.ServerAddress {
		return addressOf(raft.ServerID(id), nameOf(raft.ServerID(id))+":1")
	}
	server := func(id string, s raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: raft.ServerID(id), Address: at(id), Suffrage: s}
	}
	member := func(id string, alive bool) Member {
		name := nameOf(raft.ServerID(id))
		return Member{Name: name, PeerAddress: name + ":1", RaftID: id, Alive: alive}
	}
	v, nv := raft.Voter, raft.Nonvoter
	for name, c := range map[string]struct {
		servers []raft.Server
		members []Member
		young   bool
		want    string
	}{
		"nothing to do": {servers: []raft.Server{server("a#1", v)}, members: []Member{member("a#1", true)}},
		"promote the second": {servers: []raft.Server{server("a#1", v), server("b#1", nv)},
			members: []Member{member("a#1", true), member("b#1", true)}, want: "promote b#1"},
		"too young": {servers: []raft.Server{server("a#1", v), server("b#1", nv)},
			members: []Member{member("a#1", true), member("b#1", true)}, young: true},
		"AddDeadVoter": {servers: []raft.Server{server("a#1", v), server("b#1", nv)},
			members: []Member{member("a#1", true), member("b#1", false)}},
		"no quorum of the living": {
			servers: []raft.Server{server("a#1", v), server("b#1", v), server("c#1", v), server("d#1", v), server("e#1", nv)},
			members: []Member{member("a#1", true), member("e#1", true)}},
		"even count buys nothing": {
			servers: []raft.Server{server("a#1", v), server("b#1", v), server("c#1", v), server("d#1", nv)},
			members: []Member{member("a#1", true), member("b#1", true), member("c#1", true), member("d#1", true)}},
		"dead voter stays": {servers: []raft.Server{server("a#1", v), server("b#1", v), server("c#1", v)},
			members: []Member{member("a#1", true), member("b#1", true), member("c#1", false)}},
		"former self goes": {
			servers: []raft.Server{server("a#1", v), server("b#1", v), server("c#1", v), server("c#2", nv)},
			members: []Member{member("a#1", true), member("b#1", true), member("c#2", true)}, want: "remove c#1"},
		"former self stays below two living": {
			servers: []raft.Server{server("a#1", v), server("b#1", v), server("c#1", v), server("c#2", nv)},
			members: []Member{member("a#1", true), member("b#1", false), member("c#2", true)}},
		"former self stays until the new one is a member": {
			servers: []raft.Server{server("a#1", v), server("b#1", v), server("c#1", v)},
			members: []Member{member("a#1", true), member("b#1", true), member("c#2", true)}},
		"never itself": {servers: []raft.Server{server("a#1", v), server("a#2", nv)},
			members: []Member{member("a#2", true)}, young: true},
		"moved": {servers: []raft.Server{server("a#1", v), {ID: "b#1", Address: "b#1@old:1"}},
			members: []Member{member("a#1", true), member("b#1", true)}, want: "readdress b#1"},
		"at most five": {
			servers: []raft.Server{server("a#1", v), server("b#1", v), server("c#1", v), server("d#1", v), server("e#1", v), server("f#1", nv)},
			members: []Member{member("a#1", true), member("b#1", true), member("c#1", true), member("d#1", true), member("e#1", true), member("f#1", true)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if m := plan("a#1", c.servers, c.members, func(raft.ServerID) bool { return !c.young }); m != nil {
				got = m.kind + " " + string(m.server.ID)
			}
			if got != c.want {
				t.Errorf("plan %q, want %q", got, c.want)
			}
		})
	}
}
