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
	// Archive holds what existed only in this datadir, in a form that can be
	// replayed; Note says so to who finds the label.
	Archive *Ref   `json:"archive,omitempty"`
	Note    string `json:"note,omitempty"`
}

const archiveNote = "what existed only here is in the archive, see its manifest.json; the rows of tables that existed only here are in this datadir alone"

// Quarantine moves the old datadir, which the exchange left at new, to
// old/<id>. It is idempotent, told by inode, and returns the new reference.
// The shelves of its entries elsewhere belong to it from now on.
func (p Place) Quarantine(id string, old Ref, shelves ...Ref) (Ref, error) {
	ref, err := p.quarantine(id, old, shelves, time.Now(), func(string) {})
	if err != nil {
		return Ref{}, fmt.Errorf("quarantine the old datadir: %w", err)
	}
	return ref, nil
}

func (p Place) quarantine(id string, old Ref, shelves []Ref, now time.Time, at func(point string)) (Ref, error) {
	if !idPattern.MatchString(id) {
		return Ref{}, fmt.Errorf("%q is not a rebuild id", id)
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
	k := Kept{ID: id, Ref: want, Since: now.UTC().Truncate(time.Millisecond), Outside: shelves}
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
		from, err := refAt(area, NameNew)
		if err != nil {
			return Ref{}, err
		}
		if !from.Same(old) {
			return Ref{}, fmt.Errorf("%w: wanted %s, found %s", ErrOther, old, from)
		}
		if err := unix.Renameat2(int(area.Fd()), NameNew, int(shelf.Fd()), id, unix.RENAME_NOREPLACE); err != nil {
			return Ref{}, fmt.Errorf("rename %s to %s: %w", from.Path, want.Path, err)
		}
		at("moved")
	}
	return want, errors.Join(shelf.Sync(), area.Sync())
}

// writeLabel notes beside a quarantined datadir which one it is and since
// when; only labelled ones are ever pruned. An earlier label of the same
// directory stays.
func writeLabel(shelf *os.File, k Kept) error {
	if was, err := readLabel(shelf, k.ID); err == nil && was.Ref.Same(k.Ref) {
		return nil
	}
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
	shelf, err := openDir(p.Path(NameOld))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the quarantine: %w", err)
	}
	defer shelf.Close()
	entries, err := names(shelf)
	if err != nil {
		return nil, fmt.Errorf("list the quarantine: %w", err)
	}
	var out []Kept
	for _, name := range entries {
		id, isLabel := strings.CutSuffix(name, ".json")
		if !isLabel || !idPattern.MatchString(id) {
			continue
		}
		k, err := readLabel(shelf, id)
		if err != nil {
			continue
		}
		if now, err := refAt(shelf, id); err == nil && now.Same(k.Ref) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b Kept) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return out, nil
}

// Limits of the quarantine.
type Limits struct {
	Now  time.Time
	Keep time.Duration // older ones go
	// MinFree is how many bytes are wanted free on a file system of that size,
	// that of the area and those of the shelves; nil: do not look.
	MinFree func(total int64) int64
}

// Prune removes old datadirs, oldest first: those older than Keep, and then
// as many as it takes to have MinFree bytes free. The newest always stays. It
// returns what was removed, also with an error.
func (p Place) Prune(l Limits) ([]Kept, error) {
	kept, err := p.Quarantined()
	if err != nil {
		return nil, err
	}
	if len(kept) > 0 {
		kept = kept[1:]
	}
	var removed []Kept
	var failed []error
	for _, k := range slices.Backward(kept) {
		old := l.Now.Sub(k.Since) > l.Keep
		if !old && l.MinFree != nil {
			if old, err = p.short(k, l.MinFree); err != nil {
				return removed, fmt.Errorf("prune the quarantine: %w", err)
			}
		}
		if !old {
			continue
		}
		if err := p.prune(k); err != nil {
			// Somebody may use this one; the others can go.
			failed = append(failed, fmt.Errorf("prune the quarantine: %w", err))
			continue
		}
		removed = append(removed, k)
	}
	return removed, errors.Join(failed...)
}

// short says whether a file system that k takes room on has too little left.
func (p Place) short(k Kept, want func(total int64) int64) (bool, error) {
	paths := []string{p.Root}
	for _, shelf := range k.Outside {
		paths = append(paths, shelf.Path)
	}
	for _, path := range paths {
		free, total, err := Free(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || int64(free) < want(int64(total)) {
			return err == nil, err
		}
	}
	return false, nil
}

// prune removes the shelves first, the archive after the datadir, and the label
// last: as long as anything is left of an old datadir its label says what.
func (p Place) prune(k Kept) error {
	for _, shelf := range k.Outside {
		if err := discardShelf(shelf, k.ID); err != nil {
			return fmt.Errorf("discard %s: %w", shelf.Path, err)
		}
	}
	if err := p.Discard(k.Ref); err != nil {
		return err
	}
	if k.Archive != nil {
		if err := p.Discard(*k.Archive); err != nil {
			return err
		}
	}
	shelf, err := openDir(p.Path(NameOld))
	if err != nil {
		return err
	}
	defer shelf.Close()
	if err := unix.Unlinkat(int(shelf.Fd()), k.ID+".json", 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return shelf.Sync()
}
