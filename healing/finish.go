package healing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/private"
	"resilver/watchdog"
)

// finish records how the rebuild ended, cleans up behind it and releases the
// lease. What the process leaves in the middle of stop to verify stays in the
// journal, which leads the next one on.
func (r *rebuild) finish(err error) {
	if errors.Is(err, errStopping) && r.past {
		r.log.Warn("rebuild left to its journal", "step", r.j.Step, "error", err)
		r.h.unclaim(r)
		return
	}
	r.conclude(err)
	r.settle()
}

// conclude turns the last error into the outcome.
func (r *rebuild) conclude(err error) {
	note := r.note(func(j *Journal) {
		rec := &j.Record
		rec.Bytes = max(rec.Bytes, r.bytes)
		rec.Ended = watchdog.StampOf(time.Now())
		rec.Outcome = outcomeOf(err)
		switch {
		case rec.Drill() && rec.Outcome == watchdog.Healed:
			rec.Outcome = watchdog.Passed
		case rec.Rollback():
			rec.Outcome = rollbackOutcome(rec.Outcome)
		}
		if err != nil {
			rec.Error = err.Error()
		} else if rec.Rollback() {
			rec.Error = r.wentBack()
		}
		if w := r.h.Wiped(); w != nil && err != nil {
			rec.Error += "; " + w.Words() + ": the next rebuild goes on, by itself where policy.mode is heal, else at `resilver rebuild`"
		}
		if rec.Outcome == watchdog.Failed && !errors.Is(err, errTaken) {
			switch {
			case j.at(watchdog.StepAttach):
				rec.Error += "; the new copy stays, closed to clients and without a source: give it one by hand, then `resilver ack` and `resilver rebuild`"
			case j.at(watchdog.StepVerify):
				rec.Error += "; the new copy stays, closed to clients: mend the cause, then `resilver ack` and `resilver rebuild`"
			}
		}
		// Given up before the first step (it has no name then) or before stage.
		// A copy that was begun has cost something, and is charged; so is one
		// whose sidecar died, or one that dies each time would never meet its
		// budget.
		rec.Untouched = rec.Outcome == watchdog.Cancelled && !errors.Is(err, errDied) && j.at("", watchdog.StepPreflight, watchdog.StepQuarantine)
	})
	if note != nil {
		r.log.Error("journal not written", "error", note)
	}
	if rec := r.j.Record; rec.Drill() && rec.Outcome == watchdog.Failed {
		r.log.Warn("drill failed: a rebuild would not work here now", "error", rec.Error, "step", r.j.Step)
	}
	r.log.Info("rebuild ended", "trigger", r.j.Record.Trigger, "outcome", r.j.Record.Outcome, "error", r.j.Record.Error, "step", r.j.Step)
}

// outcomeOf tells a failure from a rebuild that was only given up: by a guard,
// a person, the end of the process or its death.
func outcomeOf(err error) watchdog.Result {
	switch {
	case err == nil:
		return watchdog.Healed
	case errors.Is(err, errTaken):
		return watchdog.Failed
	case errors.Is(err, errRolledBack):
		return watchdog.RolledBack
	case errors.Is(err, errCancelled), errors.Is(err, errDied), errors.Is(err, errStopping):
		return watchdog.Cancelled
	}
	return watchdog.Failed
}

// settle is the last step: what was left behind goes, the lease is released
// with the record, and only then the journal. Each is tried until it succeeds;
// where the process ends before, the journal has the outcome for the next one.
func (r *rebuild) settle() {
	defer r.h.unclaim(r)
	began := time.Now()
	if err := r.note(func(j *Journal) {
		if !j.at(watchdog.StepSettle) {
			j.Stood = j.Step
		}
		j.Step, j.Done = watchdog.StepSettle, false
	}); err != nil {
		r.log.Error("journal not written", "error", err)
	}
	r.h.o.Failpoint("settle.begin")
	// What cannot be removed now, as on a disk that has died, must not keep the
	// lease: it is tried once before the release, and for as long as it takes
	// after it.
	before := r.tidyOnce
	if r.j.Record.Drill() {
		before = r.quietOnce // a rebuild elsewhere must not wait for a whole copy to be removed
	}
	released := func(context.Context) error { r.h.o.Failpoint("settle.released"); return nil }
	for _, part := range []func(context.Context) error{before, r.release, released, r.keepClosed, r.tidy, r.forget} {
		for {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.h.life), settleAttempt)
			err := part(ctx)
			cancel()
			if err == nil {
				break
			}
			r.log.Error("not settled yet", "error", err)
			select {
			case <-r.h.life.Done():
				return
			case <-time.After(backPause):
			}
		}
	}
	r.h.o.Failpoint("settle.end")
	r.h.o.Stepped(watchdog.StepSettle, time.Since(began))
	r.h.mu.Lock()
	r.h.last = r.j.Record
	r.h.mu.Unlock()
	r.h.o.Ended(r.j.Record)
}

// tidyOnce is a first try, which may fail.
func (r *rebuild) tidyOnce(ctx context.Context) error {
	if err := r.tidy(ctx); err != nil {
		r.log.Warn("not tidied up yet", "error", err)
	}
	return nil
}

// quietOnce is a first try to end what still works for the copy.
func (r *rebuild) quietOnce(context.Context) error {
	if err := r.quiet(); err != nil {
		r.log.Warn("not at rest yet", "error", err)
	}
	return nil
}

// settleAttempt bounds one try of a part of settle.
const settleAttempt = 20 * time.Second

// release ends the lease with the record. One that somebody else has ended,
// because it expired or a person said ack, is not needed any more.
func (r *rebuild) release(ctx context.Context) error {
	if r.lease == nil && !r.gone {
		lease, err := r.h.o.Leases.Adopt(ctx, r.j.Record.ID, r.j.Token)
		switch {
		case errors.Is(err, watchdog.ErrLeaseLost), errors.Is(err, watchdog.ErrTokenStale):
			r.gone = true
			return nil
		case err != nil:
			return fmt.Errorf("adopt the lease: %w", err)
		}
		r.lease = lease
	}
	if r.gone {
		return nil
	}
	err := r.lease.Release(ctx, r.j.Record)
	if errors.Is(err, watchdog.ErrLeaseLost) || errors.Is(err, watchdog.ErrTokenStale) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release the lease: %w", err)
	}
	return nil
}

// forget removes the journal, and what it kept apart.
func (r *rebuild) forget(context.Context) error {
	bare, err := r.forgetWiped()
	if err == nil && !bare {
		err = removeFile(passwordPath(r.h.o.StateDir))
	}
	if err != nil {
		return err
	}
	return removeJournal(r.h.o.StateDir)
}

// quiet lets go of the live server and ends private ones that are left.
func (r *rebuild) quiet() error {
	errs := []error{r.unlockAll()}
	if r.process != nil {
		errs = append(errs, r.process.Close())
		r.process = nil
	}
	if r.place.Root == "" {
		return errors.Join(errs...)
	}
	n, err := private.EndOrphans(r.place.Root)
	if n > 0 || err != nil {
		r.log.Warn("private servers of an earlier process ended", "count", n, "error", err)
	}
	return errors.Join(append(errs, err)...)
}

// tidy removes what is of no use any more and sets the old datadir aside. The
// journal stays until it has succeeded, because only it says what is what.
func (r *rebuild) tidy(context.Context) error {
	errs := []error{r.quiet()}
	if r.place.Root == "" {
		return errors.Join(errs...)
	}
	if errs[0] == nil {
		errs = append(errs, private.Sweep(r.place.Root))
	}
	r.dropUnkept()
	errs = append(errs, r.tidyWipe())
	if scratch, err := r.place.Find(datadir.NameScratch); err == nil {
		errs = append(errs, r.place.Discard(scratch))
	}
	state, err := r.j.exchanged()
	switch {
	case err != nil:
		errs = append(errs, err)
	case state == datadir.Done && r.j.Bare:
		errs = append(errs, r.dropHusk())
	case state == datadir.Done:
		errs = append(errs, r.keepOld())
	case r.j.Old != "":
		// The old datadir is in quarantine, where it was.
	case r.j.Staged.Ino != 0:
		errs = append(errs, r.place.Discard(r.j.Staged), r.dropArchive())
	case r.j.Stood == watchdog.StepStage:
		// Made by a method, and not in the journal yet.
		if staged, err := r.place.Adopt(datadir.NameNew, r.j.Live); err == nil {
			errs = append(errs, r.place.Discard(staged))
		}
		errs = append(errs, r.dropArchive())
	default:
		errs = append(errs, r.dropArchive())
	}
	// Before stage nothing of this rebuild can be there; what is may be old data.
	if err == nil && !slices.Contains([]watchdog.Step{"", watchdog.StepPreflight, watchdog.StepQuarantine}, r.j.Stood) {
		errs = append(errs, r.clearOutside())
	}
	return errors.Join(errs...)
}

// keepOld puts the old datadir into quarantine. One that was moved entry by
// entry lies there already, and what is left of the copy's directory goes.
func (r *rebuild) keepOld() error {
	old, left := r.j.Live, []datadir.Ref(nil)
	shelves, err := r.shelves()
	if err != nil {
		return err
	}
	if r.j.whole() != nil {
		old, shelves, left = shelves[0], shelves[1:], []datadir.Ref{r.j.Staged}
	}
	leaving := datadir.Leaving{ID: r.j.Record.ID, Old: old, Shelves: shelves, Served: r.j.Leaves, For: r.j.Old}
	if _, err := r.place.Quarantine(leaving); err != nil {
		return err
	}
	return r.place.Discard(left...)
}

// prune keeps the quarantine within its bounds; what this rebuild set aside stays.
func (r *rebuild) prune() error {
	gone, err := r.place.Prune(datadir.Limits{Now: time.Now(), Keep: r.h.o.Keep, MinFree: r.h.o.KeepFree})
	for _, k := range gone {
		r.log.Info("old datadir pruned", "of", k.ID, "since", k.Since)
	}
	return err
}

// housekeepEvery is how often the quarantine is held to its bounds.
const housekeepEvery = time.Hour

// Housekeep prunes the quarantine after a rebuild and from time to time. It is
// no part of a rebuild: an old datadir that cannot be removed, or not soon,
// must not keep the lease.
func (h *Healer) Housekeep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.ended:
		case <-time.After(housekeepEvery):
		}
		obs := h.o.Server.Observe(ctx)
		if !obs.Reachable || h.Progress() != nil {
			continue
		}
		place, err := datadir.PlaceFor(obs.Datadir, h.o.StagingDir)
		if err == nil {
			err = (&rebuild{h: h, place: place, log: h.o.Logger}).prune()
		}
		if err != nil {
			h.o.Logger.Warn("quarantine not pruned", "error", err)
		}
	}
}

// passwordPath is where the source's password waits from stop to settle, for
// the process that may have to go on: apart from the journal, readable by the
// sidecar alone, and gone with the rebuild.
func passwordPath(stateDir string) string { return filepath.Join(stateDir, "attach.secret") }

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
