package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

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
	kept, orphans, err := p.labelled()
	if err != nil {
		return nil, err
	}
	if len(kept) > 0 {
		kept = kept[1:]
	}
	var removed []Kept
	var failed []error
	for _, k := range orphans {
		if err := p.prune(k); err != nil {
			failed = append(failed, fmt.Errorf("prune the quarantine: %w", err))
			continue
		}
		removed = append(removed, k)
	}
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
	old, err := openDir(p.Path(NameOld))
	if err != nil {
		return err
	}
	defer old.Close()
	// A full disk may have no room for the mark, and room is what is wanted.
	if err := markGoing(old, k); err != nil && !errors.Is(err, unix.ENOSPC) {
		return err
	}
	for _, shelf := range k.Outside {
		if err := discardShelf(shelf, k.ID, p.Live.UID); err != nil {
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
	if err := unix.Unlinkat(int(old.Fd()), k.ID+".json", 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return old.Sync()
}

// markGoing notes that an old datadir is not whole from now on, so that nobody
// goes back to it, and that what is left of it may go.
func markGoing(shelf *os.File, k Kept) error {
	k.Going, k.Served = true, nil
	return replaceLabel(shelf, k)
}
