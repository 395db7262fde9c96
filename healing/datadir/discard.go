package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Discard removes directories of the staging area, each named by path, device
// and inode as the journal has them. One that is gone already is fine. It
// refuses a path that is not one of the area's, a directory that is another
// than the one named, the live datadir by whatever name, one that a process
// has open as its datadir, and one with something mounted inside; it never
// follows a link.
func (p Place) Discard(refs ...Ref) error {
	for _, ref := range refs {
		if err := p.discard(ref); err != nil {
			return fmt.Errorf("discard %s: %w", ref.Path, err)
		}
	}
	return nil
}

func (p Place) discard(ref Ref) error {
	name, inside := strings.CutPrefix(ref.Path, p.Root+"/")
	if !inside || !known(name) {
		return errors.New("it is not a directory of the staging area")
	}
	if ref.Ino == 0 {
		return errors.New("it is not identified by its inode")
	}
	if live, err := RefOf(p.Live.Path); err == nil && live.Same(ref) {
		return errors.New("it is the live datadir")
	}
	return removeTree(ref)
}

// discardShelf removes the entries elsewhere that were kept with the old
// datadir of rebuild id. The file system of one may have another number since
// it was labelled; its inode may not. Who owns the datadir can write any label,
// and so it must be a directory of the same owner's.
func discardShelf(shelf Ref, id string, owner uint32) error {
	if want := filepath.Join(NameOutside, NameOld, id); !idPattern.MatchString(id) || !strings.HasSuffix(shelf.Path, "/"+want) {
		return errors.New("it is not a shelf of this rebuild")
	}
	now, err := RefOf(shelf.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if now.Ino != shelf.Ino {
		return fmt.Errorf("%w: %s", ErrOther, now)
	}
	dir, err := now.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := statFile(dir)
	if err != nil {
		return err
	}
	if st.Uid != owner {
		return fmt.Errorf("it belongs to user %d, not to the datadir's owner %d", st.Uid, owner)
	}
	return removeTree(now)
}

// removeTree removes a directory that nothing uses, with everything in it.
func removeTree(ref Ref) error {
	parent, err := openDir(filepath.Dir(ref.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	dir, err := ref.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := idle(dir); err != nil {
		return err
	}
	if err := empty(dir, ref.Dev); err != nil {
		return err
	}
	if now, err := refAt(parent, filepath.Base(ref.Path)); err != nil || !now.Same(ref) {
		return errors.Join(ErrOther, err)
	}
	if err := unix.Unlinkat(int(parent.Fd()), filepath.Base(ref.Path), unix.AT_REMOVEDIR); err != nil {
		return err
	}
	return parent.Sync()
}

// idle fails where a process holds the system tablespace of dir, or a file
// system is mounted inside.
func idle(dir *os.File) error {
	points, err := mounts()
	if err != nil {
		return err
	}
	if self, below := mountedAt(points, dir.Name()); self || len(below) > 0 {
		return errors.New("a file system is mounted in it")
	}
	pid, held, err := holder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if held {
		return &InUseError{Datadir: dir.Name(), PID: pid}
	}
	return nil
}

// empty removes what is in dir, staying on device dev.
func empty(dir *os.File, dev uint64) error {
	entries, err := names(dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		if err := remove(dir, name, dev); err != nil {
			return err
		}
	}
	return nil
}

// remove removes one entry of dir, with everything in it.
func remove(dir *os.File, name string, dev uint64) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return &os.PathError{Op: "remove", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return emptyAndRemove(dir, name, dev)
}

func emptyAndRemove(parent *os.File, name string, dev uint64) error {
	dir, err := openDirAt(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := statFile(dir)
	if err != nil {
		return err
	}
	if uint64(st.Dev) != dev {
		return fmt.Errorf("%s is on another file system", dir.Name())
	}
	if err := empty(dir, dev); err != nil {
		return err
	}
	if err := unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "remove directory", Path: dir.Name(), Err: err}
	}
	return nil
}
