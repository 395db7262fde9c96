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
	systemLast(o.Old)
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
		return a.alone(o.New)
	})
	if err != nil {
		return fmt.Errorf("move the old entries out of %s: %w", o.Dir.Path, err)
	}
	return nil
}

// MoveIn moves the new entries to where the server looks for them. Nothing
// else of the server's may be there.
func (o *Outside) MoveIn() error { return o.moveIn(func(string) {}) }

func (o *Outside) moveIn(at func(point string)) error {
	err := o.with("", func(a *area) error {
		if a.fresh == nil {
			return errors.New("the copy is gone")
		}
		if err := shift(a.fresh, a.dir, o.New, at); err != nil {
			return err
		}
		return a.alone(o.New)
	})
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
		made, err := a.toEvict()
		if err != nil {
			return err
		}
		if a.fresh == nil {
			return errors.New("there is no place for them")
		}
		for _, e := range made {
			err := move(a.dir, a.fresh, e.Name)
			if errors.Is(err, unix.EEXIST) && o.From == "" {
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
// that no list knows. What of the server's has appeared while the old ones were
// away is set aside to old/found-<id>: a server that was started by hand leaves
// some, and they must not lie in the way, nor beside the old ones.
func (o *Outside) Restore(id string) error { return o.restore(id, func(string) {}) }

func (o *Outside) restore(id string, at func(point string)) error {
	if !o.Listed {
		return nil
	}
	err := o.with(id, func(a *area) error {
		away, err := among(a.shelf, o.Old)
		if err != nil || len(away) == 0 {
			return err
		}
		if err := a.strangersAside("found-" + id); err != nil {
			return err
		}
		for _, e := range slices.Backward(away) {
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

func (a *area) strangersAside(name string) error {
	left, err := a.strangers(a.o.Old)
	if err != nil || len(left) == 0 {
		return err
	}
	for n, base := 2, name; ; n++ { // one that is there may hold the very names
		_, err := statAt(a.old, name)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
	found, err := a.o.ensureAt(a.old, name)
	if err != nil {
		return err
	}
	defer found.Close()
	for _, e := range left {
		if err := move(a.dir, found, e.Name); err != nil {
			return err
		}
	}
	return errors.Join(found.Sync(), a.dir.Sync())
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

// alone fails where the directory has an entry of the server's that is not
// among known.
func (a *area) alone(known []Entry) error {
	left, err := a.strangers(known)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%s has appeared in it meanwhile", left[0].Name)
	}
	return err
}

// toEvict are the server's entries that are not old, and those of the copy's
// tablespaces, whose names may be new. Those of the copy come last: as long as
// one of them is there, not everything that a new server has made is gone.
func (a *area) toEvict() ([]Entry, error) {
	found, err := a.strangers(a.o.Old)
	if err != nil {
		return nil, err
	}
	copied, err := among(a.dir, a.o.New)
	if err != nil {
		return nil, err
	}
	for _, e := range copied {
		if !slices.Contains(found, e) {
			found = append(found, e)
		}
	}
	systemLast(found)
	slices.SortStableFunc(found, func(x, y Entry) int {
		return order(slices.Contains(a.o.New, x), slices.Contains(a.o.New, y))
	})
	return found, nil
}

// systemLast puts the system tablespace last: a server locks it before it
// touches anything else, and so must meet it, with its lock, as long as
// anything of the same data is there.
func systemLast(entries []Entry) {
	slices.SortStableFunc(entries, func(x, y Entry) int { return order(x.Name == SystemTablespace, y.Name == SystemTablespace) })
}

// systemFirst puts it first, for the way in.
func systemFirst(entries []Entry) {
	systemLast(entries)
	slices.Reverse(entries)
}

// order sorts what is not so before what is.
func order(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
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

// among are those of the entries that are in dir.
func among(dir *os.File, entries []Entry) ([]Entry, error) {
	var out []Entry
	for _, e := range entries {
		there, err := hasEntry(dir, e)
		if err != nil {
			return nil, err
		}
		if there {
			out = append(out, e)
		}
	}
	return out, nil
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
