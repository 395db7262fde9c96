package datadir

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// owning is what every file of a datadir must have alike.
type owning struct {
	uid, gid uint32
	label    string
}

// give changes owner, group and label of an open file, which may be opened
// with O_PATH, where they differ.
func (o owning) give(f *os.File) error {
	st, err := statFile(f)
	if err != nil {
		return err
	}
	if st.Uid != o.uid || st.Gid != o.gid {
		if err := unix.Fchownat(int(f.Fd()), "", int(o.uid), int(o.gid), unix.AT_EMPTY_PATH); err != nil {
			return &os.PathError{Op: "change owner", Path: f.Name(), Err: err}
		}
	}
	if o.label == "" {
		return nil
	}
	if has, err := labelOf(f); err != nil || has == o.label {
		return err
	}
	if err := unix.Setxattr(procPath(f), labelAttribute, []byte(o.label), 0); err != nil {
		return &os.PathError{Op: "set label", Path: f.Name(), Err: err}
	}
	return nil
}

// Own makes a staged tree look as the live datadir does: owner, group and
// SELinux label everywhere, the top directory included, and the top
// directory's mode. Then it copies the preserved files from the live datadir:
// preserve holds names or patterns (path.Match) of files at its top, such as
// auto.cnf, mysqld-auto.cnf or *.pem; each keeps its own owner and mode. A
// name that matches nothing is fine.
//
// It refuses a staged tree with symbolic links, hard links, special files or
// another file system in it, and a preserved name that is not a small regular
// file. It ends with ctx, looked at before each entry, and fails with its cause;
// what was given until then stays so, and a second call does the rest.
func Own(ctx context.Context, staged Ref, live Dir, preserve []string) error {
	if err := own(ctx, staged, live, preserve); err != nil {
		return fmt.Errorf("own the staged copy: %w", err)
	}
	return nil
}

func own(ctx context.Context, staged Ref, live Dir, preserve []string) error {
	if staged.Same(live.Ref) {
		return errors.New("it is the live datadir")
	}
	from, err := live.open()
	if err != nil {
		return err
	}
	defer from.Close()
	dir, err := staged.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	o := owning{uid: live.UID, gid: live.GID, label: live.Label}
	if err := o.tree(ctx, dir, staged.Dev); err != nil {
		return err
	}
	if err := preserveFiles(from, dir, preserve, live.Label); err != nil {
		return err
	}
	if err := o.give(dir); err != nil {
		return err
	}
	if err := unix.Fchmod(int(dir.Fd()), live.Mode&0o7777); err != nil {
		return err
	}
	return dir.Sync()
}

// tree gives everything in dir, but not dir itself. Each file is opened
// before it is looked at, so that it cannot be exchanged in between.
func (o owning) tree(ctx context.Context, dir *os.File, dev uint64) error {
	entries, err := names(dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := o.entry(ctx, dir, name, dev); err != nil {
			return err
		}
	}
	return nil
}

func (o owning) entry(ctx context.Context, dir *os.File, name string, dev uint64) error {
	f, err := openAt(dir, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := statFile(f)
	if err != nil {
		return err
	}
	switch {
	case uint64(st.Dev) != dev:
		return fmt.Errorf("%s is on another file system", f.Name())
	case isLink(&st):
		return fmt.Errorf("%s is a symbolic link", f.Name())
	case isRegular(&st) && st.Nlink != 1:
		return fmt.Errorf("%s has %d names: hard links do not belong in a copy", f.Name(), st.Nlink)
	case !isRegular(&st) && !isDir(&st):
		return fmt.Errorf("%s is neither a file nor a directory", f.Name())
	}
	if err := o.give(f); err != nil || !isDir(&st) {
		return err
	}
	sub, err := openDirAt(f, ".")
	if err != nil {
		return err
	}
	defer sub.Close()
	return o.tree(ctx, sub, dev)
}
