package datadir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Place takes what belongs into the directory out of a flat copy and puts it
// into the area's new/, owned like the server's entries there are: by a rename
// on the same file system, else copied; then it is synced. On another file system it
// leaves keep(size of that file system) bytes free. An earlier Place must not
// have left anything. Of a whole datadir everything that is left in the copy is
// noted, so that it comes after all others.
func (o *Outside) Place(flat Ref, keep func(total int64) int64) error {
	if len(o.Own) == 0 && !o.Whole {
		return nil
	}
	err := o.with("", func(a *area) error { return a.take(flat, o.Own, keep) })
	if err != nil {
		return fmt.Errorf("place the copy's entries for %s: %w", o.Dir.Path, err)
	}
	return nil
}

func (a *area) take(flat Ref, own []string, keep func(total int64) int64) error {
	from, err := flat.open()
	if err != nil {
		return err
	}
	defer from.Close()
	if !a.o.Whole {
		if left, err := a.left(own); err != nil || len(left) > 0 {
			return errors.Join(err, fmt.Errorf("%d entries are in %s already", len(left), a.fresh.Name()))
		}
	}
	wanted := Outside{Dir: flat, Own: own, Whole: a.o.Whole}
	entries, err := wanted.owned(from)
	if err != nil {
		return err
	}
	if flat.Dev != a.o.Dir.Dev {
		if err := a.room(from, entries, keep); err != nil {
			return err
		}
	}
	if a.o.Whole { // it is in new/ already
		a.o.New = entries
		systemFirst(a.o.New)
		return nil
	}
	placed := a.o.New
	for _, e := range entries {
		if err := carry(from, a.fresh, e.Name); err != nil {
			return err
		}
		if err := a.o.owning().entry(context.Background(), a.fresh, e.Name, a.o.Dir.Dev); err != nil {
			return err
		}
		st, err := statAt(a.fresh, e.Name)
		if err != nil {
			return err
		}
		placed = append(placed, Entry{Name: e.Name, Ino: st.Ino})
	}
	a.o.New = placed
	systemFirst(a.o.New)
	if err := unix.Syncfs(int(a.fresh.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: a.fresh.Name(), Err: err}
	}
	return errors.Join(a.fresh.Sync(), from.Sync())
}

// left are the names in the area's new/ but for the copy's that were put there
// for another reason than own.
func (a *area) left(own []string) ([]string, error) {
	match, err := (&Outside{Own: own}).matcher()
	if err != nil {
		return nil, err
	}
	all, err := names(a.fresh)
	return slices.DeleteFunc(all, func(name string) bool {
		placed := slices.ContainsFunc(a.o.New, func(e Entry) bool { return e.Name == name })
		return placed && !match(name) && !match(name+"/")
	}), err
}

// room says whether the entries can be copied to the directory's file system.
func (a *area) room(from *os.File, entries []Entry, keep func(total int64) int64) error {
	var need int64
	for _, e := range entries {
		size, err := sizeAt(from, e.Name)
		if err != nil {
			return err
		}
		need += size
	}
	free, total, err := Free(a.o.Dir.Path)
	if err != nil {
		return err
	}
	if need += keep(int64(total)); int64(free) < need {
		return fmt.Errorf("its file system has %d bytes free, %d are needed", free, need)
	}
	return nil
}

// OwnBytes is the size of the server's entries in the directory that match.
func (o *Outside) OwnBytes() (int64, error) {
	dir, err := o.Dir.open()
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	entries, err := o.owned(dir)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, e := range entries {
		size, err := sizeAt(dir, e.Name)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}

// sizeAt is the size in bytes of an entry with everything in it.
func sizeAt(dir *os.File, name string) (int64, error) {
	st, err := statAt(dir, name)
	if err != nil || !isDir(&st) {
		return st.Size, err
	}
	sub, err := openDirAt(dir, name)
	if err != nil {
		return 0, err
	}
	defer sub.Close()
	entries, err := names(sub)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, e := range entries {
		size, err := sizeAt(sub, e)
		if err != nil && !errors.Is(err, unix.ENOENT) { // a live server's files come and go
			return 0, err
		}
		sum += size
	}
	return sum, nil
}

// carry renames an entry, or copies it to another file system.
func carry(from, to *os.File, name string) error {
	err := move(from, to, name)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	st, err := statAt(from, name)
	if err != nil {
		return err
	}
	if err := copyEntry(from, to, name); err != nil {
		return err
	}
	return remove(from, name, uint64(st.Dev))
}

// copyEntry copies a file or directory; nothing of it is synced yet.
func copyEntry(from, to *os.File, name string) error {
	in, err := openAt(from, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := statFile(in)
	if err != nil {
		return err
	}
	switch {
	case isDir(&st):
		return copyDir(in, to, name, st.Mode&0o7777)
	case isRegular(&st) && st.Nlink != 1: // it may be one that its owner here cannot read
		return fmt.Errorf("%s has %d names: hard links do not belong in a copy", in.Name(), st.Nlink)
	case isRegular(&st):
		return copyFile(in, to, name, st.Mode&0o777) // a program that runs as its owner would be ours for a moment
	}
	return fmt.Errorf("%s is neither a file nor a directory", in.Name())
}

func copyDir(in, to *os.File, name string, mode uint32) error {
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return &os.PathError{Op: "make directory", Path: filepath.Join(to.Name(), name), Err: err}
	}
	out, err := openDirAt(to, name)
	if err != nil {
		return err
	}
	defer out.Close()
	entries, err := names(in)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyEntry(in, out, e); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(int(out.Fd()), mode); err != nil {
		return &os.PathError{Op: "change mode", Path: out.Name(), Err: err}
	}
	return nil
}

func copyFile(in, to *os.File, name string, mode uint32) error {
	out, err := openAt(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copy %s to %s: %w", in.Name(), out.Name(), err)
	}
	if err := unix.Fchmod(int(out.Fd()), mode); err != nil {
		return &os.PathError{Op: "change mode", Path: out.Name(), Err: err}
	}
	return nil
}

// EditFile replaces a small file at the top of a copy with what edit makes of
// it; it stays its owner's. A file that is not there stays so.
func EditFile(flat Ref, name string, edit func([]byte) []byte) error {
	dir, err := flat.open()
	if err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	defer dir.Close()
	f, st, err := openRegular(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	defer f.Close()
	data, err := readLimited(f)
	if err == nil {
		var label string
		edited := edit(data)
		if bytes.Equal(edited, data) {
			return nil
		}
		if label, err = labelOf(f); err == nil {
			err = replaceFileAs(dir, name, edited, st.Mode&0o777, &owning{uid: st.Uid, gid: st.Gid, label: label})
		}
	}
	if err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	return nil
}
