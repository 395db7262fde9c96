package watchdog

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// returning is db2 with a person's wish for its old datadir.
func returning() Input {
	in := broken()
	in.Manual, in.Rollback = true, true
	in.Facts.Aside = Aside{ID: "r1", Since: StampOf(now), Fit: none, Purged: none, Behind: "uuid-db1:101"}
	return in
}

// Each case spoils one thing; exactly the named guards must fail.
func TestRollbackGuards(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Input)
		want  string
	}{
		{"as it is", func(*Input) {}, ""},
		{"healthy", func(in *Input) { in.Diagnosis = Diagnosis{Class: ClassHealthy} }, ""},
		{"breaker", func(in *Input) { in.Lease.Breaker.Open = true }, ""},
		{"budgets", func(in *Input) { in.Policy.Budget = Budget{} }, ""},
		{"no donor, no room", func(in *Input) { in.Facts.Donors, in.Facts.Free = nil, 0 }, ""},
		{"it has what the primary lacks", func(in *Input) { in.Facts.Aside.Own = "uuid-db2:1" }, ""},
		{"observe", func(in *Input) { in.Policy.Observe = true }, ""},
		{"excluded", func(in *Input) { in.Policy.Exclude = true }, "node-excluded"},
		{"paused", func(in *Input) { in.Lease.Pauses = []Pause{{By: "ann", Reason: "upgrade"}} }, "paused"},
		{"no quorum", func(in *Input) { in.Lease.Quorum = false }, "lease"},
		{"held", func(in *Input) { in.Lease.Lease = &Holding{ID: "other", Holder: "db3", Donor: "db1"} }, "lease"},
		{"BACKUPING", func(in *Input) { in.Lease.Lease = &Holding{ID: "other", Holder: "db3", Donor: "db2"} }, "lease"},
		{"no report", func(in *Input) { change(in.View, "db1", func(n *NodeView) { n.Age = time.Hour }) }, "role-known not-primary"},
		{"followed", func(in *Input) { in.Facts.Self.Attached = []string{"uuid-db3"} }, "no-replicas-attached"},
		{"too few serve", func(in *Input) { in.Policy.KeepServing = 3 }, "keep-serving"},
		{"down", func(in *Input) { in.Facts.Down = &Down{Dead: none} }, "server"},
		{"two sources", func(in *Input) { in.Facts.Self.Sources = append(in.Facts.Self.Sources, SourceStatus{}) }, "single-source"},
		{"group", func(in *Input) { in.Facts.Self.GroupMember = true }, "asynchronous"},
		{"nobody asked", func(in *Input) { in.Facts.Primary, in.Facts.PrimaryErr = nil, "no answer" }, "primary-alive semi-sync"},
		{"errant", func(in *Input) { in.Facts.Errant = Answer{Asked: true, Text: "uuid-db2:1"} }, "errant"},
		{"errant, that could be archived", func(in *Input) {
			in.Policy.Archive, in.Facts.Archive, in.Facts.Errant = true, none, Answer{Asked: true, Text: "uuid-db2:1"}
		}, "errant"},
		{"errant unknown", func(in *Input) { in.Facts.Errant = Answer{Err: "no answer"} }, "errant"},
		{"objects", func(in *Input) { in.Facts.Local.Objects = []string{"table a.b"} }, "local-objects"},
		{"objects unknown", func(in *Input) { in.Facts.Local = Local{} }, "local-objects"},
		{"nothing aside", func(in *Input) { in.Facts.Aside.Fit = Answer{Asked: true, Text: "none"} }, "old-datadir"},
		{"not looked for", func(in *Input) { in.Facts.Aside = Aside{} }, "old-datadir retention"},
		{"purged", func(in *Input) { in.Facts.Aside.Purged = Answer{Asked: true, Text: "uuid-db1:5"} }, "retention"},
		{"purged unknown", func(in *Input) { in.Facts.Aside.Purged = Answer{Err: "no answer"} }, "retention"},
		{"service", func(in *Input) { in.Facts.Service = Answer{Asked: true, Text: "masked"} }, "service"},
		{"acknowledging", func(in *Input) { in.Facts.Primary.Observation.SemiSync = SemiSync{On: true, Wants: 1} }, "semi-sync"},
	} {
		in := returning()
		c.spoil(&in)
		d := Decide(in, now)
		got, want := strings.Fields(guardIDs(Failing(d.Guards))), strings.Fields(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || d.WouldAct != (len(want) == 0) {
			t.Errorf("%s: failing %v, want %v; would act %t", c.name, got, want, d.WouldAct)
		}
		for _, g := range d.Guards {
			if !slices.Contains(GuardIDs(), g.ID) || g.Overridable != slices.Contains(Overridable(), g.ID) {
				t.Errorf("%s: guard %+v is not as it is listed", c.name, g)
			}
		}
	}
}

// TestRollbackIsAPersonsAlone: without facts nothing is done, and no override
// lets go what the old server could not get back.
func TestRollbackIsAPersonsAlone(t *testing.T) {
	in := returning()
	in.Facts = nil
	if Decide(in, now).WouldAct {
		t.Error("it would act without having asked anybody")
	}
	in = returning()
	in.Override = GuardIDs()
	in.Facts.Errant = Answer{Asked: true, Text: "uuid-db2:1"}
	in.Facts.Aside.Purged = Answer{Asked: true, Text: "uuid-db1:5"}
	in.Facts.Local.Objects = []string{"table a.b"}
	if got := guardIDs(Failing(Decide(in, now).Guards)); got != "errant retention " {
		t.Errorf("failing with every override: %s", got)
	}
	// The records are none of a rebuild's budgets, or of its donor's faults.
	history := []Record{{Node: "db2", Trigger: TriggerRollback, Started: StampOf(now), Ended: StampOf(now), Outcome: Failed}}
	if n := Charged(history, "", now.Add(-time.Hour)); n != 0 || !CooldownUntil(history, "db2", time.Hour).IsZero() {
		t.Errorf("%d are charged, cooldown until %s", n, CooldownUntil(history, "db2", time.Hour))
	}
}
