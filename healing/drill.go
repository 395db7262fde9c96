package healing

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// keepable refuses a backup that would not be whole, because a tablespace of
// the copy is at a path of its own and not in the copy's directory, and one
// that has no place to be left. It is asked before anything is made, of what is
// known of the donor's, and before the copy is kept, of the copy's.
func (r *rebuild) keepable() error {
	if r.j.Record.Trigger != watchdog.TriggerBackup {
		return nil
	}
	if has := r.j.Scattered; len(has) > 0 {
		return fmt.Errorf("%w: a backup would lack %s, which has a path of its own at the donor: use the engine's backup tool", errCancelled, list(slices.Clone(has)))
	}
	if err := r.place.Apart(r.j.Into); err != nil {
		return fmt.Errorf("%w: the directory for backups: %w", errCancelled, err)
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
