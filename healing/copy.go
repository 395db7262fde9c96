package healing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/healing/private"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// bootTimeout is what a private server gets until it answers.
const bootTimeout = 5 * time.Minute

// stage copies from the donor beside the live datadir. mysqld stays up, and
// its replication threads are left as they are. A method that fails is
// followed by the next that fits.
func (r *rebuild) stage(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watchSpace(ctx, cancel) })
	defer watch.Wait()
	defer cancel(nil)
	var failed []error
	for _, m := range r.h.from(r.j.Record.Method) {
		if r.only != "" && m.Name() != r.only {
			continue
		}
		if fits, _ := m.Fit(ctx, r.fitness); !fits {
			continue
		}
		err := r.stageBy(ctx, m)
		if err == nil {
			return nil
		}
		failed = append(failed, fmt.Errorf("by %s: %w", m.Name(), err))
		if ctx.Err() != nil {
			break
		}
		r.log.Warn("method failed", "method", m.Name(), "error", err)
		if err := r.dropStaged(); err != nil {
			return errors.Join(append(failed, err)...)
		}
	}
	if len(failed) == 0 {
		return errors.New("no method fits any more")
	}
	return errors.Join(failed...)
}

// stageBy takes the copy by one method.
func (r *rebuild) stageBy(ctx context.Context, m method.Method) error {
	if err := r.note(func(j *Journal) { j.Record.Method = m.Name() }); err != nil {
		return err
	}
	copied, err := m.Stage(ctx, r.job(), r.copied)
	if err != nil {
		return err
	}
	staged, err := r.place.Adopt(datadir.NameNew, r.j.Live)
	if err != nil {
		return err
	}
	r.staged = copied
	r.copied(copied.Bytes, copied.Bytes)
	return r.note(func(j *Journal) { j.Staged, j.Record.Bytes = staged, copied.Bytes })
}

// dropStaged removes what a method that failed has left.
func (r *rebuild) dropStaged() error {
	if err := r.clearOutside(); err != nil {
		return err
	}
	left, err := r.place.Adopt(datadir.NameNew, r.j.Live)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.place.Discard(left)
}

// spacePause is how often the free space is looked at while copying.
const spacePause = 2 * time.Second

// watchSpace gives the copy up before it fills the file system that the live
// server, and maybe raft and the journal, need.
func (r *rebuild) watchSpace(ctx context.Context, giveUp context.CancelCauseFunc) {
	tick := time.NewTicker(spacePause)
	defer tick.Stop()
	written := []string{r.place.Root}
	for _, c := range r.covers() {
		written = append(written, c.Over)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, dir := range written {
			if err := r.room(dir, 0); err != nil {
				giveUp(err)
				return
			}
		}
	}
}

// room says that the file system of dir has need bytes, beside what stays free.
func (r *rebuild) room(dir string, need int64) error {
	free, total, err := datadir.Free(dir)
	if err != nil {
		return err
	}
	keep := r.h.o.MinFree(int64(total))
	if int64(free)-need >= keep {
		return nil
	}
	err = fmt.Errorf("the file system of %s has %d bytes free, %d must stay free (rebuild.min_free)", dir, free, keep)
	if need > 0 {
		err = fmt.Errorf("%w, and %d are wanted", err, need)
	}
	return err
}

// from are the methods from the named one on.
func (h *Healer) from(name string) []method.Method {
	i := slices.IndexFunc(h.o.Methods, func(m method.Method) bool { return m.Name() == name })
	return h.o.Methods[max(i, 0):]
}

func (h *Healer) methodNamed(name string) (method.Method, error) {
	for _, m := range h.o.Methods {
		if m.Name() == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("method %q is not known", name)
}

// program is how private servers are run: like the live one, as the datadir's owner.
func (r *rebuild) program() private.Program {
	return private.Program{Prefix: r.j.Program.Prefix, Args: r.j.Program.Args, UID: r.j.Was.UID, GID: r.j.Was.GID}
}

// job is the copy that the method is asked for.
func (r *rebuild) job() method.Job {
	return method.Job{
		ID: r.j.Record.ID, Area: r.place.Root, Staging: r.place.Path(datadir.NameNew), Program: r.program(), Paths: r.paths, Covers: r.covers(),
		Tunnel: func(ctx context.Context) (net.Conn, error) {
			return r.h.o.Tunnel(ctx, r.j.Record.Donor, r.j.ClusterID, r.j.Token)
		},
		Backup: func(ctx context.Context, req method.BackupRequest) (net.Conn, error) {
			return r.h.o.Backup(ctx, r.j.Record.Donor, r.j.ClusterID, r.j.Token, string(req.Tool), req.Parallel)
		},
	}
}

// prepare applies the log of a physical backup. A clone has done that itself.
func (r *rebuild) prepare(ctx context.Context) error {
	m, err := r.h.methodNamed(r.j.Record.Method)
	if err != nil {
		return err
	}
	if err := m.Prepare(ctx, r.job()); err != nil {
		return fmt.Errorf("%w: by %s: %w", errUnprepared, m.Name(), err)
	}
	return nil
}

// otherMethod says that a copy which could not be prepared is followed by one
// of the next method that fits; what there is of it is thrown away.
func (r *rebuild) otherMethod(ctx context.Context) bool {
	if r.only != "" {
		return false
	}
	for _, m := range r.h.from(r.j.Record.Method)[1:] {
		if fits, _ := m.Fit(ctx, r.fitness); !fits {
			continue
		}
		if err := errors.Join(r.place.Discard(r.j.Staged), r.clearOutside()); err != nil {
			r.log.Error("copy not thrown away", "error", err)
			return false
		}
		err := r.note(func(j *Journal) { j.Staged, j.Record.Method = datadir.Ref{}, m.Name() })
		return err == nil
	}
	return false
}

// own gives the copy the live datadir's owner, mode and label, and the files
// that make it this server: its uuid, certificates and persisted settings.
func (r *rebuild) own(ctx context.Context) error {
	live := r.place.Live
	if r.place.Inside() {
		live.Mode &= 0o777 // of the copy only the entries are taken, and more may not be allowed
	}
	if err := datadir.Own(ctx, r.j.Staged, live, r.h.o.Preserve); err != nil {
		return err
	}
	if r.h.o.NewUUID {
		return r.renew()
	}
	return r.writeUUID()
}

// owned says that the new datadir belongs to whom the old one belonged to.
func (r *rebuild) owned() error {
	now, err := datadir.Inspect(r.j.Live.Path)
	if err != nil {
		return err
	}
	was := r.j.Was
	if now.UID != was.UID || now.GID != was.GID || now.Mode != was.Mode {
		return fmt.Errorf("the datadir belongs to %d:%d with mode %o, it was %d:%d with %o", now.UID, now.GID, now.Mode, was.UID, was.GID, was.Mode)
	}
	return nil
}

// rehearse boots the copy once, sealed, and makes it fit to be the live one.
func (r *rebuild) rehearse(ctx context.Context) error {
	donor, err := r.donorExecuted(ctx)
	if err != nil {
		return err
	}
	r.donated = ""
	if r.staged.Replicated {
		r.donated = donor
	}
	links, err := datadir.HideLinks(r.j.Staged)
	if err != nil {
		return err
	}
	out, err := r.rehearsed(ctx, private.RehearseOptions{
		Options: private.Options{Program: r.program(), Paths: r.paths, Area: r.place.Root, Covers: r.covers(), BootTimeout: bootTimeout, Logger: r.log},
		Datadir: r.j.Staged.Path, Connect: r.h.o.Connect, DonorExecuted: donor,
		Reported: r.staged.Reported, Replicated: r.staged.Replicated,
		AnyEngine: r.overridden("engines"),
	})
	if err != nil {
		return err
	}
	if err := r.placeScattered(out.Scattered, links); err != nil {
		return err
	}
	if r.j.Record.Trigger != watchdog.TriggerBackup { // which stays flat
		if err := r.placeOutside(); err != nil {
			return err
		}
	}
	// The rehearsal wrote files of its own; they are the owner's already.
	if err := datadir.Sync(r.j.Staged.Path); err != nil {
		return err
	}
	r.log.Info("copy rehearsed", "gtids_restored", out.Restored, "events_disabled", out.Events)
	if err := r.note(func(j *Journal) { j.Executed, j.Persisted = out.Executed, out.Persisted }); err != nil {
		return err
	}
	return r.reissues(r.archived.GTIDs)
}

// rehearsed rehearses, and compares the copy in between, where it is to be. The
// step's clock stands still for that: it ends when nothing goes on any more.
func (r *rebuild) rehearsed(ctx context.Context, o private.RehearseOptions) (private.Rehearsed, error) {
	if !r.compares() {
		return private.Rehearse(ctx, o)
	}
	id, back, err := r.as()
	if err != nil {
		return private.Rehearsed{}, err
	}
	o.Outward = id
	o.Compare = func(ctx context.Context, db *replica.Server) error {
		r.clock.pause()
		defer r.clock.resume()
		var watch sync.WaitGroup
		ctx, stop := context.WithCancelCause(ctx)
		watch.Go(func() { r.watchSpace(ctx, stop) }) // it replicates, and keeps relay logs
		defer watch.Wait()
		defer stop(nil)
		return r.compare(ctx, db)
	}
	out, err := private.Rehearse(ctx, o)
	if err != nil {
		return out, err
	}
	return out, back()
}

// donorExecuted asks the donor what it has executed, for a while: one hiccup
// must not cost the copy.
func (r *rebuild) donorExecuted(ctx context.Context) (set string, err error) {
	err = until(ctx, guardPatience, time.Second, func() (bool, error) {
		set, err = r.h.executedAt(ctx, r.j.Record.Donor)
		return err == nil, err
	})
	return set, err
}
