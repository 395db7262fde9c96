package healing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"resilver/watchdog"
)

// errNeverLive keeps a drill from going on where a rebuild would.
var errNeverLive = errors.New("the copy of a drill never goes live")

const (
	wayTick     = time.Second
	wayPatience = 5 * time.Second // one look that went unanswered under the copy's load is not enough
)

// drill goes through the steps up to rehearse; finish throws the copy away. It
// gives way as soon as a rebuild may need the lease.
func (r *rebuild) drill() error {
	ctx, cancel := context.WithCancelCause(r.ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.giveWay(ctx, cancel) })
	defer watch.Wait()
	defer cancel(nil)
	err := r.copySteps(ctx)
	if err == nil && r.j.Record.Trigger == watchdog.TriggerBackup {
		err = r.steps(ctx, []step{{watchdog.StepKeep, 24 * time.Hour, (*rebuild).keep}})
	}
	return err
}

// keepable refuses a backup that would not be whole: a tablespace at a path of
// its own is not in the directory of the copy.
func (r *rebuild) keepable() error {
	if r.j.Record.Trigger != watchdog.TriggerBackup {
		return nil
	}
	for _, o := range r.j.Outside {
		if o.Scattered {
			return fmt.Errorf("a backup would lack the tablespaces in %s, which have paths of their own: use the engine's backup tool", o.Dir.Path)
		}
	}
	return nil
}

// giveWay ends a drill that is in the way of a rebuild.
func (r *rebuild) giveWay(ctx context.Context, giveUp context.CancelCauseFunc) {
	tick := time.NewTicker(wayTick)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		why := watchdog.GivesWay(r.h.o.Cluster.View(), r.h.o.Policy.Fresh)
		switch {
		case why == "":
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= wayPatience:
			r.log.Info("drill gives way", "reason", why)
			giveUp(fmt.Errorf("%w: it gives way: %s", errCancelled, why))
			return
		}
	}
}
