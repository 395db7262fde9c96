package healing

import (
	"context"
	"fmt"

	"resilver/healing/datadir"
	"resilver/watchdog/replica"
)

// deathPatience is how long a mysqld that its manager has just started again
// may take to die, once nothing starts it any more.
const deathPatience = guardPatience

// stopDead is stop for a server that is dead. There is nothing to close, and
// nobody to be ended; it is held down, locked, and what it holds is read from
// its files. One that answers again, and any difference, leads back.
func (r *rebuild) stopDead(ctx context.Context) error {
	if err := r.note(func(j *Journal) { j.Dead = true }); err != nil {
		return err
	}
	if err := r.h.o.Service.Hold(ctx); err != nil {
		return err
	}
	if err := datadir.Mark(r.j.Live.Path, "rebuild "+r.j.Record.ID); err != nil {
		return err
	}
	r.h.o.Failpoint("stop.held")
	last, err := r.h.known()
	if err == nil {
		err = r.h.awaitDeath(ctx, &last, deathPatience)
	}
	if err != nil {
		return err
	}
	// Once more: it may have answered until it was held.
	if last, err = r.h.known(); err != nil {
		return err
	}
	if err := r.lock(); err != nil {
		return err
	}
	r.h.o.Failpoint("stop.closed")
	if err := r.same(last.Observation); err != nil {
		return err
	}
	if err := r.subsetsAtRest(ctx, &last); err != nil {
		return err
	}
	if err := r.samePrimary(ctx); err != nil {
		return err
	}
	// When it went away nobody knows; how open it was is known.
	was := replica.Openness{ReadOnly: true, OfflineMode: last.Observation.OfflineMode}
	if err := r.note(func(j *Journal) { j.Closed = &was }); err != nil {
		return err
	}
	r.h.o.Failpoint("stop.ending")
	return nil
}

// subsetsAtRest applies the rules of stop to what the files hold, by the
// primary's own arithmetic. They do not change any more, so they are read
// once; the primary is read last.
func (r *rebuild) subsetsAtRest(ctx context.Context, last *Last) error {
	sets := byPeer{r.h.o.Peers, r.j.Primary}
	executed, held, err := r.h.atRest(ctx, last, sets)
	if err != nil {
		return err
	}
	self := last.Observation
	self.Executed = executed
	return r.nothingLost(ctx, func(ctx context.Context) error {
		primary, err := r.h.primaryState(ctx, r.j.Primary)
		if err != nil {
			return err
		}
		r.trail = r.trailOf(self, primary.Observation, sets)
		return r.rules(ctx, sets, held, last.Observation.ServerID, primary.Observation)
	})
}

// releaseDead gives a server that was dead back to its manager, which may
// start it again as before. Whether it comes up is not waited for: it did not
// before.
func (r *rebuild) releaseDead(ctx context.Context) error {
	started := r.h.o.Service.Start(ctx)
	status, err := r.h.o.Service.Status(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("give mysqld back to its manager: %w", err)
	case started != nil && status.Held:
		return started
	case started != nil:
		r.log.Warn("mysqld does not start, as before the rebuild", "error", started)
	}
	return nil
}
