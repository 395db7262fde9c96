package healing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
)

// The way back is tried until it succeeds: a server that resilver has closed,
// held, marked or ended is never left like that.
const (
	backPause   = 2 * time.Second
	backAttempt = 5 * time.Minute
	bootPause   = 200 * time.Millisecond
)

// back puts the old server into service again, as open as it was: where the
// directories have been exchanged the new server is ended and they are
// exchanged back; where the old one was never ended it is only opened. It
// gives up only with the process, and then the journal leads the next one.
func (r *rebuild) back(why error) error {
	r.log.Error("going back to the old server", "step", r.j.Step, "reason", why)
	outcome := errRolledBack
	switch {
	case r.j.at(watchdog.StepStop, watchdog.StepWipe):
		outcome = errCancelled
	case r.j.Bare:
		outcome = errBare
	case r.j.Old != "":
		outcome = errForward
	}
	life, end := r.outliving()
	defer end()
	for {
		ctx, cancel := context.WithTimeout(life, backAttempt)
		err := r.backOnce(ctx)
		if err == nil {
			err = r.note(func(j *Journal) {
				if !j.Bare {
					j.served()
				}
			})
		}
		if errors.Is(err, errTaken) {
			// It runs, and is not ended any more: nothing must hold it down.
			err = errors.Join(err, r.h.o.Service.Start(ctx))
		}
		cancel()
		if err == nil && errors.Is(why, outcome) {
			return why
		}
		if err == nil {
			return fmt.Errorf("%w: %w", outcome, why)
		}
		if errors.Is(err, errTaken) {
			return fmt.Errorf("%w; %w", err, why)
		}
		r.log.Error("old server not back yet", "error", err)
		select {
		case <-r.h.life.Done():
			return fmt.Errorf("%w: %w", errStopping, why)
		case <-time.After(backPause):
		}
	}
}

// backOnce goes all the way; each part finds out by itself what is left to do.
func (r *rebuild) backOnce(ctx context.Context) error {
	if err := r.note(func(j *Journal) { j.Back = true }); err != nil {
		return err
	}
	if r.closed != nil {
		r.closed.Release()
		r.closed = nil
	}
	if err := r.unlockAll(); err != nil {
		return err
	}
	state, err := r.j.exchanged()
	if err != nil {
		return err
	}
	if state == datadir.Done {
		if err := r.exchangeBack(ctx); err != nil {
			return err
		}
	}
	if err := r.j.restoreOutside(); err != nil {
		return err
	}
	if r.j.Bare {
		return datadir.Mark(r.j.Live.Path, "no data here") // and nothing is started
	}
	if err := datadir.Unmark(r.j.Live.Path); err != nil {
		return err
	}
	if r.j.Dead {
		return r.releaseDead(ctx)
	}
	if state == datadir.NotYet && r.j.Closed == nil {
		// Nothing was done to it yet. If a person has stopped it since, it is
		// not resilver's to start.
		if why, err := atWork(ctx, r.h.o.Service); err == nil && why != "" {
			r.log.Warn("mysqld is left as it is", "reason", why)
			return nil
		}
	}
	if err := r.oldAnswers(ctx); err != nil {
		return err
	}
	if r.j.Closed == nil {
		return nil
	}
	return r.h.o.Server.Reopen(ctx, *r.j.Closed)
}

// exchangeBack ends the new server, which has never been used, and puts the
// old datadir in its place.
func (r *rebuild) exchangeBack(ctx context.Context) error {
	if obs := r.h.o.Server.Observe(ctx); obs.Reachable {
		if err := r.ours(obs); err != nil {
			return err
		}
	}
	if err := r.h.o.Service.Hold(ctx); err != nil {
		return err
	}
	p, err := r.newProcess(ctx)
	if err != nil {
		return err
	}
	if p != nil {
		defer p.Close()
		if err := r.h.o.Service.End(ctx, p, service.Kill); err != nil {
			return err
		}
	}
	// Nobody boots either of them now, whatever its manager thinks.
	if err := r.lock(); err != nil {
		return err
	}
	if err := r.j.exchangeBack(); err != nil {
		return err
	}
	return r.unlockLive()
}

// newProcess finds the new server, nil where none runs. One that hangs in its
// boot has no socket yet: then the lock on its data must be held by the very
// process that the manager started.
func (r *rebuild) newProcess(ctx context.Context) (*service.Process, error) {
	p, err := service.FindProcess(ctx, service.Identify{Datadir: r.j.Live.Path, Home: r.j.home(), Socket: r.h.o.Socket, PIDFile: r.j.PIDFile})
	if err == nil {
		return p, nil
	}
	status, asked := r.h.o.Service.Status(ctx)
	switch {
	case asked != nil:
		return nil, errors.Join(err, asked)
	case !status.Running && errors.Is(err, service.ErrNotRunning):
		return nil, nil
	case status.PID == 0:
		return nil, err
	}
	return service.FindBooting(status.PID, r.j.Live.Path, r.j.home())
}

// ours says that the new server is still as this rebuild started it: closed
// to writers, and a replica of nobody or of the source that it was given.
func (r *rebuild) ours(obs watchdog.Observation) error {
	if obs.Writable() {
		return fmt.Errorf("%w: it is writable", errTaken)
	}
	if err := r.strangerSource(obs); err != nil {
		return err
	}
	if len(obs.Attached) > 0 && !r.overridden("no-replicas-attached") {
		return fmt.Errorf("%w: %d replicas are attached to it", errTaken, len(obs.Attached))
	}
	return nil
}

// oldAnswers has the old server started until it answers. Start lifts a hold,
// and does nothing where the server runs. One that dies each time is left to
// its manager, like one that was dead before.
func (r *rebuild) oldAnswers(ctx context.Context) error {
	deaths, begun := 0, false
	for {
		if status, err := r.h.o.Service.Status(ctx); err == nil && begun && !status.Running {
			deaths++
		}
		if deaths >= quickDeaths {
			r.log.Error("the old server does not come up any more, and is left to its manager", "deaths", deaths)
			return r.note(func(j *Journal) { j.Dead = true })
		}
		started := r.h.o.Service.Start(ctx)
		begun = started == nil
		obs := r.h.o.Server.Observe(ctx)
		if obs.Reachable && started == nil {
			return nil
		}
		if _, err := r.h.o.Service.Status(ctx); obs.Reachable && err != nil {
			// A manager that is gone ends nothing and starts nothing. The
			// server serves, which is all that is wanted.
			r.log.Error("the manager of mysqld does not answer; the old server runs", "error", err)
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(started, fmt.Errorf("the old server does not answer: %s", obs.Err))
		case <-time.After(bootPause):
		}
	}
}
