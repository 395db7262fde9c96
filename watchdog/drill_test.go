package watchdog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// healthy is db2 with nothing to mend and a drill that is due by its schedule.
func healthy() Input {
	in := broken()
	in.View = cluster()
	in.Diagnosis = Diagnosis{Class: ClassHealthy}
	in.Drill = true
	return in
}

func TestDrillNeedsNoFault(t *testing.T) {
	d := Decide(healthy(), now)
	if !d.WouldAct || d.Donor != "db3" || d.Method != "clone" {
		t.Fatalf("would act %t, donor %q, method %q; failing: %+v", d.WouldAct, d.Donor, d.Method, Failing(d.Guards))
	}
	in := healthy()
	in.Drill = false
	if Decide(in, now).WouldAct {
		t.Error("a healthy node would be rebuilt")
	}
}

// Each case spoils one thing; exactly the named guards must fail.
func TestDrillGuards(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Input)
		want  string
	}{
		{"observe", func(in *Input) { in.Policy.Observe = true }, "mode"},
		{"observe, by a person", func(in *Input) { in.Policy.Observe, in.Manual = true, true }, ""},
		{"excluded", func(in *Input) { in.Policy.Exclude = true }, "node-excluded"},
		{"paused", func(in *Input) { in.Lease.Pauses = []Pause{{By: "ann", Reason: "upgrade"}} }, "paused"},
		{"breaker", func(in *Input) { in.Lease.Breaker.Open = true }, "breaker"},
		{"held", func(in *Input) {
			in.Lease.Lease = &Holding{ID: "other", Holder: "db4", Donor: "db5", Trigger: TriggerDrill}
		}, "lease"},
		{"primary", func(in *Input) {
			change(in.View, "db2", func(n *NodeView) { n.Writable, n.Channels = true, 0 })
			change(in.View, "db1", func(n *NodeView) { n.Writable, n.Channels, n.SourceUUID = false, 1, "uuid-db2" })
			change(in.View, "db3", func(n *NodeView) { n.SourceUUID = "uuid-db2" })
		}, "not-primary drill"},
		{"followed", func(in *Input) { in.Facts.Self.Attached = []string{"uuid-db3"} }, ""},
		{"acknowledging", func(in *Input) { in.Facts.Primary.Observation.SemiSync = SemiSync{On: true, Wants: 1} }, ""},
		{"this node is broken", func(in *Input) {
			change(in.View, "db2", func(n *NodeView) { n.Class = ClassCredential })
		}, "drill"},
		{"this node lags", func(in *Input) { change(in.View, "db2", func(n *NodeView) { n.Class = ClassLagging }) }, ""},
		{"this node is not known", func(in *Input) { change(in.View, "db2", func(n *NodeView) { n.Class = "" }) }, "drill"},
		{"another waits for a rebuild", func(in *Input) {
			change(in.View, "db3", func(n *NodeView) { n.Class = ClassPurged })
			in.Facts.Donors = in.Facts.Donors[:1]
			in.Policy.DonorPrimary = PrimaryAllowed
		}, "drill"},
		{"one that is gone does not", func(in *Input) {
			in.View.Nodes["db4"] = NodeView{Report: Report{Node: "db4", Class: ClassDivergent}, Heard: true}
		}, ""},
		{"budgets", func(in *Input) {
			in.Policy.Budget = Budget{NodePerDay: 1, ClusterPerHour: 1, Cooldown: time.Hour}
			in.Lease.History = []Record{{Node: "db2", Started: StampOf(now.Add(-2 * time.Minute)), Ended: StampOf(now.Add(-time.Minute)), Outcome: Failed}}
		}, ""},
		{"too large", func(in *Input) { in.Policy.MaxBytes, in.Facts.DataBytes = 1, 2 }, "size"},
		{"the donor is a moment behind", func(in *Input) { in.Facts.Donors[1].Missing = Answer{Asked: true, Text: "uuid-db1:100"} }, ""},
		{"the donor is errant", func(in *Input) {
			in.Facts.Donors = in.Facts.Donors[1:]
			in.Facts.Donors[0].Errant = Answer{Asked: true, Text: "uuid-db3:1"}
		}, "donor"},
		{"errant", func(in *Input) { in.Facts.Errant = Answer{Asked: true, Text: "uuid-db2:1"} }, "errant"},
		{"no room", func(in *Input) { in.Facts.Free = 1 }, "disk-space"},
		{"too few serve", func(in *Input) { in.Policy.KeepServing = 3 }, "keep-serving"},
		{"nobody asked", func(in *Input) { in.Facts.Primary, in.Facts.PrimaryErr = nil, "no answer" }, "primary-alive donor"},
	} {
		in := healthy()
		c.spoil(&in)
		d := Decide(in, now)
		got := strings.Fields(guardIDs(Failing(d.Guards)))
		want := strings.Fields(c.want)
		for _, id := range want {
			if !slices.Contains(got, id) {
				t.Errorf("%s: guard %s passes", c.name, id)
			}
		}
		if c.name != "nobody asked" && len(got) != len(want) {
			t.Errorf("%s: failing %v, want %v", c.name, got, want)
		}
		if d.WouldAct != (len(want) == 0) {
			t.Errorf("%s: would act %t", c.name, d.WouldAct)
		}
	}
}

// TestDrillIsNotCharged: neither budgets nor the cooldown of a rebuild know of
// drills, however many failed, and a node that drills counts as serving.
func TestDrillIsNotCharged(t *testing.T) {
	in := broken()
	for i := range 5 {
		at := now.Add(-time.Duration(i+1) * time.Minute)
		in.Lease.History = append(in.Lease.History, Record{Node: "db2", Trigger: TriggerDrill, Started: StampOf(at), Ended: StampOf(at), Outcome: Failed})
	}
	in.Policy.KeepServing = 2
	change(in.View, "db3", func(n *NodeView) { n.Progress = &Progress{ID: "d", Trigger: TriggerBackup} })
	failing := strings.Fields(guardIDs(Failing(Decide(in, now).Guards)))
	if !slices.Equal(failing, nil) && !slices.Equal(failing, []string{"donor"}) { // db3 itself is at work
		t.Errorf("failing: %v", failing)
	}
	if last := LastDrill(in.Lease.History, "db2"); last == nil || !last.Started.Equal(now.Add(-time.Minute)) {
		t.Errorf("the last drill is %+v", last)
	}
	if last := LastDrill(in.Lease.History, "db3"); last != nil {
		t.Errorf("db3 had a drill: %+v", last)
	}
}

// each is a schedule for every day at one time.
type each time.Duration

func (e each) Next(after time.Time) time.Time {
	day := after.Truncate(24 * time.Hour)
	for !day.Add(time.Duration(e)).After(after) {
		day = day.Add(24 * time.Hour)
	}
	return day.Add(time.Duration(e))
}

// TestDrillsBySchedule: one begins at its time; one that only has to wait is
// tried until it begins, but not beyond the next; a node that is broken is left
// out.
func TestDrillsBySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // held by the test but while it sleeps
		mu.Lock()
		defer mu.Unlock()
		var begun []time.Time
		var asked int
		var failing []Guard
		refuse := error(nil)
		d := Drills{
			Schedule: each(3 * time.Hour), Logger: slog.New(slog.DiscardHandler),
			Weigh: func(_ context.Context, w Wish) (Decision, Order) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				if !w.Drill || w.Manual {
					t.Errorf("weighed for %+v", w)
				}
				return Decision{WouldAct: len(failing) == 0, Guards: failing}, Order{Wish: w}
			},
			Begin: func(_ context.Context, o Order) (Record, error) {
				mu.Lock()
				defer mu.Unlock()
				if o.Trigger != TriggerDrill || !o.Drill {
					t.Errorf("begun as %+v", o)
				}
				if refuse != nil {
					return Record{}, refuse
				}
				begun = append(begun, time.Now())
				return Record{}, nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		first := d.Schedule.Next(time.Now())
		upTo := func(at time.Time) {
			mu.Unlock()
			defer mu.Lock()
			time.Sleep(time.Until(at))
			synctest.Wait()
		}
		upTo(first.Add(-time.Second))
		if asked != 0 {
			t.Errorf("asked %d times before it was due", asked)
		}
		upTo(first.Add(time.Second))
		if len(begun) != 1 || asked != 1 {
			t.Fatalf("begun %v, asked %d times", begun, asked)
		}

		failing = []Guard{{ID: "lease", Verdict: Fail}, {ID: "primary-alive", Verdict: Unknown}}
		upTo(first.Add(24*time.Hour + 10*time.Minute))
		if asked < 5 || len(begun) != 1 {
			t.Errorf("asked %d times, begun %v, while the lease is another's", asked, begun)
		}
		failing = nil
		refuse = &Refusal{Guard: "lease"}
		upTo(first.Add(24*time.Hour + 20*time.Minute))
		refuse = errors.New("no answer")
		upTo(first.Add(24*time.Hour + 30*time.Minute))
		refuse = nil
		upTo(first.Add(24*time.Hour + 33*time.Minute))
		if len(begun) != 2 {
			t.Fatalf("begun %v", begun)
		}

		asked, failing = 0, []Guard{{ID: "lease", Verdict: Fail}, {ID: "drill", Verdict: Fail}}
		upTo(first.Add(2*24*time.Hour + time.Hour))
		if asked != 1 || len(begun) != 2 {
			t.Errorf("a broken node: asked %d times, begun %v", asked, begun)
		}

		asked, failing = 0, []Guard{{ID: "lease", Verdict: Fail}}
		upTo(first.Add(4*24*time.Hour - time.Second))
		failing = nil
		upTo(first.Add(4*24*time.Hour + time.Second))
		if len(begun) != 3 || !begun[2].Equal(first.Add(4*24*time.Hour)) {
			t.Errorf("begun %v", begun)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
