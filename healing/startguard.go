package healing

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
)

// StartGuard says whether mysqld may be started now: nil where it may. It is
// asked by `resilver start-guard` and by the supervisor before every start.
// Between stop and start the datadirs are being exchanged; the marker in a
// datadir says so even where the state directory is lost: given is the datadir
// that mysqld's command line names, empty where it names none.
func StartGuard(stateDir, given string) error {
	j, err := loadJournal(stateDir)
	if err != nil {
		return err
	}
	if j != nil && j.Record.Outcome == "" && !j.Back && j.at(watchdog.StepStop, watchdog.StepSwap, watchdog.StepWipe) {
		return fmt.Errorf("rebuild %s is in step %s: mysqld must not start until the sidecar has finished it", j.Record.ID, j.Step)
	}
	if j != nil && j.Bare && j.Record.Outcome == "" && !j.at(watchdog.StepStart, watchdog.StepAttach, watchdog.StepVerify, watchdog.StepSettle) {
		return fmt.Errorf("rebuild %s is in step %s, and there are no data here yet: mysqld must not start until it has put a copy in their place", j.Record.ID, j.Step)
	}
	if j != nil && j.Record.Outcome == "" {
		held, err := service.HeldBy(service.HoldPath(stateDir))
		if err != nil {
			return err
		}
		if held {
			return fmt.Errorf("rebuild %s is in step %s, and its sidecar holds mysqld until the old server may start again", j.Record.ID, j.Step)
		}
	}
	dir, err := liveDatadir(stateDir, j)
	if err != nil {
		return err
	}
	if dir == "" {
		dir = given
	}
	if dir == "" {
		return nil
	}
	return unmarked(dir)
}

// StartGuardBlind is StartGuard for a configuration that cannot be read:
// stateDirs are the directories that may be the state directory, and all of
// them are asked. Where none is known, the marker in given alone answers, and
// where that is not known either the answer is no.
func StartGuardBlind(stateDirs []string, given string) error {
	if len(stateDirs) == 0 && given == "" {
		return errors.New("neither state_dir nor the datadir is known: mysqld must not start until the configuration is corrected")
	}
	for _, dir := range stateDirs {
		if err := StartGuard(dir, given); err != nil {
			return err
		}
	}
	if given == "" {
		return nil
	}
	err := unmarked(given)
	if len(stateDirs) > 0 && errors.Is(err, fs.ErrNotExist) {
		return nil // the drop-in names a datadir that this server does not use
	}
	return err
}

func unmarked(dir string) error {
	marked, reason, err := datadir.Marked(dir)
	if err != nil {
		return fmt.Errorf("look for the start guard's marker: %w", err)
	}
	if marked {
		return fmt.Errorf("%s is marked as not to be started (%s): see `resilver status`; if no rebuild is under way there, look at the data and remove %s", dir, reason, filepath.Join(dir, datadir.MarkerName))
	}
	return nil
}

func liveDatadir(stateDir string, j *Journal) (string, error) {
	if j != nil {
		return j.Live.Path, nil
	}
	l, err := LoadLast(stateDir)
	return l.Datadir, err
}
