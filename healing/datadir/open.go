package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const openDirectory = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// checkPath wants an absolute, clean path below the root directory.
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("the path is empty")
	case !filepath.IsAbs(path):
		return fmt.Errorf("%q is not an absolute path", path)
	case strings.ContainsRune(path, 0):
		return errors.New("the path contains a zero byte")
	case filepath.Clean(path) == "/":
		return errors.New("the path is the root directory")
	case filepath.Clean(path) != path:
		return fmt.Errorf("%q is not a clean path", path)
	}
	return nil
}

// openDir opens a directory by its absolute path, one component after the
// other, following no symbolic link.
func openDir(path string) (*os.File, error) {
	if path != "/" {
		if err := checkPath(path); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/", Err: err}
	}
	walked := ""
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			break
		}
		walked += "/" + name
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		if err != nil {
			return nil, &os.PathError{Op: "open directory", Path: walked, Err: err}
		}
		fd = next
	}
	defer unix.Close(fd)
	final, err := unix.Openat(fd, ".", openDirectory, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open directory", Path: path, Err: err}
	}
	return os.NewFile(uintptr(final), path), nil
}

// openReal opens a directory for looking only: links in its path are followed,
// because an administrator may well have put the datadir behind one.
func openReal(path string) (*os.File, error) {
	path = trimSlash(path)
	if err := checkPath(path); err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	return openDir(path)
}

// openDirAt opens the directory name in dir, not following a link.
func openDirAt(dir *os.File, name string) (*os.File, error) {
	return openAt(dir, name, openDirectory, 0)
}

// openAt opens name, one component, in dir. Flags must include O_NOFOLLOW.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// statAt is lstat of name in dir.
func statAt(dir *os.File, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, &os.PathError{Op: "lstat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return st, nil
}

func statFile(f *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st, nil
}

func isDir(st *unix.Stat_t) bool     { return st.Mode&unix.S_IFMT == unix.S_IFDIR }
func isRegular(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }
func isLink(st *unix.Stat_t) bool    { return st.Mode&unix.S_IFMT == unix.S_IFLNK }

// Ref names one directory for good: where it is expected, and which it is.
type Ref struct {
	Path string `json:"path"`
	Dev  uint64 `json:"dev"`
	Ino  uint64 `json:"ino"`
}

// Same says that both are the same directory, wherever each is expected.
func (r Ref) Same(o Ref) bool { return r.Ino != 0 && r.Dev == o.Dev && r.Ino == o.Ino }

func (r Ref) String() string { return fmt.Sprintf("%s (device %d, inode %d)", r.Path, r.Dev, r.Ino) }

// RefOf returns the reference of the directory that is now at path. No
// component of path may be a symbolic link.
func RefOf(path string) (Ref, error) {
	if err := checkPath(path); err != nil {
		return Ref{}, err
	}
	parent, err := openDir(filepath.Dir(path))
	if err != nil {
		return Ref{}, err
	}
	defer parent.Close()
	return refAt(parent, filepath.Base(path))
}

// refAt returns the reference of the directory name in parent.
func refAt(parent *os.File, name string) (Ref, error) {
	st, err := statAt(parent, name)
	if err != nil {
		return Ref{}, err
	}
	path := filepath.Join(parent.Name(), name)
	if !isDir(&st) {
		return Ref{}, fmt.Errorf("%s is not a directory", path)
	}
	return Ref{Path: path, Dev: uint64(st.Dev), Ino: st.Ino}, nil
}

// open opens the directory r and fails when another one is at its path.
func (r Ref) open() (*os.File, error) {
	dir, err := openDir(r.Path)
	if err != nil {
		return nil, err
	}
	st, err := statFile(dir)
	if err == nil && (uint64(st.Dev) != r.Dev || st.Ino != r.Ino) {
		err = fmt.Errorf("%w: %s is wanted, device %d inode %d is there", ErrOther, r, st.Dev, st.Ino)
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// ErrOther means that a path holds another directory than the one referred to.
var ErrOther = errors.New("another directory is at the path")
