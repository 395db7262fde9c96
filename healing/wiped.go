package healing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"resilver/config/secret"
	"resilver/healing/datadir"
	"resilver/watchdog"
)

// wipedNote is what the next rebuild of a node without data goes by: what its
// server was. It counts only while that very husk is in the datadir's place.
type wipedNote struct {
	watchdog.Wiped
	Husk datadir.Ref `json:"husk"` // at the path of the datadir
	Last Last        `json:"last"`
}

func wipedPath(stateDir string) string { return filepath.Join(stateDir, "wiped.json") }

// noteWiped writes down, before the wipe, what of the server must outlive it.
func (r *rebuild) noteWiped(last Last) error {
	_, offline, err := r.openAs()
	if err != nil {
		return err
	}
	// What it had executed goes with it, and it was closed by resilver.
	last.Observation.Executed, last.Observation.OfflineMode = "", offline
	last.Observation.Sources = slices.Clone(last.Observation.Sources) // others read them
	for i := range last.Observation.Sources {
		src := &last.Observation.Sources[i]
		src.Retrieved, src.Applier.GTID = "", ""
	}
	last.Datadir, last.Inode = r.j.Live.Path, r.j.Husk.Ino
	note := wipedNote{Wiped: r.wipedBy(), Husk: datadir.Ref{Path: r.j.Live.Path, Dev: r.j.Husk.Dev, Ino: r.j.Husk.Ino}, Last: last}
	b, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return fmt.Errorf("note what is wiped: %w", err)
	}
	return saveFile(wipedPath(r.h.o.StateDir), append(b, '\n'))
}

func (r *rebuild) wipedBy() watchdog.Wiped {
	return watchdog.Wiped{Rebuild: r.j.Record.ID, By: r.j.Record.By, Since: r.j.Away}
}

// readWiped reads the note of the husk that is live, nil where there are data.
func readWiped(stateDir string) (*wipedNote, error) {
	b, err := os.ReadFile(wipedPath(stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	note := new(wipedNote)
	if err == nil {
		err = json.Unmarshal(b, note)
	}
	if err != nil {
		return nil, fmt.Errorf("read what was wiped, %s: %w", wipedPath(stateDir), err)
	}
	live, err := datadir.RefOf(note.Husk.Path)
	if err != nil {
		return nil, fmt.Errorf("look at the datadir that was wiped: %w", err)
	}
	if live.Ino != note.Husk.Ino { // the device may have another number after a reboot
		return nil, nil
	}
	is, err := datadir.IsHusk(live)
	if err != nil || !is {
		return nil, err
	}
	note.Husk = live
	return note, nil
}

// Wiped is who removed this node's data, nil where there are data, or where
// that cannot be told.
func (h *Healer) Wiped() *watchdog.Wiped {
	note, err := readWiped(h.o.StateDir)
	if err != nil {
		h.o.Logger.Warn("whether this node was wiped is not known", "error", err)
	}
	if err != nil || note == nil {
		return nil
	}
	return &note.Wiped
}

// known is what was last known of the server; of one that was wiped, with the
// password for its source, which nobody else has any more.
func (h *Healer) known() (Last, error) {
	note, err := readWiped(h.o.StateDir)
	if err != nil {
		return Last{}, err
	}
	if note == nil {
		return h.o.Known.Last()
	}
	last := note.Last
	last.bare = true
	if b, err := os.ReadFile(passwordPath(h.o.StateDir)); err == nil && last.Source != nil {
		source := *last.Source
		source.Password = secret.New(string(b))
		last.Source = &source
	}
	return last, nil
}

// forgetWiped removes what was kept for a node without data, once it has some.
func (r *rebuild) forgetWiped() (stillBare bool, err error) {
	note, err := readWiped(r.h.o.StateDir)
	if err != nil || note != nil {
		return true, nil //nolint:nilerr // a note that cannot be read is kept for who looks
	}
	return false, removeFile(wipedPath(r.h.o.StateDir))
}
