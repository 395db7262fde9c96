package healing

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// errDied is the end of a copy whose sidecar went away under it.
var errDied = errors.New("the sidecar ended in the middle of it")

// Resume takes up what an earlier process of this sidecar left: before stop
// the staging is thrown away, in stop the closing is undone unless the server
// had been ended with every check passed, and from there on the rebuild goes
// forward. Nothing under way is no error. It returns at once; the work goes on
// beside.
func (h *Healer) Resume() error {
	j, err := loadJournal(h.o.StateDir)
	if err != nil || j == nil {
		return err
	}
	if j.Record.Node != h.o.Node {
		return fmt.Errorf("the journal in %s is that of node %s, this is %s: is the state directory another machine's?", h.o.StateDir, j.Record.Node, h.o.Node)
	}
	if j.renumber() {
		if err := j.save(h.o.StateDir, time.Now()); err != nil {
			return err
		}
	}
	r := &rebuild{h: h, j: *j, bytes: j.Record.Bytes, manual: j.Record.Trigger == watchdog.TriggerManual || j.Record.Rollback()}
	if err := h.claim(r); err != nil {
		return err
	}
	r.log.Info("rebuild resumed", "step", j.Step, "done", j.Done, "outcome", j.Record.Outcome)
	h.wait.Go(r.resume)
	return nil
}

func (r *rebuild) resume() {
	r.past = !r.j.Record.Drill() && !r.j.at(watchdog.StepPreflight, watchdog.StepQuarantine, watchdog.StepStage, watchdog.StepPrepare, watchdog.StepOwn, watchdog.StepRehearse, watchdog.StepWipe)
	if !r.findPlace() {
		r.h.unclaim(r)
		return
	}
	if r.j.Record.Outcome != "" {
		r.settle()
		return
	}
	r.finish(r.goOn())
}

// findPlace lays the directories out again; where that cannot be done now, it
// is tried again, because the replica may be away.
func (r *rebuild) findPlace() bool {
	for r.j.Live.Path != "" {
		place, err := r.j.place()
		if err == nil {
			r.place = place
			return true
		}
		r.log.Error("rebuild cannot be resumed yet", "error", err)
		select {
		case <-r.h.life.Done():
			return false
		case <-time.After(backPause):
		}
	}
	return true
}

// place is where preflight laid the directories out. In the middle of a swap
// a datadir that is moved entry by entry cannot be looked into.
func (j *Journal) place() (datadir.Place, error) {
	if j.whole() == nil {
		return datadir.PlaceFor(j.Live.Path, j.Staging)
	}
	if now, err := datadir.RefOf(j.Live.Path); err != nil || !now.Same(j.Live) {
		return datadir.Place{}, errors.Join(fmt.Errorf("%w: is %s mounted?", datadir.ErrOther, j.Live.Path), err)
	}
	return datadir.PlaceInside(j.Was), nil
}

// goOn finishes, or undoes, what stands between stop and verify. The swap is
// finished before anything is asked of the cluster: the replica is away.
func (r *rebuild) goOn() error {
	switch {
	case r.j.at(watchdog.StepWipe) && !r.j.Done:
		return r.unwipe(fmt.Errorf("%s: %w", r.j.Step, errDied))
	case !r.past:
		return fmt.Errorf("%s: %w", r.j.Step, errDied)
	case r.j.Back, r.j.at(watchdog.StepStop) && !r.j.Done:
		return r.back(errDied)
	case r.j.at(watchdog.StepStop, watchdog.StepSwap) && !(r.j.at(watchdog.StepSwap) && r.j.Done):
		if err := r.lock(); err != nil {
			// Somebody runs a server on one of them, past every guard.
			return r.back(fmt.Errorf("%w: %w", errDied, err))
		}
	}
	return r.forward(r.ahead())
}

// ahead are the steps still to be done: from the journalled one on, or after
// it where it was done.
func (r *rebuild) ahead() []step {
	todo := r.critical()
	i := slices.IndexFunc(todo, func(s step) bool { return s.name == r.j.Step })
	if r.j.Done {
		i++
	}
	return todo[i:]
}
