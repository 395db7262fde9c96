package healing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// leftClosed is written down where a rebuild has failed on a new server that
// runs: the copy stays in service, closed by resilver, and the next rebuild
// must not take that for how its owner wants it.
type leftClosed struct {
	Rebuild     string            `json:"rebuild"`
	Datadir     datadir.Ref       `json:"datadir"`      // the copy's
	OfflineMode bool              `json:"offline_mode"` // as it was before
	Persisted   replica.Persisted `json:"persisted"`    // of the closing variables, before
}

func leftClosedPath(stateDir string) string { return filepath.Join(stateDir, "closed.json") }

// keepClosed writes the note where there is something to note.
func (r *rebuild) keepClosed() error {
	if r.j.Record.Outcome != watchdog.Failed || !r.j.at(watchdog.StepAttach, watchdog.StepVerify) {
		return nil
	}
	persisted, offline, err := r.openAs()
	if err != nil {
		return err
	}
	b, err := json.Marshal(leftClosed{Rebuild: r.j.Record.ID, Datadir: datadir.Ref{Path: r.j.Live.Path, Dev: r.j.Staged.Dev, Ino: r.j.Staged.Ino},
		OfflineMode: offline, Persisted: persisted})
	if err != nil {
		return fmt.Errorf("note that the copy is closed: %w", err)
	}
	return saveFile(leftClosedPath(r.h.o.StateDir), append(b, '\n'))
}

// openAs is how the new server is to be opened: what mysqld-auto.cnf said, and
// whether offline_mode was on, as the server was before resilver closed it,
// now or in an earlier rebuild that failed. What a person has opened since
// then is open.
func (r *rebuild) openAs() (replica.Persisted, bool, error) {
	persisted, offline := r.j.Persisted, r.j.Closed != nil && r.j.Closed.OfflineMode
	b, err := os.ReadFile(leftClosedPath(r.h.o.StateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return persisted, offline, nil
	}
	var note leftClosed
	if err == nil {
		err = json.Unmarshal(b, &note)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read how the server was before it was closed: %w", err)
	}
	if note.Datadir.Path != r.j.Live.Path || note.Datadir.Ino != r.j.Live.Ino {
		return persisted, offline, nil
	}
	if allOn(persisted) {
		persisted = note.Persisted
	}
	return persisted, offline && note.OfflineMode, nil
}

// allOn says that mysqld-auto.cnf is still as closing leaves it.
func allOn(p replica.Persisted) bool {
	for _, v := range p {
		if v == nil || *v != "ON" {
			return false
		}
	}
	return true
}
