package watchdog

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// wiping is db2 with a person's wish to have its data removed first: its disk
// has no room for both.
func wiping() Input {
	in := broken()
	in.Manual, in.WipeFirst = true, true
	in.Facts.Free, in.Facts.Need = 5, 10
	in.Facts.Wipe = Wipe{Bytes: 8, Flat: none, Login: none}
	for i := range in.Facts.Donors {
		in.Facts.Donors[i].State.Diagnosis.Class = ClassHealthy
	}
	return in
}

// Each case spoils one thing; exactly the named guards must fail, with every
// override that there is given, and without.
func TestWipeFirstGuard(t *testing.T) {
	text := func(s string) Answer { return Answer{Asked: true, Text: s} }
	for _, c := range []struct {
		name  string
		spoil func(*Input)
		want  string // with all overrides
	}{
		{"as it is", func(*Input) {}, ""},
		{"observe", func(in *Input) { in.Policy.Observe = true }, ""},
		{"a policy's", func(in *Input) { in.Manual = false }, "wipe-first"},
		{"a drill's", func(in *Input) { in.Drill = true }, "wipe-first drill"},
		{"wiped already", func(in *Input) { in.Wiped = &Wiped{Rebuild: "r1"} }, "wipe-first"},
		{"dead", dead, "wipe-first"},
		{"down, and unknown", func(in *Input) { dead(in); in.Facts.Down.Dead = Answer{} }, "wipe-first server"},
		{"no role", func(in *Input) { change(in.View, "db1", func(n *NodeView) { n.Age = time.Hour }) }, "wipe-first role-known not-primary"},
		{"writable", func(in *Input) { in.Facts.Self.ReadOnly, in.Facts.Self.SuperReadOnly = false, false }, "wipe-first"},
		{"followed", func(in *Input) { in.Facts.Self.Attached = []string{"uuid-db3"} }, "wipe-first"},
		{"followed, by gossip", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.SourceUUID, n.SourceAddress = "uuid-db2", "10.0.0.2:3306" })
		}, "wipe-first"},
		{"errant", func(in *Input) { in.Facts.Errant = text("uuid-db2:1") }, "wipe-first errant"},
		{"errant unknown", func(in *Input) { in.Facts.Errant = Answer{Err: "no answer"} }, "wipe-first errant"},
		{"errant, that could be archived", func(in *Input) {
			in.Policy.Archive, in.Facts.Archive, in.Facts.Errant = true, none, text("uuid-db2:1")
		}, "wipe-first"},
		{"objects", func(in *Input) { in.Facts.Local.Objects = []string{"table a.b"} }, "wipe-first"},
		{"objects unknown", func(in *Input) { in.Facts.Local = Local{Asked: true, Err: "no answer"} }, "wipe-first"},
		{"objects never asked", func(in *Input) { in.Facts.Local = Local{} }, "wipe-first"},
		{"not flat", func(in *Input) { in.Facts.Wipe.Flat = text("logs elsewhere") }, "wipe-first"},
		{"layout unknown", func(in *Input) { in.Facts.Wipe.Flat = Answer{} }, "wipe-first"},
		{"login refused", func(in *Input) { in.Facts.Wipe.Login = text("Access denied") }, "wipe-first"},
		{"login not judged", func(in *Input) { in.Facts.Wipe.Login = Answer{Err: "out of reach"} }, "wipe-first"},
		{"the other replica is broken", func(in *Input) { in.Facts.Donors[1].State.Diagnosis.Class = ClassDivergent }, "wipe-first"},
		{"the other replica is offline", func(in *Input) { in.Facts.Donors[1].State.Observation.OfflineMode = true }, "wipe-first"},
		{"the other replica does not answer", func(in *Input) { in.Facts.Donors[1] = DonorFacts{Node: "db3", Err: "no answer"} }, "wipe-first"},
		{"the primary does not answer", func(in *Input) { in.Facts.Donors[0] = DonorFacts{Node: "db1", Err: "no answer"} }, "wipe-first"},
		{"the primary is not healthy", func(in *Input) { in.Facts.Donors[0].State.Diagnosis.Class = ClassUnknown }, "wipe-first"},
		{"nobody was asked", func(in *Input) { in.Facts.Donors = nil }, "wipe-first donor retention"},
		{"no room even then", func(in *Input) { in.Facts.Wipe.Bytes = 4 }, "disk-space"},
		{"no room elsewhere", func(in *Input) { in.Facts.SpaceAt = " in /redo" }, "disk-space"},
		{"room unknown", func(in *Input) { in.Facts.SpaceErr = "no answer" }, "disk-space"},
		{"no donor", func(in *Input) { in.Facts.Donors[1].Errant, in.Facts.Donors[0].Missing = text("x"), text("x") }, "wipe-first donor donor-not-backuping"},
	} {
		in := wiping()
		c.spoil(&in)
		in.Override = GuardIDs()
		d := Decide(in, now)
		got, want := strings.Fields(guardIDs(Failing(d.Guards))), strings.Fields(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || d.WouldAct != (len(want) == 0) {
			t.Errorf("%s: failing %v, want %v; would act %t", c.name, got, want, d.WouldAct)
		}
		if in.Override = nil; len(want) > 0 && Decide(in, now).WouldAct {
			t.Errorf("%s: without overrides it would act", c.name)
		}
	}
	in := wiping()
	in.Facts = nil
	if Decide(in, now).WouldAct {
		t.Error("it would act without having asked anybody")
	}
	if slices.Contains(Overridable(), "wipe-first") {
		t.Error("a person may override wipe-first")
	}
}

// TestWipedIsRebuilt: a node without data is rebuilt by policy, whatever
// budgets and breaker say, but neither while somebody has paused nor where
// policy.mode is observe, nor by a node whose role is not known.
func TestWipedIsRebuilt(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Input)
		want  string
	}{
		{"as it is", func(*Input) {}, ""},
		{"breaker and budgets", func(in *Input) { in.Lease.Breaker.Open, in.Policy.Budget = true, Budget{} }, ""},
		{"the other replica is broken, too", func(in *Input) { in.Policy.KeepServing = 3 }, ""},
		{"its manager cannot tell", func(in *Input) { in.Facts.Down.Untold = true }, ""},
		{"observe", func(in *Input) { in.Policy.Observe = true }, "mode"},
		{"paused", func(in *Input) { in.Lease.Pauses = []Pause{{By: "ann", Reason: "upgrade"}} }, "paused"},
		{"no room", func(in *Input) { in.Facts.Free = 0 }, "disk-space"},
		{"no role", func(in *Input) { change(in.View, "db1", func(n *NodeView) { n.Age = time.Hour }) }, "role-known not-primary"},
		{"no donor", func(in *Input) { in.Facts.Donors = nil }, "donor retention"},
	} {
		in := broken()
		dead(&in)
		in.Wiped = &Wiped{Rebuild: "r1", By: "ann"}
		c.spoil(&in)
		d := Decide(in, now)
		got, want := strings.Fields(guardIDs(Failing(d.Guards))), strings.Fields(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || d.WouldAct != (len(want) == 0) {
			t.Errorf("%s: failing %v, want %v; would act %t, rung %s", c.name, got, want, d.WouldAct, d.Rung)
		}
	}
}
