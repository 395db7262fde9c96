package method

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"resilver/healing/private"
	"resilver/healing/transfer"
	"resilver/watchdog/replica"
)

const (
	progressInterval = 500 * time.Millisecond
	scratchTimeout   = 10 * time.Second // of an ordinary statement there
	// busyPause is how long a donor that serves another clone is left alone
	// at first; it doubles up to busyPauseMax.
	busyPause    = time.Second
	busyPauseMax = 15 * time.Second
	// maxSettings is how many settings a scratch server is taught in one go.
	maxSettings = 6
)

// oldestClone is the first MySQL whose CLONE, options and words are the ones
// used here.
const oldestClone = 80400

// CloneOptions are what the method clone needs.
type CloneOptions struct {
	Account      string        // at the donor: identified by auth_socket, with BACKUP_ADMIN only
	StallTimeout time.Duration // without a byte for so long a copy is given up
	BootTimeout  time.Duration // of the scratch server, and of its initialisation
	Logger       *slog.Logger
}

// Clone copies with MySQL's own CLONE: a scratch server on this machine,
// nobody's but ours, fetches the donor's data through a port that leads into
// the tunnel. The donor reports no GTID set: it is in the copy.
type Clone struct{ o CloneOptions }

// NewClone checks the options.
func NewClone(o CloneOptions) (*Clone, error) {
	switch {
	case o.Account == "":
		return nil, errors.New("method clone: no account")
	case o.StallTimeout <= 0 || o.BootTimeout <= 0:
		return nil, errors.New("method clone: timeouts must be positive")
	case o.Logger == nil:
		return nil, errors.New("method clone: no logger")
	}
	return &Clone{o: o}, nil
}

// Name is the method's name in configuration, journal and history.
func (c *Clone) Name() string { return "clone" }

// Fit wants a MySQL whose CLONE is known.
func (c *Clone) Fit(_ context.Context, f Facts) (bool, string) {
	switch {
	case f.Flavor != "mysql":
		return false, fmt.Sprintf("clone is MySQL's, and this server is %s", orUnknown(f.Flavor))
	case f.VersionNumber < oldestClone:
		return false, fmt.Sprintf("clone is supported from MySQL 8.4, and this server is version %d", f.VersionNumber)
	}
	if f.Scattered {
		// CLONE puts them at the donor's very paths.
		if err := private.CheckCover(); err != nil {
			return false, fmt.Sprintf("clone copies tablespaces at paths of their own only where the sidecar can hide those directories from a private server: %v", err)
		}
	}
	return true, ""
}

func orUnknown(flavor string) string {
	if flavor == "" {
		return "unknown"
	}
	return flavor
}

// Stage clones the donor into job.Staging.
func (c *Clone) Stage(ctx context.Context, job Job, report func(done, total int64)) (Copy, error) {
	if job.Tunnel == nil {
		return Copy{}, errors.New("copy from the donor: no tunnel to it")
	}
	if err := job.check(); err != nil {
		return Copy{}, fmt.Errorf("copy from the donor: %w", err)
	}
	relay, err := transfer.OpenRelay(ctx, transfer.RelayOptions{UID: job.Program.UID, Dial: job.Tunnel, Logger: c.o.Logger})
	if err != nil {
		return Copy{}, fmt.Errorf("copy from the donor: %w", err)
	}
	defer relay.Close()
	run := &cloning{c: c, job: job, relay: relay, report: report, settings: map[string]string{}}
	if err := run.untilDone(ctx); err != nil {
		return Copy{}, fmt.Errorf("copy from the donor: %w", err)
	}
	done, total := run.done.Load(), run.total.Load()
	report(done, max(done, total))
	return Copy{Bytes: done}, nil
}

// Prepare does nothing: a clone has applied its log itself.
func (c *Clone) Prepare(context.Context, Job) error { return nil }

// cloning is one Stage.
type cloning struct {
	c      *Clone
	job    Job
	relay  *transfer.Relay
	report func(done, total int64)
	// settings are variables in which the scratch server must be like the
	// donor; the donor names them when it refuses.
	settings map[string]string

	done, total atomic.Int64
}

// untilDone clones, again where the donor was merely busy, or where it told
// what the scratch server must be like.
func (r *cloning) untilDone(ctx context.Context) error {
	pause := busyPause
	began := time.Now()
	for {
		err := r.once(ctx)
		switch {
		case err == nil:
			return complete(r.job.Staging)
		case ctx.Err() != nil:
			return r.ended(context.Cause(ctx), err)
		case r.learn(err):
			r.c.o.Logger.Info("scratch server is set like the donor", "settings", r.settings)
		case isBusy(err) && time.Since(began) > r.c.o.StallTimeout:
			return r.explain(err)
		case isBusy(err):
			r.c.o.Logger.Info("donor serves another clone, waiting", "pause", pause)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
			pause = min(2*pause, busyPauseMax)
		default:
			return r.explain(err)
		}
		// Refused clones have made the directory; the next one wants none.
		if err := r.discard(); err != nil {
			return err
		}
	}
}

// ended says why a copy was given up, once.
func (r *cloning) ended(cause, err error) error {
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%w)", cause, err)
}

// discard removes what a clone that ended left in the staging directory,
// which did not exist when Stage began: what is there was made here.
func (r *cloning) discard() error {
	area, err := private.OpenArea(r.job.Area)
	if err != nil {
		return fmt.Errorf("discard a refused clone: %w", err)
	}
	defer func() { _ = area.Close() }()
	if err := area.RemoveAll(filepath.Base(r.job.Staging)); err != nil {
		return fmt.Errorf("discard a refused clone: %w", err)
	}
	return nil
}

// once boots a scratch server and has it clone.
func (r *cloning) once(ctx context.Context) error {
	scratch, err := private.Scratch(ctx, private.Options{
		Program: r.job.Program, Paths: r.job.Paths, Area: r.job.Area, Covers: r.job.Covers,
		BootTimeout: r.c.o.BootTimeout, Logger: r.c.o.Logger,
	}, r.settings)
	if err != nil {
		return err
	}
	err = r.with(ctx, scratch)
	return errors.Join(err, scratch.Kill()) // nothing in it is worth a clean end
}

func (r *cloning) with(ctx context.Context, scratch *private.Server) error {
	db, err := replica.Open(replica.Options{Socket: scratch.Socket(), User: "root", Timeout: scratchTimeout, Logger: r.c.o.Logger})
	if err != nil {
		return err
	}
	defer func() { _ = db.Disconnect() }()
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.watch(ctx, db, scratch, cancel)
	}()
	err = db.Clone(ctx, replica.CloneOrder{Host: "127.0.0.1", Port: r.relay.Port(), User: r.c.o.Account, Dir: r.job.Staging})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = r.ended(cause, err)
	}
	cancel(nil)
	<-watched
	if err == nil {
		r.poll(context.WithoutCancel(ctx), db)
	}
	return err
}

// watch reports progress, and gives the copy up when it stalls or when the
// scratch server dies.
func (r *cloning) watch(ctx context.Context, db *replica.Server, scratch *private.Server, giveUp context.CancelCauseFunc) {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	moved, last := time.Now(), int64(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-scratch.Done():
			giveUp(scratch.Wait())
			return
		case <-tick.C:
		}
		r.poll(ctx, db)
		// Either grows: the server counts only whole pieces, and the relay
		// nothing of what is written at the end.
		if sum := r.done.Load() + r.relay.Bytes(); sum != last {
			moved, last = time.Now(), sum
		} else if time.Since(moved) >= r.c.o.StallTimeout {
			giveUp(&StallError{After: r.c.o.StallTimeout, Line: r.relay.Err()})
			return
		}
	}
}

// poll reads how far the copy is; where the server does not say, the relay's
// count stands for it.
func (r *cloning) poll(ctx context.Context, db *replica.Server) {
	done, total, err := db.CloneProgress(ctx)
	if err != nil || total == 0 {
		if err != nil {
			r.c.o.Logger.Debug("read clone progress", "error", err)
		}
		done, total = r.relay.Bytes(), r.total.Load()
	}
	r.done.Store(max(done, r.done.Load()))
	r.total.Store(max(total, r.total.Load()))
	r.report(r.done.Load(), max(r.done.Load(), r.total.Load()))
}
