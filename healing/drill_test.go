package healing

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"resilver/watchdog"
)

// TestDrillNeverGoesLive: a drill has no way past rehearse, not even by a
// journal that says it was further on.
func TestDrillNeverGoesLive(t *testing.T) {
	for _, trigger := range []string{watchdog.TriggerDrill, watchdog.TriggerBackup} {
		r := &rebuild{h: &Healer{o: Options{StateDir: t.TempDir()}}, ctx: context.Background(), log: slog.New(slog.DiscardHandler)}
		r.j.Record.Trigger = trigger
		if err := r.commit(); !errors.Is(err, errNeverLive) || r.past {
			t.Errorf("%s: committed: %v, past %t", trigger, err, r.past)
		}
		r.conclude(nil)
		if r.j.Record.Outcome != watchdog.Passed {
			t.Errorf("%s: outcome %s", trigger, r.j.Record.Outcome)
		}
	}
}

// seen is a cluster whose view changes.
type seen struct {
	watchdog.Cluster
	view func() watchdog.View
}

func (s seen) View() watchdog.View { return s.view() }

// TestDrillGivesWay: a replica that needs the lease ends a drill; a look that
// went wrong for a moment does not.
func TestDrillGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var class atomic.Value
		class.Store(watchdog.ClassHealthy)
		view := func() watchdog.View {
			return watchdog.View{Self: "db2", Nodes: map[string]watchdog.NodeView{
				"db2": {Report: watchdog.Report{Node: "db2", Class: watchdog.ClassHealthy}, Alive: true},
				"db3": {Report: watchdog.Report{Node: "db3", Class: class.Load().(watchdog.Class)}, Alive: true},
			}}
		}
		r := &rebuild{h: &Healer{o: Options{Cluster: seen{view: view}}}, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancelCause(t.Context())
		go r.giveWay(ctx, cancel)
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		wait(time.Hour)
		class.Store(watchdog.ClassDivergent)
		wait(wayPatience - time.Second)
		class.Store(watchdog.ClassHealthy)
		wait(time.Hour)
		if ctx.Err() != nil {
			t.Fatalf("it gave way: %v", context.Cause(ctx))
		}
		class.Store(watchdog.ClassPurged)
		wait(wayPatience + 3*time.Second)
		if err := context.Cause(ctx); !errors.Is(err, errCancelled) || !strings.Contains(err.Error(), "db3 is purged") {
			t.Errorf("it goes on beside a replica that needs the lease: %v", err)
		}
	})
}
