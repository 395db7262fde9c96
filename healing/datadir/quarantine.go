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
}

// Quarantine moves the old datadir, which the exchange left at new, to
// old/<id>. It is idempotent, told by inode, and returns the new reference.
func (p Place) Quarantine(id string, old Ref) (Ref, error) {
	ref, err := p.quarantine(id, old, time.Now(), func(string) {})
	if err != nil {
		return Ref{}, fmt.Errorf("quarantine the old datadir: %w", err)
	}
	return ref, nil
}

func (p Place) quarantine(id string, old Ref, now time.Time, at func(point string)) (Ref, error) {
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
	if err := writeLabel(shelf, Kept{ID: id, Ref: want, Since: now.UTC().Truncate(time.Millisecond)}); err != nil {
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
	Now     time.Time
	Keep    time.Duration // older ones go
	MinFree uint64        // bytes wanted free on the file system; 0: do not look
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
		if !old && l.MinFree > 0 {
			free, _, err := Free(p.Root)
			if err != nil {
				return removed, fmt.Errorf("prune the quarantine: %w", err)
			}
			old = free < l.MinFree
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

// prune removes the directory first: a label without one is harmless.
func (p Place) prune(k Kept) error {
	if err := p.Discard(k.Ref); err != nil {
		return err
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
