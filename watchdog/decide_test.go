package watchdog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// cluster is db1 the primary with two replicas, all healthy, seen from db2.
func cluster() View {
	v := View{Self: "db2", Nodes: map[string]NodeView{}}
	for i, name := range []string{"db1", "db2", "db3"} {
		n := NodeView{Alive: true, Heard: true}
		n.Report = Report{
			Node: name, Health: HealthHealthy, Class: ClassHealthy, Reachable: true, MayDonate: true,
			SQLAddress: fmt.Sprintf("10.0.0.%d:3306", i+1), ServerUUID: "uuid-" + name, Flavor: "mysql", Version: "9.7.4",
		}
		if name == "db1" {
			n.Writable = true
		} else {
			n.Channels, n.SourceAddress, n.SourceUUID = 1, "10.0.0.1:3306", "uuid-db1"
		}
		v.Nodes[name] = n
	}
	return v
}

func change(v View, name string, f func(*NodeView)) View {
	n := v.Nodes[name]
	f(&n)
	v.Nodes[name] = n
	return v
}

func replicaObservation() Observation {
	return Observation{
		At: now, Reachable: true, Flavor: "mysql", Version: "9.7.4", VersionNumber: 90704, Executed: "uuid-db1:1-100",
		ReadOnly: true, SuperReadOnly: true,
		Sources: []SourceStatus{{
			Host: "10.0.0.1", Port: 3306, UUID: "uuid-db1", Lag: Lag{Known: true},
			Receiver: ThreadStatus{Running: ThreadRunning}, Applier: ThreadStatus{Running: ThreadRunning},
		}},
	}
}

// none is a question asked and no obstacle found.
var none = Answer{Asked: true}

// broken is db2 with a row missing for long enough, all facts gathered and
// good: it would act.
func broken() Input {
	v := cluster()
	change(v, "db2", func(n *NodeView) { n.Health, n.Class, n.Reason = HealthBroken, ClassDivergent, "row-missing" })
	primary := replicaObservation()
	primary.ReadOnly, primary.SuperReadOnly, primary.Sources = false, false, nil
	return Input{
		View:      v,
		Diagnosis: Diagnosis{Class: ClassDivergent, Reason: "row-missing", Since: StampOf(now.Add(-2 * time.Minute)), Evidence: Evidence{GTID: "uuid-db1:101"}},
		Lease:     LeaseState{Quorum: true, ClusterID: "c"},
		Policy: Policy{BrokenFor: time.Minute, SystemicWindow: 10 * time.Minute, KeepServing: 1, DonorPrimary: PrimaryLastResort,
			DonorMaxLag: 30 * time.Second, Fresh: 5 * time.Second, Budget: Budget{NodePerDay: 2, ClusterPerHour: 3, Cooldown: 10 * time.Minute}},
		Facts: &Facts{
			Self: replicaObservation(), Primary: &PeerState{Observation: primary}, Free: 100, Need: 10, Methods: []string{"clone", "xtrabackup"},
			Errant: none, Local: Local{Asked: true}, Staging: none, Closed: none, Account: none, Service: none, Encrypted: none, Engines: none,
			Donors: []DonorFacts{
				{Node: "db1", State: &PeerState{Observation: primary, Contents: Contents{Bytes: 1}}, Missing: none, Errant: none, Purged: none},
				{Node: "db3", State: &PeerState{Observation: replicaObservation(), Contents: Contents{Bytes: 1}}, Missing: none, Errant: none, Purged: none},
			},
		},
	}
}

// dead is that server dead, and known.
func dead(in *Input) {
	in.Facts.Down = &Down{Since: now.Add(-time.Minute), Dead: none}
	in.Facts.Self.Reachable, in.Facts.Self.Err = false, "connection refused"
	in.Diagnosis = Diagnosis{Class: ClassUnreachable, Reason: ReasonServerDown, Since: StampOf(now.Add(-2 * time.Minute))}
	change(in.View, "db2", func(n *NodeView) { n.Reachable = false })
}

func TestDecideActsOnACurableFault(t *testing.T) {
	d := Decide(broken(), now)
	if !d.WouldAct || d.Rung != RungRebuild || d.Donor != "db3" || d.Method != "clone" {
		t.Fatalf("would act %t, rung %q, donor %q, method %q; failing: %+v", d.WouldAct, d.Rung, d.Donor, d.Method, Failing(d.Guards))
	}
}

func TestDecideWithoutFactsNeverActs(t *testing.T) {
	in := broken()
	in.Facts = nil
	if d := Decide(in, now); d.WouldAct {
		t.Fatal("would act without having asked anybody")
	}
}

// Each case spoils one thing; exactly the named guards must fail.
func TestGuards(t *testing.T) {
	held := &Holding{ID: "other", Holder: "db3", Donor: "db1", Token: 7}
	cases := []struct {
		name  string
		spoil func(*Input)
		want  string
	}{
		{"observe", func(in *Input) { in.Policy.Observe = true }, "mode"},
		{"excluded", func(in *Input) { in.Policy.Exclude = true }, "node-excluded"},
		{"paused", func(in *Input) { in.Lease.Pauses = []Pause{{By: "ann", Reason: "upgrade"}} }, "paused"},
		{"another node paused", func(in *Input) { in.Lease.Pauses = []Pause{{By: "ann", Reason: "upgrade", Node: "db3"}} }, ""},
		{"primary", func(in *Input) {
			change(in.View, "db2", func(n *NodeView) { n.Writable, n.Channels = true, 0 })
			change(in.View, "db1", func(n *NodeView) { n.Writable, n.Channels, n.SourceUUID = false, 1, "uuid-db2" })
			change(in.View, "db3", func(n *NodeView) { n.SourceUUID = "uuid-db2" })
		}, "not-primary no-replicas-attached"},
		{"two writable", func(in *Input) { change(in.View, "db3", func(n *NodeView) { n.Writable = true }) }, "role-known not-primary"},
		{"primary silent", func(in *Input) { change(in.View, "db1", func(n *NodeView) { n.Age = time.Minute }) }, "role-known not-primary"},
		{"source outside", func(in *Input) {
			change(in.View, "db2", func(n *NodeView) { n.SourceUUID, n.SourceAddress = "", "10.9.9.9:3306" })
		}, "role-known not-primary"},
		{"silent third node", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.Alive = false })
		}, ""},
		{"replica attached", func(in *Input) { in.Facts.Self.Attached = []string{"uuid-x"} }, "no-replicas-attached"},
		{"credential", func(in *Input) { in.Diagnosis.Class = ClassCredential }, "fixable-by-rebuild"},
		{"just broken", func(in *Input) { in.Diagnosis.Since = StampOf(now.Add(-time.Second)) }, "broken-long-enough"},
		{"systemic", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.Class, n.Since = ClassDivergent, StampOf(now.Add(-time.Minute)) })
		}, "not-systemic"},
		{"systemic at the same transaction, long ago", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) {
				n.Class, n.Since, n.FaultGTID = ClassDivergent, StampOf(now.Add(-24*time.Hour)), "uuid-db1:101"
			})
		}, "not-systemic"},
		{"systemic by its own answer, before gossip says so", func(in *Input) {
			state := *in.Facts.Donors[1].State
			state.Diagnosis = Diagnosis{Class: ClassDivergent, Since: StampOf(now.Add(-time.Second))}
			in.Facts.Donors[1].State = &state
		}, "not-systemic"},
		{"systemic by history", func(in *Input) {
			in.Lease.History = []Record{{Node: "db3", Cause: Cause{Class: ClassDivergent}, Started: StampOf(now.Add(-time.Minute))}}
		}, "not-systemic"},
		{"purged twice is no system", func(in *Input) {
			in.Diagnosis.Class = ClassPurged
			change(in.View, "db3", func(n *NodeView) { n.Class, n.Since = ClassPurged, StampOf(now) })
		}, ""},
		{"two channels", func(in *Input) { in.Facts.Self.Sources = append(in.Facts.Self.Sources, SourceStatus{}) }, "single-source"},
		{"group member", func(in *Input) { in.Facts.Self.GroupMember = true }, "asynchronous"},
		{"delayed", func(in *Input) { in.Facts.Self.Sources[0].Delay = time.Hour }, "not-delayed"},
		{"filters", func(in *Input) { in.Facts.Self.Sources[0].Filters = "do-db=a" }, "same-filters"},
		{"no quorum", func(in *Input) { in.Lease.Quorum = false }, "lease"},
		{"lease held", func(in *Input) { in.Lease.Lease = held }, "lease donor donor-not-backuping"},
		{"breaker", func(in *Input) { in.Lease.Breaker.Open = true }, "breaker"},
		{"nobody left", func(in *Input) {
			in.Policy.KeepServing = 2
			change(in.View, "db3", func(n *NodeView) { n.Health = HealthLagging })
		}, "keep-serving"},
		{"node budget", func(in *Input) {
			in.Lease.History = []Record{
				{Node: "db2", Started: StampOf(now.Add(-3 * time.Hour)), Ended: StampOf(now.Add(-2 * time.Hour)), Outcome: Healed},
				{Node: "db2", Started: StampOf(now.Add(-5 * time.Hour)), Ended: StampOf(now.Add(-4 * time.Hour)), Outcome: Cancelled},
			}
		}, "budget-node"},
		{"cluster budget", func(in *Input) {
			for i := range 3 {
				in.Lease.History = append(in.Lease.History, Record{Node: "db3", Started: StampOf(now.Add(-time.Duration(i+1) * time.Minute))})
			}
		}, "budget-cluster"},
		{"given back", func(in *Input) {
			for range 5 {
				in.Lease.History = append(in.Lease.History, Record{Node: "db2", Untouched: true, Outcome: Cancelled, Started: StampOf(now), Ended: StampOf(now)})
			}
		}, ""},
		{"cooldown", func(in *Input) {
			in.Lease.History = []Record{{Node: "db2", Outcome: Healed, Started: StampOf(now.Add(-9 * time.Minute)), Ended: StampOf(now.Add(-8 * time.Minute))}}
		}, "cooldown"},
		{"size", func(in *Input) { in.Policy.MaxBytes, in.Facts.DataBytes = 1, 2 }, "size"},
		{"errant", func(in *Input) { in.Facts.Errant.Text = "uuid-db2:1" }, "errant"},
		{"objects made here", func(in *Input) { in.Facts.Local.Objects = []string{"table shop.mine (InnoDB)"} }, ""},
		{"objects unknown", func(in *Input) { in.Facts.Local.Err = "denied" }, "local-objects"},
		{"objects not asked", func(in *Input) { in.Facts.Local.Asked = false }, "local-objects"},
		{"errant unknown", func(in *Input) { in.Facts.Errant.Err = "statement hangs" }, "errant"},
		{"errant, to be archived", func(in *Input) {
			in.Policy.Archive, in.Facts.Errant.Text, in.Facts.Archive = true, "uuid-db2:1", AnswerOf("", nil)
		}, ""},
		{"errant, archive not asked", func(in *Input) { in.Policy.Archive, in.Facts.Errant.Text = true, "uuid-db2:1" }, "errant"},
		{"errant, archive unknown", func(in *Input) {
			in.Policy.Archive, in.Facts.Errant.Text, in.Facts.Archive.Err = true, "uuid-db2:1", "no tool"
		}, "errant"},
		{"errant, archive impossible", func(in *Input) {
			in.Policy.Archive, in.Facts.Errant.Text, in.Facts.Archive = true, "uuid-db2:1", AnswerOf("purged", nil)
		}, "errant"},
		{"errant unknown, to be archived", func(in *Input) {
			in.Policy.Archive, in.Facts.Errant.Err, in.Facts.Archive = true, "statement hangs", AnswerOf("", nil)
		}, "errant"},
		{"archived against the policy", func(in *Input) {
			in.Facts.Errant.Text, in.Facts.Archive = "uuid-db2:1", AnswerOf("", nil)
		}, "errant"},
		{"disk", func(in *Input) { in.Facts.Free = 1 }, "disk-space"},
		{"disk unknown", func(in *Input) { in.Facts.SpaceErr = "statfs" }, "disk-space"},
		{"staging", func(in *Input) { in.Facts.Staging.Text = "mount point" }, "staging-place"},
		{"open boot", func(in *Input) { in.Facts.Closed.Text = "read_only" }, "starts-read-only"},
		{"encrypted", func(in *Input) { in.Facts.Encrypted.Text = "t" }, "encryption"},
		{"myisam", func(in *Input) { in.Facts.Engines.Text = "t" }, "engines"},
		{"retention", func(in *Input) {
			in.Facts.Donors[1].Purged.Text = "u:1-9"
			in.Policy.DonorPrimary = PrimaryNever
		}, "retention donor"},
		{"no service", func(in *Input) { in.Facts.Service.Text = "the supervisor does not answer" }, "service"},
		{"no account", func(in *Input) { in.Facts.Account.Text = "no password" }, "source-account"},
		{"never asked", func(in *Input) { in.Facts.Closed = Answer{} }, "starts-read-only"},
		{"a drained node does not serve", func(in *Input) {
			in.Policy.KeepServing = 2
			change(in.View, "db3", func(n *NodeView) { n.Offline = true })
		}, "keep-serving"},
		{"systemic does not pass with time", func(in *Input) {
			in.Diagnosis.Since = StampOf(now.Add(-3 * time.Hour))
			change(in.View, "db3", func(n *NodeView) { n.Class, n.Since = ClassDivergent, StampOf(now.Add(-3*time.Hour+time.Minute)) })
		}, "not-systemic"},
		{"an old divergence of another node", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.Class, n.Since = ClassDivergent, StampOf(now.Add(-3*time.Hour)) })
		}, ""},
		{"no method", func(in *Input) { in.Facts.Methods = nil }, "versions"},
		{"a wished method that does not fit", func(in *Input) { in.Method = "mariabackup" }, "versions"},
		{"primary says no", func(in *Input) { in.Facts.Primary.Observation.ReadOnly = true }, "primary-alive"},
		{"primary does not answer", func(in *Input) { in.Facts.PrimaryErr = "timeout" }, "donor primary-alive"},
		{"last acknowledging replica", func(in *Input) {
			in.Facts.Self.SemiSync.Replica = true
			in.Facts.Primary.Observation.SemiSync = SemiSync{On: true, Clients: 1, Wants: 1}
		}, "semi-sync"},
		{"dead, and a person asked", func(in *Input) { dead(in); in.Manual = true }, ""},
		{"dead, by policy", dead, "fixable-by-rebuild"},
		{"dead by policy, its class still the one of a moment ago", func(in *Input) {
			dead(in)
			in.Diagnosis.Class = ClassDivergent
		}, "fixable-by-rebuild"},
		{"died under the copy", func(in *Input) {
			dead(in)
			in.Diagnosis.Class, in.Underway = ClassDivergent, true
		}, ""},
		{"died under the copy, or a person stopped it", func(in *Input) {
			dead(in)
			in.Diagnosis.Class, in.Underway, in.Facts.Down.Untold = ClassDivergent, true, true
		}, "server"},
		{"dead, and its manager cannot tell why, but a person asked", func(in *Input) {
			dead(in)
			in.Manual, in.Facts.Down.Untold = true, true
		}, ""},
		{"down and not certainly dead", func(in *Input) {
			dead(in)
			in.Manual, in.Facts.Down.Dead.Err = true, "its manager runs it"
			in.Facts.Errant, in.Facts.Staging, in.Facts.Account = Answer{}, Answer{}, Answer{} // nobody could ask
		}, "server"},
		{"dead, and was writable", func(in *Input) {
			dead(in)
			in.Manual, in.Facts.Down.Dead.Text = true, "it was writable when it was last seen"
		}, "server"},
		{"never asked whether it is dead", func(in *Input) { in.Manual, in.Facts.Down = true, &Down{} }, "server"},
		{"dead with errant transactions", func(in *Input) {
			dead(in)
			in.Manual, in.Facts.Errant.Text = true, "uuid-db2:1"
		}, "errant"},
		{"dead with two channels", func(in *Input) {
			dead(in)
			in.Manual, in.Facts.Self.Sources = true, append(in.Facts.Self.Sources, SourceStatus{})
		}, "single-source"},
		{"dead, last seen as the primary", func(in *Input) {
			dead(in)
			in.Manual = true
			change(in.View, "db2", func(n *NodeView) { n.Channels = 0 })
			change(in.View, "db1", func(n *NodeView) { n.Writable, n.Channels, n.SourceUUID = false, 1, "uuid-db2" })
			change(in.View, "db3", func(n *NodeView) { n.SourceUUID = "uuid-db2" })
		}, "not-primary no-replicas-attached"},
		{"dead, last seen as the primary, and another promoted", func(in *Input) {
			dead(in)
			in.Manual = true
			change(in.View, "db2", func(n *NodeView) { n.Channels = 0 })
		}, "role-known not-primary"},
		{"dead, and nothing is known of it", func(in *Input) {
			in.Manual, in.Facts.Down = true, &Down{Dead: Answer{Err: "no earlier look"}}
			change(in.View, "db2", func(n *NodeView) { n.Channels, n.SourceAddress, n.SourceUUID, n.ServerUUID = 0, "", "", "" })
		}, "role-known not-primary server"},
		{"donor is itself", func(in *Input) { in.From = "db2" }, "donor"},
		{"donor nobody knows", func(in *Input) { in.From = "db9" }, "donor"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := broken()
			c.spoil(&in)
			d := Decide(in, now)
			if got := strings.TrimSpace(guardIDs(Failing(d.Guards))); got != c.want {
				t.Errorf("failing guards %q, want %q", got, c.want)
			}
			if d.WouldAct != (c.want == "") {
				t.Errorf("would act: %t", d.WouldAct)
			}
			for _, g := range Failing(d.Guards) {
				if g.Reason == "" || g.Want == "" || g.Value == "" {
					t.Errorf("guard %s explains nothing: %+v", g.ID, g)
				}
			}
		})
	}
}

func TestGuardIDsAreComplete(t *testing.T) {
	in := broken()
	in.Policy.MaxBytes = 1
	seen := map[string]bool{}
	for _, g := range slices.Concat(Decide(in, now).Guards, Decide(healthy(), now).Guards, Decide(returning(), now).Guards, Decide(wiping(), now).Guards) {
		seen[g.ID] = true
		if !slices.Contains(GuardIDs(), g.ID) {
			t.Errorf("guard %s is not listed", g.ID)
		}
		if g.Overridable != slices.Contains(Overridable(), g.ID) {
			t.Errorf("guard %s says overridable %t, the list says another", g.ID, g.Overridable)
		}
	}
	for _, id := range GuardIDs() {
		if !seen[id] {
			t.Errorf("guard %s is listed and was not asked", id)
		}
	}
	for _, id := range Overridable() {
		if !slices.Contains(GuardIDs(), id) {
			t.Errorf("%s may be overridden and is no guard", id)
		}
	}
}

func TestInvariant1PrimaryIsNeverOverridden(t *testing.T) {
	all := []string{}
	for _, g := range Decide(broken(), now).Guards {
		all = append(all, g.ID)
	}
	spoils := map[string]func(*Input){
		"primary": func(in *Input) {
			change(in.View, "db2", func(n *NodeView) { n.Writable, n.Channels = true, 0 })
			change(in.View, "db1", func(n *NodeView) { n.Writable = false })
		},
		"unknown": func(in *Input) { change(in.View, "db1", func(n *NodeView) { n.Alive = false }) },
		"disk":    func(in *Input) { in.Facts.Free = 0 },
		"itself":  func(in *Input) { in.From = "db2" },
	}
	for name, spoil := range spoils {
		in := broken()
		in.Manual, in.Override = true, all
		spoil(&in)
		if d := Decide(in, now); d.WouldAct {
			t.Errorf("%s: overridden", name)
		}
	}
}

func TestManualIsAPersonsJudgement(t *testing.T) {
	in := broken()
	in.Manual, in.Policy.Observe = true, true
	in.Diagnosis = Diagnosis{Class: ClassHealthy}
	change(in.View, "db3", func(n *NodeView) { n.Class, n.Since = ClassDivergent, StampOf(now) }) // no concern of a healthy node
	if d := Decide(in, now); !d.WouldAct {
		t.Fatalf("failing: %+v", Failing(d.Guards))
	}
}

// So many healthy nodes stay in service; one that is drained, ill, rebuilt or
// not heard of does not count.
func TestInvariant8EnoughNodesStayInService(t *testing.T) {
	in := broken()
	in.Policy.KeepServing = 2
	if d := Decide(in, now); !d.WouldAct {
		t.Fatalf("two others serve: %+v", Failing(d.Guards))
	}
	for name, lost := range map[string]func(*NodeView){
		"drained":   func(n *NodeView) { n.Offline = true },
		"ill":       func(n *NodeView) { n.Health = HealthLagging },
		"down":      func(n *NodeView) { n.Reachable = false },
		"rebuilt":   func(n *NodeView) { n.Progress = &Progress{ID: "other"} },
		"not heard": func(n *NodeView) { n.Age = time.Hour },
	} {
		in := broken()
		in.Policy.KeepServing = 2
		change(in.View, "db3", lost)
		if d := Decide(in, now); d.WouldAct || !strings.Contains(guardIDs(Failing(d.Guards)), "keep-serving") {
			t.Errorf("%s: it would act, failing %q", name, guardIDs(Failing(d.Guards)))
		}
	}
}

// Whatever is decided, each guard says what was seen and what was wanted, and
// each that does not pass says why.
func TestInvariant15EveryGuardExplainsItself(t *testing.T) {
	blind := broken()
	blind.Facts = &Facts{Self: blind.Facts.Self}
	for name, in := range map[string]Input{"all passes": broken(), "nothing is known": blind, "empty": {}} {
		d := Decide(in, now)
		if len(d.Guards) < 10 {
			t.Errorf("%s: %d guards", name, len(d.Guards))
		}
		for _, g := range d.Guards {
			if g.Value == "" || g.Want == "" || (g.Verdict == Pass) != (g.Reason == "") {
				t.Errorf("%s: %+v", name, g)
			}
		}
	}
}

func TestWishedMethod(t *testing.T) {
	for wish, want := range map[string]string{"": "clone", "clone": "clone", "xtrabackup": "xtrabackup", "mariabackup": ""} {
		in := broken()
		in.Method = wish
		if d := Decide(in, now); d.Method != want || d.WouldAct != (want != "") {
			t.Errorf("wished %q: method %q, would act %t", wish, d.Method, d.WouldAct)
		}
	}
}

func TestDonors(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*Input)
		want  string // the donor chosen
		why   string // what db3's reasons must say
	}{
		{"a replica before the primary", func(*Input) {}, "db3", ""},
		{"lagging", func(in *Input) { in.Facts.Donors[1].State.Observation.Sources[0].Lag.Behind = time.Hour }, "db1", "lags"},
		{"lag unknown", func(in *Input) { in.Facts.Donors[1].State.Observation.Sources[0].Lag.Known = false }, "db1", "lag is unknown"},
		{"threads off", func(in *Input) {
			in.Facts.Donors[1].State.Observation.Sources[0].Applier.Running = ThreadStopped
		}, "db1", "does not run"},
		{"delayed", func(in *Input) { in.Facts.Donors[1].State.Observation.Sources[0].Delay = time.Minute }, "db1", "delayed"},
		{"filtered", func(in *Input) { in.Facts.Donors[1].State.Observation.Sources[0].Filters = "REPLICATE_DO_DB=a" }, "db1", "not whole"},
		{"other engines", func(in *Input) { in.Facts.Donors[1].State.Contents.Engines = []string{"a.t (MyISAM)"} }, "db1", "a.t (MyISAM)"},
		{"other engines, overridden", func(in *Input) {
			in.Facts.Donors[1].State.Contents.Engines, in.Override = []string{"a.t (MyISAM)"}, []string{"engines"}
		}, "db3", ""},
		{"empty", func(in *Input) { in.Facts.Donors[1].State.Observation.Executed = "" }, "db1", "empty"},
		{"errant", func(in *Input) { in.Facts.Donors[1].Errant.Text = "u:1" }, "db1", "does not have"},
		{"errant unknown", func(in *Input) { in.Facts.Donors[1].Errant.Err = "no answer" }, "db1", "unknown"},
		{"stale", func(in *Input) { in.Facts.Donors[1].Missing.Text = "u:9" }, "", "lacks"},
		{"no clone plugin", func(in *Input) { in.Facts.Donors[1].State.Contents.Lacks = []string{"the clone plugin is not active"} }, "db1", "clone plugin"},
		{"offline", func(in *Input) { in.Facts.Donors[1].State.Observation.OfflineMode = true }, "db1", "offline"},
		{"lacks what is purged", func(in *Input) { in.Facts.Donors[1].Purged.Text = "u:1" }, "db1", "purged"},
		{"other version", func(in *Input) { in.Facts.Donors[1].State.Observation.VersionNumber = 80400 }, "db1", "runs"},
		{"failed with it last time", func(in *Input) {
			in.Policy.DonorPrimary = PrimaryAllowed
			in.Lease.History = []Record{{Node: "db2", Donor: "db3", Outcome: Failed, Started: StampOf(now.Add(-3 * time.Hour)), Ended: StampOf(now.Add(-2 * time.Hour))}}
		}, "db1", ""},
		{"failed with it last time, drilled since", func(in *Input) {
			in.Policy.DonorPrimary = PrimaryAllowed
			in.Lease.History = []Record{
				{Node: "db2", Trigger: TriggerDrill, Donor: "db3", Outcome: Passed, Started: StampOf(now.Add(-time.Hour)), Ended: StampOf(now.Add(-time.Minute))},
				{Node: "db2", Donor: "db3", Outcome: Failed, Started: StampOf(now.Add(-3 * time.Hour)), Ended: StampOf(now.Add(-2 * time.Hour))},
			}
		}, "db1", ""},
		{"a drill failed with it", func(in *Input) {
			in.Policy.DonorPrimary = PrimaryAllowed
			in.Lease.History = []Record{{Node: "db2", Trigger: TriggerDrill, Donor: "db3", Outcome: Failed, Started: StampOf(now.Add(-3 * time.Hour)), Ended: StampOf(now.Add(-2 * time.Hour))}}
		}, "db3", ""},
		{"being rebuilt", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.Progress = &Progress{ID: "r", Trigger: TriggerAuto, Step: StepSettle} })
		}, "db1", "being rebuilt"},
		{"in a drill", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.Progress = &Progress{ID: "d", Trigger: TriggerDrill, Step: StepStage} })
		}, "db1", "being rebuilt"},
		{"removes the copy of its drill", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.Progress = &Progress{ID: "d", Trigger: TriggerDrill, Step: StepSettle} })
		}, "db3", ""},
		{"configured out", func(in *Input) { change(in.View, "db3", func(n *NodeView) { n.MayDonate = false }) }, "db1", "never"},
		{"no answer", func(in *Input) { in.Facts.Donors[1] = DonorFacts{Node: "db3", Err: "timeout"} }, "db1", "did not answer"},
		{"primary never", func(in *Input) {
			in.Policy.DonorPrimary = PrimaryNever
			in.Facts.Donors[1].Errant.Text = "u:1"
		}, "", "does not have"},
		{"primary allowed but a replica is better", func(in *Input) { in.Policy.DonorPrimary = PrimaryAllowed }, "db3", ""},
		{"the same zone before less lag", func(in *Input) {
			change(in.View, "db2", func(n *NodeView) { n.Zone = "a" })
			change(in.View, "db3", func(n *NodeView) { n.Zone = "a" })
			in.Facts.Donors[1].State.Observation.Sources[0].Lag.Behind = 20 * time.Second
		}, "db3", ""},
		{"a person's choice of the primary", func(in *Input) { in.From = "db1" }, "db1", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := broken()
			c.spoil(&in)
			d := Decide(in, now)
			if d.Donor != c.want {
				t.Errorf("donor %q, want %q: %+v", d.Donor, c.want, d.Donors)
			}
			for _, cand := range d.Donors {
				if cand.Name == "db3" && !strings.Contains(strings.Join(cand.Reasons, "; "), c.why) {
					t.Errorf("db3's reasons %q do not say %q", cand.Reasons, c.why)
				}
			}
		})
	}
}

func TestCooldownDoublesWithEachFailure(t *testing.T) {
	rec := func(outcome Result, ago time.Duration) Record {
		return Record{Node: "db2", Outcome: outcome, Started: StampOf(now.Add(-ago - time.Minute)), Ended: StampOf(now.Add(-ago))}
	}
	base := 10 * time.Minute
	for _, c := range []struct {
		name    string
		history []Record
		want    time.Duration // after now; negative: over
	}{
		{"none", nil, -1},
		{"healed", []Record{rec(Healed, 0)}, base},
		{"failed once", []Record{rec(Failed, 0)}, 2 * base},
		{"failed twice", []Record{rec(Failed, 0), rec(Failed, time.Hour)}, 4 * base},
		{"failed, healed before", []Record{rec(Failed, 0), rec(Healed, time.Hour)}, 2 * base},
		{"failed thrice", []Record{rec(Failed, 0), rec(RolledBack, time.Hour), rec(Failed, 2*time.Hour)}, 8 * base},
		{"cancelled between", []Record{rec(Failed, 0), rec(Cancelled, time.Hour), rec(Failed, 2*time.Hour)}, 4 * base},
	} {
		until := CooldownUntil(c.history, "db2", base)
		if c.want < 0 && !until.IsZero() || c.want >= 0 && !until.Equal(now.Add(c.want)) {
			t.Errorf("%s: until %s, want %s after now", c.name, until, c.want)
		}
	}
}
