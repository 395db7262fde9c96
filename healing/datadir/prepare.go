package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Prepare makes the area with its directories rehearse and old where they are
// missing, owned like the datadir, and returns the area's reference.
func (p Place) Prepare() (Ref, error) {
	if err := p.checkRoot(); err != nil {
		return Ref{}, fmt.Errorf("prepare the staging area: %w", err)
	}
	root, inner := uint32(0o755), uint32(0o750)
	if p.Inside() {
		root, inner = 0o700, 0o700 // as an Outside has its area
	}
	ref, err := p.ensure(p.Root, root)
	if err != nil {
		return Ref{}, fmt.Errorf("prepare the staging area: %w", err)
	}
	for _, name := range []string{NameRehearse, NameOld} {
		if _, err := p.ensure(p.Path(name), inner); err != nil {
			return Ref{}, fmt.Errorf("prepare the staging area: %w", err)
		}
	}
	return ref, nil
}

// ensure makes a directory, or mends owner and mode of one whose making was
// interrupted. An area that an administrator made elsewhere stays as it is.
func (p Place) ensure(path string, mode uint32) (Ref, error) {
	ref, err := p.make(path, mode)
	if !errors.Is(err, fs.ErrExist) {
		return ref, err
	}
	dir, err := openDir(path)
	if err != nil {
		return Ref{}, err
	}
	defer dir.Close()
	if path != p.Root || p.Root == p.Live.Path+".resilver" || p.Inside() {
		if err := p.dress(dir, mode); err != nil {
			return Ref{}, err
		}
	}
	return RefOf(path)
}

// dress gives a directory the datadir's owner and label, and its mode.
func (p Place) dress(dir *os.File, mode uint32) error {
	own := owning{uid: p.Live.UID, gid: p.Live.GID, label: p.Live.Label}
	if err := own.give(dir); err != nil {
		return err
	}
	st, err := statFile(dir)
	if err != nil || st.Mode&0o7777 == mode {
		return err
	}
	return dir.Chmod(os.FileMode(mode))
}

// make makes a directory, closed to others until its owner is right.
func (p Place) make(path string, mode uint32) (Ref, error) {
	parent, err := openDir(filepath.Dir(path))
	if err != nil {
		return Ref{}, err
	}
	defer parent.Close()
	name := filepath.Base(path)
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil {
		return Ref{}, &os.PathError{Op: "make directory", Path: path, Err: err}
	}
	dir, err := openDirAt(parent, name)
	if err != nil {
		return Ref{}, err
	}
	defer dir.Close()
	if err := p.dress(dir, mode); err != nil {
		return Ref{}, err
	}
	if err := errors.Join(dir.Sync(), parent.Sync()); err != nil {
		return Ref{}, err
	}
	return refAt(parent, name)
}

// Find returns the reference of the directory name of the area; the error is
// fs.ErrNotExist where there is none.
func (p Place) Find(name string) (Ref, error) {
	if !known(name) {
		return Ref{}, fmt.Errorf("find a staging directory: %q is not one", name)
	}
	return RefOf(p.Path(name))
}

// Adopt returns the reference of a directory that the journal says this
// rebuild caused to be made, but whose inode it does not know: CLONE makes new
// itself, and a crash can come between the making and the journal. It refuses
// unless the live datadir still is the one that the journal recorded before
// anything was made: then what is in the area cannot be the live data.
func (p Place) Adopt(name string, live Ref) (Ref, error) {
	now, err := RefOf(p.Live.Path)
	if err != nil {
		return Ref{}, fmt.Errorf("adopt a staging directory: %w", err)
	}
	if !now.Same(live) || live.Path != p.Live.Path {
		return Ref{}, fmt.Errorf("adopt a staging directory: %w: the live datadir was %s, it is %s", ErrOther, live, now)
	}
	ref, err := p.Find(name)
	if err != nil {
		return Ref{}, fmt.Errorf("adopt a staging directory: %w", err)
	}
	return ref, nil
}
