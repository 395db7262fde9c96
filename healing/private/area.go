package private

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenArea opens a directory that mysqld's user may replace, such as the
// staging area where that user owns what it lies in: a path with a link
// anywhere in it is refused, because what is made, given away and removed below
// it would be somebody else's. The error is fs.ErrNotExist where there is none.
func OpenArea(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if err := notElsewhere(root, filepath.Clean(path)); err != nil {
		_ = root.Close()
		return nil, err
	}
	return root, nil
}

// notElsewhere asks the kernel where the opened directory is.
func notElsewhere(root *os.Root, path string) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	real, err := os.Readlink(procPath(dir))
	if err == nil && real != path {
		err = fmt.Errorf("%s leads to %s: a link is in the way", path, real)
	}
	return err
}

// MakeDir makes a directory of mysqld's user. What that user puts in its place
// meanwhile is not given away.
func MakeDir(root *os.Root, name string, mode fs.FileMode, prog Program) error {
	if err := root.Mkdir(name, 0o700); err != nil {
		return err
	}
	dir, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != prog.UID && owner != uint32(os.Geteuid()) {
		return fmt.Errorf("%s belongs to uid %d", filepath.Join(root.Name(), name), owner)
	}
	return errors.Join(dir.Chown(int(prog.UID), int(prog.GID)), dir.Chmod(mode))
}

// openRegular opens a file that mysqld's user may have put there: what is no
// file, as a pipe that nobody writes to, is refused and never waited for, and
// so is one that has a name elsewhere, which may be one that the user cannot
// read.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: filepath.Join(root.Name(), name), Err: errors.New("it is not a regular file")}
	}
	if err == nil && info.Sys().(*syscall.Stat_t).Nlink != 1 {
		err = &fs.PathError{Op: "open", Path: filepath.Join(root.Name(), name), Err: errors.New("it has a second name")}
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// readSmall reads such a file, of at most most bytes.
func readSmall(root *os.Root, name string, most int64) ([]byte, error) {
	f, _, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, most))
}
