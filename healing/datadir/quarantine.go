package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kept is one old datadir in quarantine.
type Kept struct {
	ID    string    `json:"id"` // of the rebuild that set it aside
	Ref   Ref       `json:"ref"`
	Since time.Time `json:"since"`
	// Outside are the shelves with the entries of this datadir that lay
	// elsewhere (Outside.Shelf).
	Outside []Ref `json:"outside,omitempty"`
	// Served is what its server was when it was ended; nil where that is not
	// known, and then nobody goes back to it.
	Served *Served `json:"served,omitempty"`
	// Going says that its removal has begun.
	Going bool `json:"going,omitempty"`
	// Archive holds what existed only in this datadir, in a form that can be
	// replayed; Note says so to who finds the label.
	Archive *Ref   `json:"archive,omitempty"`
	Note    string `json:"note,omitempty"`
}

const archiveNote = "what existed only here is in the archive, see its manifest.json; the rows of tables that existed only here are in this datadir alone"

// Served is what a server on a datadir was, once it was closed for good.
type Served struct {
	Executed string `json:"executed"`
	UUID     string `json:"server_uuid"`
	Source   string `json:"source"` // host:port that it replicated from
	Version  string `json:"version"`
}

// Leaving is a datadir that goes into quarantine.
type Leaving struct {
	ID      string // of the rebuild
	Old     Ref
	Shelves []Ref // of its entries elsewhere, which belong to it from now on
	Served  *Served
	// For is the id of the quarantined datadir that is live now, in whose place
	// the exchange has left this one; empty: it is at new.
	For string
}

// Quarantine moves the old datadir to old/<id>, from where the exchange left
// it. It is idempotent, told by inode, and returns the new reference. The label
// of a datadir that is live again goes; the archive beside it stays with the
// quarantine.
func (p Place) Quarantine(l Leaving) (Ref, error) {
	ref, err := p.quarantine(l, time.Now(), func(string) {})
	if err != nil {
		return Ref{}, fmt.Errorf("quarantine the old datadir: %w", err)
	}
	return ref, nil
}

func (p Place) quarantine(l Leaving, now time.Time, at func(point string)) (Ref, error) {
	id, old := l.ID, l.Old
	for _, name := range []string{id, l.For} {
		if !idPattern.MatchString(name) && (name == id || name != "") {
			return Ref{}, fmt.Errorf("%q is not a rebuild id", name)
		}
	}
	if live, err := RefOf(p.Live.Path); err != nil || live.Same(old) {
		return Ref{}, errors.Join(errors.New("the exchange has not taken place"), err)
	}
	area, err := openDir(p.Root)
	if err != nil {
		return Ref{}, err
	}
	defer area.Close()
	shelf, err := openDirAt(area, NameOld)
	if err != nil {
		return Ref{}, err
	}
	defer shelf.Close()
	want := Ref{Path: filepath.Join(shelf.Name(), id), Dev: old.Dev, Ino: old.Ino}
	if err := inherit(shelf, l.For, id); err != nil {
		return Ref{}, err
	}
	at("inherited")
	k := Kept{ID: id, Ref: want, Since: now.UTC().Truncate(time.Millisecond), Outside: l.Shelves, Served: l.Served}
	if k.Archive, err = archiveOf(shelf, id); err != nil {
		return Ref{}, err
	}
	if k.Archive != nil {
		k.Note = archiveNote
	}
	if err := writeLabel(shelf, k); err != nil {
		return Ref{}, err
	}
	at("labelled")
	switch there, err := refAt(shelf, id); {
	case err == nil && there.Same(old):
	case err == nil:
		return Ref{}, fmt.Errorf("%w: %s", ErrOther, there)
	case !errors.Is(err, fs.ErrNotExist):
		return Ref{}, err
	default:
		parent, name := area, NameNew
		if l.For != "" {
			parent, name = shelf, l.For
		}
		from, err := refAt(parent, name)
		if err != nil {
			return Ref{}, err
		}
		if !from.Same(old) {
			return Ref{}, fmt.Errorf("%w: wanted %s, found %s", ErrOther, old, from)
		}
		if err := unix.Renameat2(int(parent.Fd()), name, int(shelf.Fd()), id, unix.RENAME_NOREPLACE); err != nil {
			return Ref{}, fmt.Errorf("rename %s to %s: %w", from.Path, want.Path, err)
		}
		at("moved")
	}
	if l.For != "" {
		if err := unlabel(shelf, l.For); err != nil {
			return Ref{}, err
		}
		at("unlabelled")
	}
	return want, errors.Join(shelf.Sync(), area.Sync())
}

// inherit gives the archive beside one old datadir to another.
func inherit(shelf *os.File, from, id string) error {
	if from == "" {
		return nil
	}
	err := unix.Renameat2(int(shelf.Fd()), from+archiveSuffix, int(shelf.Fd()), id+archiveSuffix, unix.RENAME_NOREPLACE)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("rename the archive of %s: %w", from, err)
	}
	return nil
}

// unlabel removes the label of a datadir that is not in quarantine any more.
func unlabel(shelf *os.File, id string) error {
	if there, err := refAt(shelf, id); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%w: %s is still there", ErrOther, there), err)
	}
	if err := unix.Unlinkat(int(shelf.Fd()), id+".json", 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the label of %s: %w", id, err)
	}
	return nil
}

// writeLabel notes beside a quarantined datadir which one it is and since
// when; only labelled ones are ever pruned. An earlier label of the same
// directory stays.
func writeLabel(shelf *os.File, k Kept) error {
	if was, err := readLabel(shelf, k.ID); err == nil && was.Ref.Same(k.Ref) {
		return nil
	}
	return replaceLabel(shelf, k)
}

func replaceLabel(shelf *os.File, k Kept) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return replaceFile(shelf, k.ID+".json", append(data, '\n'), 0o640)
}

func readLabel(shelf *os.File, id string) (Kept, error) {
	data, err := readSmall(shelf, id+".json")
	if err != nil {
		return Kept{}, err
	}
	var k Kept
	if err := json.Unmarshal(data, &k); err != nil {
		return Kept{}, fmt.Errorf("read label of %s: %w", id, err)
	}
	k.Ref.Path = filepath.Join(shelf.Name(), id)
	if k.Archive != nil {
		k.Archive.Path = k.Ref.Path + archiveSuffix
	}
	// A device may have another number after a reboot; the inode is the same.
	if st, err := statFile(shelf); err == nil {
		k.Ref.Dev = uint64(st.Dev)
		if k.Archive != nil {
			k.Archive.Dev = k.Ref.Dev
		}
	}
	if k.ID != id || k.Ref.Ino == 0 || k.Since.IsZero() {
		return Kept{}, fmt.Errorf("read label of %s: it is not complete", id)
	}
	return k, nil
}

// Quarantined lists the labelled old datadirs, newest first. A label whose
// directory is missing or another one is left out.
func (p Place) Quarantined() ([]Kept, error) {
	kept, _, err := p.labelled()
	return kept, err
}

// labelled lists the labels whose datadir is there, newest first, and the
// orphans: what is left of one that was being removed when the process died.
// What a person took away has left more than that, and keeps it.
func (p Place) labelled() (out, orphans []Kept, err error) {
	shelf, err := openDir(p.Path(NameOld))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the quarantine: %w", err)
	}
	defer shelf.Close()
	entries, err := names(shelf)
	if err != nil {
		return nil, nil, fmt.Errorf("list the quarantine: %w", err)
	}
	for _, name := range entries {
		id, isLabel := strings.CutSuffix(name, ".json")
		if !isLabel || !idPattern.MatchString(id) {
			continue
		}
		k, err := readLabel(shelf, id)
		if err != nil {
			continue
		}
		switch now, err := refAt(shelf, id); {
		case err == nil && now.Same(k.Ref):
			out = append(out, k)
		case errors.Is(err, fs.ErrNotExist) && k.Going:
			orphans = append(orphans, k)
		}
	}
	slices.SortFunc(out, func(a, b Kept) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return out, orphans, nil
}
