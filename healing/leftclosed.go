package healing

import (
	"context"
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
func (r *rebuild) keepClosed(context.Context) error {
	if r.j.Record.Outcome != watchdog.Failed || r.j.Stood != watchdog.StepAttach && r.j.Stood != watchdog.StepVerify {
		return nil
	}
	persisted, offline, err := r.openAs()
	if err != nil {
		return err
	}
	now := r.j.Staged
	if r.j.whole() != nil {
		now = r.j.Live
	}
	b, err := json.Marshal(leftClosed{Rebuild: r.j.Record.ID, Datadir: datadir.Ref{Path: r.j.Live.Path, Dev: now.Dev, Ino: now.Ino},
		OfflineMode: offline, Persisted: persisted})
	if err != nil {
		return fmt.Errorf("note that the copy is closed: %w", err)
	}
	return saveFile(leftClosedPath(r.h.o.StateDir), append(b, '\n'))
}

// readLeftClosed reads the note of the server on that datadir, nil for none.
func readLeftClosed(stateDir string, live datadir.Ref) (*leftClosed, error) {
	path := leftClosedPath(stateDir)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	note := new(leftClosed)
	if err == nil {
		err = json.Unmarshal(b, note)
	}
	if err != nil {
		return nil, fmt.Errorf("read how open the server was, %s: %w", path, err)
	}
	if note.Datadir.Path != live.Path || note.Datadir.Ino != live.Ino {
		return nil, nil
	}
	return note, nil
}

// refOfLive is the datadir that the server's own @@datadir leads to.
func refOfLive(dir string) (datadir.Ref, error) {
	real, err := filepath.EvalSymlinks(filepath.Clean(dir))
	if err != nil {
		return datadir.Ref{}, err
	}
	return datadir.RefOf(real)
}

// LeftClosed is the id of the rebuild that failed and left the server on this
// datadir closed to clients; empty for none. A note that cannot be read is one
// all the same.
func (h *Healer) LeftClosed(dir string) string {
	live, err := refOfLive(dir)
	if err != nil {
		return ""
	}
	note, err := readLeftClosed(h.o.StateDir, live)
	switch {
	case err != nil:
		return fmt.Sprintf("of an id that is not known (%v)", err)
	case note == nil:
		return ""
	}
	return note.Rebuild
}

// openAs is how the new server is to be opened: what mysqld-auto.cnf said, and
// whether offline_mode was on, as the server was before resilver closed it,
// now or in an earlier rebuild that failed. What a person has opened since
// then is open.
func (r *rebuild) openAs() (replica.Persisted, bool, error) {
	persisted, offline := r.j.Persisted, r.j.Closed != nil && r.j.Closed.OfflineMode
	note, err := readLeftClosed(r.h.o.StateDir, r.j.Live)
	if err != nil || note == nil {
		return persisted, offline, err
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
