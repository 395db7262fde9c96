package healing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/service"
)

// swap exchanges the datadir with the copy, and what lies elsewhere with it. It
// looks at no context, and has no deadline: the way back is the same renames
// again, on the same disk, so that giving up in the middle keeps the replica
// away for longer. Only an error leads back.
func (r *rebuild) swap(context.Context) error {
	return exchangeAll(&r.j, r.note, r.h.o.Failpoint)
}

// start boots the new copy. A server that dies is started again by its
// manager; one that dies three times, or does not answer in time, is exchanged
// for the old one again. A manager that is away itself is waited for: the way
// back needs it no less.
func (r *rebuild) start(ctx context.Context) error {
	if err := errors.Join(datadir.Unmark(r.j.Live.Path), r.unlockLive()); err != nil {
		return err
	}
	for told := false; ; told = true {
		err := r.h.o.Service.Start(ctx)
		if err == nil {
			return r.answers(ctx)
		}
		if !errors.Is(err, service.ErrUnreachable) {
			return err
		}
		if !told {
			r.log.Warn("the new server is not started yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(bootPause):
		}
	}
}

// quickDeaths of a new server are enough to give it up.
const quickDeaths = 3

// answers waits until the new server answers, closed to writers.
func (r *rebuild) answers(ctx context.Context) error {
	died := 0
	for {
		obs := r.h.o.Server.Observe(ctx)
		if obs.Reachable {
			return r.ours(obs)
		}
		status, err := r.h.o.Service.Status(ctx)
		if err == nil && status.GaveUp {
			// A manager that does not try again by itself is asked to.
			if died++; died < quickDeaths {
				err = r.h.o.Service.Start(ctx)
			}
		}
		if deaths := max(died, status.Deaths); deaths >= quickDeaths {
			return fmt.Errorf("%s died %d times: %s", r.j.incoming(), deaths, status.LastExit)
		}
		if err != nil {
			r.log.Debug("manager of mysqld", "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %s: %w", r.j.incoming(), obs.Err, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond): // the replica is away
		}
	}
}
