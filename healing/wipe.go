package healing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// A rebuild that wipes first is the one way to a node without data. The step
// stands before stage, under a lease that is copying, because the copy after it
// may take hours. Until the exchange of the datadir for its husk everything
// leads back to the old data, whole; from there on forward, whoever dies: the
// node is a dead server that holds nothing, and any rebuild of it goes on.

// copying are the steps of this rebuild up to rehearse.
func (r *rebuild) copying() []step {
	steps := copying()
	if r.wiping() {
		steps = slices.Insert(steps, 2, step{watchdog.StepWipe, 10 * time.Minute, (*rebuild).wipe})
	}
	return steps
}

// wiping says that there are data that this rebuild has still to remove.
func (r *rebuild) wiping() bool { return r.j.WipeFirst && !r.j.Bare }

// errBare is a node without data that a rebuild has not brought back.
var errBare = errors.New("there are still no data here")

// wipe closes the live server, looks once more, ends it, and removes its data.
func (r *rebuild) wipe(ctx context.Context) error {
	if err := r.beforeWipe(ctx); err != nil {
		return err
	}
	r.h.o.Failpoint("wipe.ending")
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := r.end(ctx); err != nil {
		return err
	}
	// The lease, and the person who may have thought better of it, have the
	// last word.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if _, err := datadir.Wipe(r.j.Live, r.j.Husk); err != nil {
		return err
	}
	r.h.o.Failpoint("wipe.exchanged")
	return r.removeData()
}

// beforeWipe is everything that can say no, with the server closed at last.
func (r *rebuild) beforeWipe(ctx context.Context) error {
	dead, err := r.still(ctx)
	if err == nil && dead {
		err = fmt.Errorf("%w: guard wipe-first: mysqld does not answer any more", errCancelled)
	}
	if err == nil {
		err = r.admitted(ctx)
	}
	if err != nil {
		return err
	}
	// There is no copy yet: the rules of stop are held against what the donor
	// has, which the copy will be.
	donor, err := r.donorExecuted(ctx)
	if err == nil {
		err = r.note(func(j *Journal) { j.Executed = donor })
	}
	if err == nil {
		err = r.keepPassword()
	}
	if err == nil {
		err = r.unchanged(ctx)
	}
	if err == nil {
		err = r.close(ctx)
	}
	if err != nil {
		return err
	}
	r.h.o.Failpoint("wipe.closed")
	if err := r.nothingLost(ctx, r.subsetsNow); err != nil {
		return err
	}
	// Until the closing objects could still be made here alone.
	if _, err := r.guards(ctx, func(g watchdog.Guard) bool { return g.ID == "wipe-first" || g.ID == "donor" || g.ID == "disk-space" }); err != nil {
		return err
	}
	if err := r.unchanged(ctx); err != nil {
		return err
	}
	if err := r.closed.Check(ctx); err != nil {
		return err
	}
	return r.makeHusk()
}

// makeHusk makes what will stand in the datadir's place, and writes down all
// that must outlive the data.
func (r *rebuild) makeHusk() error {
	last, err := r.h.o.Known.Last()
	if err == nil {
		err = last.enough()
	}
	if err == nil && last.Source == nil {
		err = errors.New("its source configuration is not kept")
	}
	if err != nil {
		return fmt.Errorf("%w: guard wipe-first: what must be known of the server afterwards: %w", errCancelled, err)
	}
	by := r.wipedBy()
	husk, err := r.place.Husk(by.Words(), r.h.o.Preserve)
	if err != nil {
		return err
	}
	if err := r.note(func(j *Journal) { j.Husk, j.Leaves = husk, &r.leaves }); err != nil {
		return err
	}
	return r.noteWiped(last)
}

// admitted has the donor open its server to this rebuild once, before anything
// is lost: a greeting of it must come through.
func (r *rebuild) admitted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	conn, err := r.h.o.Tunnel(ctx, r.j.Record.Donor, r.j.ClusterID, r.j.Token)
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(askDeadline))
		_, err = io.ReadFull(conn, make([]byte, 4)) // the header of its first packet
		_ = conn.Close()
	}
	if err != nil {
		return fmt.Errorf("%w: guard wipe-first: the donor %s does not give: %w", errCancelled, r.j.Record.Donor, err)
	}
	return nil
}

// removeData takes note of the wipe, and removes the old data. It is done once, and
// finished by whoever finds it half done.
func (r *rebuild) removeData() error {
	if !r.j.Bare {
		err := r.inheritLeftClosed()
		if err == nil {
			err = r.note(func(j *Journal) {
				j.Going = datadir.Ref{Path: r.place.Path(datadir.NameGoing), Dev: j.Live.Dev, Ino: j.Live.Ino}
				j.Live.Dev, j.Live.Ino, j.Bare = j.Husk.Dev, j.Husk.Ino, true
			})
		}
		if err != nil {
			return err
		}
		r.log.Warn("the data of this node are removed", "by", r.j.Record.By, "going", r.j.Going.Path)
	}
	place, err := r.j.place()
	if err != nil {
		return err
	}
	r.place = place
	if err := r.unlockAll(); err != nil {
		return err
	}
	r.h.o.Failpoint("wipe.removing")
	return r.discardGoing()
}

// discardGoing removes the old data. Once they are gone the journal forgets
// them: the copy may get their inode.
func (r *rebuild) discardGoing() error {
	if r.j.Going.Ino == 0 {
		return nil
	}
	_, err := r.place.Find(datadir.NameGoing)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	} else if err == nil {
		err = r.place.Discard(r.j.Going)
	}
	if err != nil {
		return err
	}
	return r.note(func(j *Journal) { j.Going = datadir.Ref{} })
}

// inheritLeftClosed has the note of an earlier rebuild that failed, if there is
// one of the data that go, stand for the husk.
func (r *rebuild) inheritLeftClosed() error {
	note, err := readLeftClosed(r.h.o.StateDir, r.j.Live)
	if err != nil || note == nil {
		return err
	}
	note.Datadir.Dev, note.Datadir.Ino = r.j.Husk.Dev, r.j.Husk.Ino
	b, err := json.Marshal(note)
	if err != nil {
		return fmt.Errorf("note that the copy is closed: %w", err)
	}
	return saveFile(leftClosedPath(r.h.o.StateDir), append(b, '\n'))
}

// unwipe is the answer to a wipe that did not come to its end: back to the old
// data where they are still live, else forward. Which it is, is told by inode.
func (r *rebuild) unwipe(why error) error {
	r.mu.Lock()
	r.past = true // a process that ends now leaves it to its journal
	r.mu.Unlock()
	for {
		state, err := r.j.wiped()
		if err == nil && state == datadir.NotYet {
			return r.back(why)
		}
		if err == nil {
			if err := r.removeData(); err != nil { // settle tries again
				return errors.Join(why, err)
			}
			return why
		}
		r.log.Error("whether the data are gone is not known yet", "error", err)
		select {
		case <-r.h.life.Done():
			return fmt.Errorf("%w: %w", errStopping, why)
		case <-time.After(backPause):
		}
	}
}

// wiped tells by inode whether the husk is in the place of the datadir.
func (j *Journal) wiped() (datadir.State, error) {
	switch {
	case j.Bare:
		return datadir.Done, nil
	case j.Husk.Ino == 0:
		return datadir.NotYet, nil
	}
	live, err := datadir.RefOf(j.Live.Path)
	switch {
	case err != nil:
		return datadir.StateUnknown, err
	case live.Same(j.Live):
		return datadir.NotYet, nil
	case live.Same(j.Husk):
		return datadir.Done, nil
	}
	return datadir.StateUnknown, fmt.Errorf("%w: %s", datadir.ErrOther, live)
}

// tidyWipe removes what is left of a wipe: the data that were to go, or the
// husk that was not used.
func (r *rebuild) tidyWipe() error {
	switch {
	case !r.j.WipeFirst:
		return nil
	case r.j.Bare:
		return r.discardGoing()
	case r.j.Stood == watchdog.StepWipe:
		return r.place.DropHusk()
	}
	return nil
}

// dropHusk removes the husk that the copy has replaced. What is none is kept
// like any old datadir.
func (r *rebuild) dropHusk() error {
	ref := datadir.Ref{Path: r.place.Path(datadir.NameNew), Dev: r.j.Live.Dev, Ino: r.j.Live.Ino}
	there, err := r.place.Find(datadir.NameNew)
	if err != nil || !there.Same(ref) { // gone already, or another's
		return nil //nolint:nilerr // see above
	}
	if is, err := datadir.IsHusk(ref); err != nil || !is {
		return errors.Join(err, r.keepOld())
	}
	return r.place.Discard(ref)
}
