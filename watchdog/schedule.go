package watchdog

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"
)

// Schedule says when something is due next; the zero time is never.
type Schedule interface {
	Next(after time.Time) time.Time
}

// Drills begins a drill whenever one is due by policy.drill.
type Drills struct {
	Schedule Schedule
	Weigh    func(ctx context.Context, w Wish) (Decision, Order)
	Begin    func(ctx context.Context, o Order) (Record, error)
	Logger   *slog.Logger
}

const (
	// drillTick bounds how late a clock that was set is noticed.
	drillTick = time.Minute
	// drillPause is how long a drill waits that only has to wait: for another
	// node's, as a rule, which is due at the same time.
	drillPause = time.Minute
)

// Run begins drills until ctx ends. One whose time passed while no sidecar ran
// is not made up for.
func (d Drills) Run(ctx context.Context) error {
	for {
		due := d.Schedule.Next(time.Now())
		if due.IsZero() {
			<-ctx.Done()
			return nil
		}
		for left := time.Until(due); left > 0; left = time.Until(due) {
			if !pause(ctx, min(left, drillTick)) {
				return nil
			}
		}
		next := d.Schedule.Next(due)
		for said := ""; d.try(ctx, &said); {
			wait := drillPause + rand.N(drillPause/4)
			if !next.IsZero() && !time.Now().Add(wait).Before(next) || !pause(ctx, wait) {
				break
			}
		}
	}
}

// try begins a drill, or says whether to try again: where somebody only has to
// be waited for, or something is not known just now. A node that is broken, or
// is no replica, is left out this time. What it waits for is said once.
func (d Drills) try(ctx context.Context, said *string) (again bool) {
	decision, order := d.Weigh(ctx, Wish{Drill: true})
	failing := Failing(decision.Guards)
	if decision.WouldAct {
		order.Trigger, order.By = TriggerDrill, "policy.drill"
		rec, err := d.Begin(ctx, order)
		var no *Refusal
		switch {
		case err == nil:
			d.Logger.Info("drill begun", "id", rec.ID, "donor", rec.Donor, "token", rec.Token)
			return false
		case !errors.As(err, &no):
			d.Logger.Warn("drill not begun", "error", err)
			return ctx.Err() == nil
		}
		failing = []Guard{{ID: no.Guard, Verdict: Fail, Reason: no.Reason}}
	}
	if again = len(failing) > 0 && !slices.ContainsFunc(failing, func(g Guard) bool { return !waits(g) }); again {
		if ids := guardIDs(failing); ids != *said {
			d.Logger.Info("drill waits", "guards", ids, "reason", failing[0].Reason)
			*said = ids
		}
		return true
	}
	level := slog.LevelWarn
	if slices.ContainsFunc(failing, func(g Guard) bool { return g.ID == "not-primary" && g.Verdict == Fail }) {
		level = slog.LevelInfo // the same schedule on every node
	}
	d.Logger.Log(ctx, level, "drill skipped", "guards", guardIDs(failing), "reason", firstReason(failing))
	return false
}

// waits says that a guard may well pass in a while, without anybody's help.
func waits(g Guard) bool {
	return g.Verdict == Unknown || slices.Contains([]string{"lease", "donor", "donor-not-backuping"}, g.ID)
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
