package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// area is an Outside with its opened directories. It is two levels deep, so
// that a server that reads one level of its directories sees nothing.
type area struct {
	o          *Outside
	dir        *os.File // the directory itself
	top        *os.File // .resilver
	fresh, old *os.File // new and old in it; for new see openFresh
	shelf      *os.File // old/<rebuild id>, nil where none was asked for, or there is none
}

func (a *area) close() {
	for _, f := range []*os.File{a.dir, a.top, a.fresh, a.old, a.shelf} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// open opens the directory and its area, which it makes where it is missing;
// the shelf of a rebuild with it, where id is not empty.
func (o *Outside) open(id string) (*area, error) {
	a, err := o.openArea()
	if err != nil || id == "" {
		return a, err
	}
	if !idPattern.MatchString(id) {
		err = fmt.Errorf("%q is not a rebuild id", id)
	} else {
		a.shelf, err = o.ensureAt(a.old, id)
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (o *Outside) openArea() (*area, error) {
	a := &area{o: o}
	var err error
	if a.dir, err = o.Dir.open(); err == nil {
		if a.top, err = o.ensureAt(a.dir, NameOutside); err == nil {
			if a.old, err = o.ensureAt(a.top, NameOld); err == nil {
				a.fresh, err = o.openFresh(a)
			}
		}
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// openFresh opens what the new entries come from. That of a whole datadir is
// the copy itself, and that of a quarantined one a shelf of it: others make and
// remove these, and nil is one that is not there.
func (o *Outside) openFresh(a *area) (*os.File, error) {
	parent, name := a.top, NameNew
	switch {
	case o.From != "":
		parent, name = a.old, o.From
	case !o.Whole:
		return o.ensureAt(a.top, NameNew)
	}
	dir, err := openDirAt(parent, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return dir, err
}

// ensureAt opens the directory name in parent, and makes it where it is
// missing: for the server's user alone.
func (o *Outside) ensureAt(parent *os.File, name string) (*os.File, error) {
	err := unix.Mkdirat(int(parent.Fd()), name, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "make directory", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	dir, err := openDirAt(parent, name)
	if err != nil {
		return nil, err
	}
	st, err := statFile(dir)
	if err == nil {
		err = o.trusted(dir.Name(), &st)
	}
	if err == nil {
		err = o.owning().give(dir)
	}
	if err == nil && st.Mode&0o7777 != 0o700 {
		err = dir.Chmod(0o700)
	}
	if err == nil {
		err = errors.Join(dir.Sync(), parent.Sync())
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

func (o *Outside) owning() owning { return owning{uid: o.UID, gid: o.GID, label: o.Label} }

// Prepare makes the area and proves that what lies in the directory can be
// moved to it and back. What is in new/, which no journal knows, is set aside
// to old/found-<id>, because a state directory may have been lost in the
// middle of a swap; for a whole datadir its Place does that.
func (o *Outside) Prepare(id string) error {
	if err := o.with("", func(a *area) error { return errors.Join(a.setAside("found-"+id), proveMove(a.dir, a.old)) }); err != nil {
		return fmt.Errorf("prepare %s: %w", o.Dir.Path, err)
	}
	return nil
}

func (a *area) setAside(name string) error {
	if a.o.Whole || a.o.From != "" {
		return nil
	}
	left, err := names(a.fresh)
	if err != nil || len(left) == 0 {
		return err
	}
	if !idPattern.MatchString(name) {
		return fmt.Errorf("%q is not a rebuild id", name)
	}
	if err := unix.Renameat2(int(a.top.Fd()), NameNew, int(a.old.Fd()), name, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("set %s aside: %w", a.fresh.Name(), err)
	}
	_ = a.fresh.Close()
	if a.fresh, err = a.o.ensureAt(a.top, NameNew); err != nil {
		return err
	}
	return a.old.Sync()
}

// Clear removes what is in the area's new/ and, where they are empty, the shelf
// of a rebuild and the one that its entries came from. There is no copy that is still wanted in new/ but between
// `rehearse` and the end of `swap`. The new/ of a whole datadir is the copy,
// which is discarded by its own name.
func (o *Outside) Clear(id string) error {
	dir, err := o.Dir.open()
	if err != nil {
		return fmt.Errorf("clear the area in %s: %w", o.Dir.Path, err)
	}
	_, err = statAt(dir, NameOutside)
	_ = dir.Close()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever put there
	}
	a, err := o.open("")
	if err != nil {
		return fmt.Errorf("clear the area in %s: %w", o.Dir.Path, err)
	}
	defer a.close()
	if !o.Whole && o.From == "" {
		if err := errors.Join(empty(a.fresh, o.Dir.Dev), a.fresh.Sync()); err != nil {
			return fmt.Errorf("clear the area in %s: %w", o.Dir.Path, err)
		}
	}
	for _, shelf := range []string{id, o.From} {
		if shelf == "" {
			continue
		}
		err = unix.Unlinkat(int(a.old.Fd()), shelf, unix.AT_REMOVEDIR)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("clear the area in %s: %w", o.Dir.Path, err)
		}
	}
	return a.old.Sync()
}

// Shelf is where the old entries of a rebuild are kept.
func (o *Outside) Shelf(id string) (Ref, error) {
	a, err := o.open(id)
	if err != nil {
		return Ref{}, fmt.Errorf("find the old entries of %s: %w", o.Dir.Path, err)
	}
	defer a.close()
	return refAt(a.old, id)
}
