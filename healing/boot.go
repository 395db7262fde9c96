package healing

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
)

// Finish makes the datadir fit to be started on, right before mysqld starts
// and without a sidecar: after a reboot in the middle of a swap it completes
// the exchange, after one in an unfinished stop, or a wipe that has removed
// nothing yet, it takes the way back. The
// sidecar goes on from there once it runs. Nothing left to do is no error;
// something left that a running sidecar is about to do is ErrStateInUse, and
// mysqld must wait for it.
func Finish(stateDir string, log *slog.Logger) error {
	j, err := loadJournal(stateDir)
	if err != nil {
		return err
	}
	if left, err := j.leftForBoot(); err != nil || !left {
		return err
	}
	unlock, err := LockState(stateDir, 0)
	if err != nil {
		return fmt.Errorf("rebuild %s stands in %s: %w", j.Record.ID, j.Step, err)
	}
	defer unlock() //nolint:errcheck // it ends with the process
	// Once more, now that nobody else changes it.
	if j, err = loadJournal(stateDir); err != nil {
		return err
	}
	left, err := j.leftForBoot()
	if err != nil || !left {
		return err
	}
	b := boot{stateDir: stateDir, j: j, log: log.With("rebuild", j.Record.ID)}
	if err := b.finish(); err != nil {
		return fmt.Errorf("finish rebuild %s, which stood in %s: %w", j.Record.ID, j.Step, err)
	}
	return nil
}

// leftForBoot says whether something of this journal must be done before
// mysqld may start.
func (j *Journal) leftForBoot() (bool, error) {
	if j == nil || j.Record.Outcome != "" || j.Live.Path == "" {
		return false, nil
	}
	renumbered := *j
	renumbered.Outside = slices.Clone(j.Outside)
	switch {
	case renumbered.renumber():
		return true, nil
	case !j.Back && j.at(watchdog.StepStop, watchdog.StepSwap):
		return true, nil
	case !j.Back && j.at(watchdog.StepWipe):
		state, err := j.wiped()
		return state == datadir.NotYet, err
	case !j.Back && !j.at(watchdog.StepStart):
		return false, nil
	}
	// What is left of start, and of the way back, is to take the marker off.
	marked, _, err := datadir.Marked(j.Live.Path)
	return marked, err
}

// boot is one run of Finish.
type boot struct {
	stateDir string
	j        *Journal
	log      *slog.Logger
}

func (b *boot) note(change func(*Journal)) error {
	change(b.j)
	return b.j.save(b.stateDir, time.Now())
}

func (b *boot) finish() error {
	was := b.j.Step
	if b.j.renumber() {
		b.log.Info("device of the datadir has a new number", "device", b.j.Live.Dev)
		if err := b.note(func(*Journal) {}); err != nil {
			return err
		}
	}
	switch {
	case b.j.at(watchdog.StepStop, watchdog.StepWipe) && !b.j.Done && !b.j.Back:
		if state, err := b.j.wiped(); err != nil || state != datadir.NotYet {
			return err
		}
		if err := b.note(func(j *Journal) { j.Back = true }); err != nil {
			return err
		}
	case b.j.at(watchdog.StepStop, watchdog.StepSwap) && !b.j.Back:
		if err := b.swap(); err != nil {
			return err
		}
	case !b.j.Back && !b.j.at(watchdog.StepStart):
		return nil
	}
	if b.j.Back && b.j.Bare {
		return nil // the way back leads to no data
	}
	if err := b.open(); err != nil {
		return err
	}
	b.log.Info("datadir made fit to be started on", "stood_in", was, "step", b.j.Step, "back", b.j.Back)
	return service.Release(service.HoldPath(b.stateDir))
}

// swap does the rest of the step of that name, under the same locks, and
// writes the same journal.
func (b *boot) swap() error {
	began := time.Now()
	locks, err := b.j.lock()
	if err != nil {
		return err
	}
	defer unlock(locks) //nolint:errcheck // they end with the process
	if !b.j.at(watchdog.StepSwap) {
		if err := b.note(func(j *Journal) { j.Step, j.Done = watchdog.StepSwap, false }); err != nil {
			return err
		}
	}
	if err := exchangeAll(b.j, b.note, func(string) {}); err != nil {
		return err
	}
	if !b.j.Done {
		took := watchdog.StepTime{Name: watchdog.StepSwap, Seconds: time.Since(began).Seconds()}
		if err := b.note(func(j *Journal) { j.Done, j.Record.Steps = true, append(j.Record.Steps, took) }); err != nil {
			return err
		}
	}
	return b.note(func(j *Journal) { j.Step, j.Done = watchdog.StepStart, false })
}

// open takes the marker off the datadir that is to be started on: the new one
// in start, the old one on the way back. A way back that has the exchange
// still before it is the sidecar's, which knows whether the new server was
// taken into use.
func (b *boot) open() error {
	state, err := b.j.exchanged()
	if err != nil {
		return err
	}
	if want := map[bool]datadir.State{true: datadir.NotYet, false: datadir.Done}[b.j.Back]; state != want {
		return nil
	}
	if b.j.Back {
		if err := b.j.restoreOutside(); err != nil {
			return err
		}
	}
	return datadir.Unmark(b.j.Live.Path)
}

// renumber follows the devices that the directories are on to new numbers: a
// file system keeps its inodes over a reboot, but not always the number of its
// device. It says whether the journal has changed.
func (j *Journal) renumber() bool {
	outside := j.renumberOutside()
	return j.renumberLive() || outside
}

func (j *Journal) renumberLive() bool {
	live, err := datadir.RefOf(j.Live.Path)
	if j.Husk.Ino != 0 && err == nil && live.Dev != j.Live.Dev && (live.Ino == j.Live.Ino || live.Ino == j.Husk.Ino) && j.Staged.Ino == 0 {
		j.Live.Dev, j.Was.Dev, j.Husk.Dev, j.Going.Dev = live.Dev, live.Dev, live.Dev, live.Dev
		return true
	}
	if err != nil || live.Dev == j.Live.Dev || live.Ino != j.Live.Ino && live.Ino != j.Staged.Ino {
		return false
	}
	if j.Staged.Ino != 0 {
		other, err := datadir.RefOf(j.Staged.Path)
		want := j.Live.Ino + j.Staged.Ino - live.Ino
		if j.Staged.Dev != j.Live.Dev || err == nil && (other.Dev != live.Dev || other.Ino != want) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		j.Staged.Dev = live.Dev
	}
	j.Live.Dev, j.Was.Dev = live.Dev, live.Dev
	if j.Husk.Ino != 0 {
		j.Husk.Dev = live.Dev
		j.Going.Dev = live.Dev
	}
	return true
}
