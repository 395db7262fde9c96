package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// List notes the server's entries as they are: the old ones, once the server
// has ended and before anything is moved. Listed once, they stay.
func (o *Outside) List() error {
	if o.Listed {
		return nil
	}
	dir, err := o.Dir.open()
	if err != nil {
		return fmt.Errorf("list the server's entries in %s: %w", o.Dir.Path, err)
	}
	defer dir.Close()
	if o.Old, err = o.owned(dir); err != nil {
		return fmt.Errorf("list the server's entries in %s: %w", o.Dir.Path, err)
	}
	o.Listed = true
	return nil
}

// MoveOut moves the old entries to the shelf of the rebuild, from wherever an
// earlier try left them. Then nothing of the server's is in the directory but
// what is new.
func (o *Outside) MoveOut(id string) error { return o.moveOut(id, func(string) {}) }

func (o *Outside) moveOut(id string, at func(point string)) error {
	err := o.with(id, func(a *area) error {
		if !o.Listed {
			return errors.New("the old entries are not listed")
		}
		if err := shift(a.dir, a.shelf, o.Old, at); err != nil {
			return err
		}
		left, err := a.strangers(o.New)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%s has appeared in it meanwhile", left[0].Name)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("move the old entries out of %s: %w", o.Dir.Path, err)
	}
	return nil
}

// MoveIn moves the new entries to where the server looks for them.
func (o *Outside) MoveIn() error { return o.moveIn(func(string) {}) }

func (o *Outside) moveIn(at func(point string)) error {
	err := o.with("", func(a *area) error { return shift(a.fresh, a.dir, o.New, at) })
	if err != nil {
		return fmt.Errorf("move the new entries into %s: %w", o.Dir.Path, err)
	}
	return nil
}

// Evict moves everything of the server's that is not old to the area's new/,
// to be discarded: what MoveIn brought, and what a new server has made since.
// It is for a directory whose new server has ended, and whose old one has not
// run since List.
func (o *Outside) Evict() error { return o.evict(func(string) {}) }

func (o *Outside) evict(at func(point string)) error {
	err := o.with("", func(a *area) error {
		if !o.Listed {
			return nil // nothing was moved yet
		}
		made, err := a.strangers(o.Old)
		if err != nil {
			return err
		}
		for _, e := range made {
			err := move(a.dir, a.fresh, e.Name)
			if errors.Is(err, unix.EEXIST) {
				// An earlier try was here before the server was started once more.
				if err = remove(a.fresh, e.Name, o.Dir.Dev); err == nil {
					err = move(a.dir, a.fresh, e.Name)
				}
			}
			if err != nil {
				return err
			}
			at("moved")
		}
		return errors.Join(a.fresh.Sync(), a.dir.Sync())
	})
	if err != nil {
		return fmt.Errorf("move the new entries out of %s: %w", o.Dir.Path, err)
	}
	return nil
}

// Restore moves back what MoveOut has moved. Where it has moved nothing, or
// all is back, nothing happens: the old server may run again and have entries
// that no list knows.
func (o *Outside) Restore(id string) error { return o.restore(id, func(string) {}) }

func (o *Outside) restore(id string, at func(point string)) error {
	if !o.Listed {
		return nil
	}
	err := o.with(id, func(a *area) error {
		for _, e := range o.Old {
			there, err := hasEntry(a.shelf, e)
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			if err := move(a.shelf, a.dir, e.Name); err != nil {
				return err
			}
			at("moved")
		}
		return errors.Join(a.dir.Sync(), a.shelf.Sync())
	})
	if err != nil {
		return fmt.Errorf("move the old entries back into %s: %w", o.Dir.Path, err)
	}
	return nil
}

func (o *Outside) with(id string, do func(*area) error) error {
	a, err := o.open(id)
	if err != nil {
		return err
	}
	defer a.close()
	return do(a)
}

// strangers are the server's entries in the directory that are not among known.
func (a *area) strangers(known []Entry) ([]Entry, error) {
	found, err := a.o.owned(a.dir)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(e Entry) bool { return slices.Contains(known, e) }), nil
}

// shift moves each entry from one directory to another, unless it is there.
func shift(from, to *os.File, entries []Entry, at func(point string)) error {
	at("checked")
	for _, e := range entries {
		if err := shiftOne(from, to, e); err != nil {
			return err
		}
		at("moved")
	}
	if err := to.Sync(); err != nil {
		return err
	}
	at("synced-one")
	return from.Sync()
}

func shiftOne(from, to *os.File, e Entry) error {
	if there, err := hasEntry(to, e); err != nil || there {
		return err
	}
	here, err := hasEntry(from, e)
	if err == nil && !here {
		err = fmt.Errorf("%w: %s with inode %d is neither in %s nor in %s", ErrOther, e.Name, e.Ino, from.Name(), to.Name())
	}
	if err != nil {
		return err
	}
	return move(from, to, e.Name)
}

// hasEntry says whether that very entry is in dir.
func hasEntry(dir *os.File, e Entry) (bool, error) {
	st, err := statAt(dir, e.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.Ino == e.Ino, err
}

// move renames an entry and replaces nothing.
func move(from, to *os.File, name string) error {
	if err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), name, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("move %s to %s: %w", filepath.Join(from.Name(), name), to.Name(), err)
	}
	return nil
}
