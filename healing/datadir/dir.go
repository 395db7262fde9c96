package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const labelAttribute = "security.selinux"

// Dir is a datadir as it was found.
type Dir struct {
	Ref            // Path has no symbolic link in it
	UID, GID       uint32
	Mode           uint32   // permission bits
	Label          string   // SELinux label, empty where there is none
	MountPoint     bool     // a file system is mounted at it
	Mounts         []string // file systems mounted inside it
	LinkedDirs     []string // entries that are symbolic links to directories
	ParentWritable bool     // by this process
}

// Inspect looks at a datadir. It refuses a path that is empty, relative, the
// root directory or not a directory, and a directory that does not hold the
// mysql schema (mysql.ibd or mysql/). The system tablespace may lie elsewhere.
func Inspect(datadir string) (Dir, error) {
	d, err := inspect(datadir)
	if err != nil {
		return Dir{}, fmt.Errorf("inspect datadir: %w", err)
	}
	return d, nil
}

func inspect(given string) (Dir, error) {
	if given != "" {
		given = trimSlash(given)
	}
	if err := checkPath(given); err != nil {
		return Dir{}, err
	}
	path, err := filepath.EvalSymlinks(given)
	if err != nil {
		return Dir{}, err
	}
	if err := checkPath(path); err != nil {
		return Dir{}, err
	}
	dir, err := openDir(path)
	if err != nil {
		return Dir{}, err
	}
	defer dir.Close()
	st, err := statFile(dir)
	if err != nil {
		return Dir{}, err
	}
	d := Dir{
		Ref: Ref{Path: path, Dev: uint64(st.Dev), Ino: st.Ino},
		UID: st.Uid, GID: st.Gid, Mode: st.Mode & 0o7777,
	}
	if err := looksLikeDatadir(dir); err != nil {
		return Dir{}, err
	}
	if d.Label, err = labelOf(dir); err != nil {
		return Dir{}, err
	}
	if d.LinkedDirs, err = linkedDirs(dir); err != nil {
		return Dir{}, err
	}
	points, err := mounts()
	if err != nil {
		return Dir{}, err
	}
	d.MountPoint, d.Mounts = mountedAt(points, path)
	d.ParentWritable = unix.Faccessat(unix.AT_FDCWD, filepath.Dir(path), unix.W_OK, unix.AT_EACCESS) == nil
	return d, nil
}

// trimSlash removes the slash that the server's own @@datadir ends with.
func trimSlash(path string) string {
	for len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

func looksLikeDatadir(dir *os.File) error {
	if st, err := statAt(dir, "mysql.ibd"); err == nil && isRegular(&st) {
		return nil
	}
	if st, err := statAt(dir, "mysql"); err == nil && isDir(&st) {
		return nil
	}
	return fmt.Errorf("%s does not look like a datadir: neither mysql.ibd nor mysql/ in it", dir.Name())
}

// linkedDirs lists the symbolic links at the top of dir that lead to
// directories. Links to anything else, as some images keep for the socket,
// carry no data.
func linkedDirs(dir *os.File) ([]string, error) {
	names, err := names(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		st, err := statAt(dir, name)
		if err != nil || !isLink(&st) {
			continue // a live datadir: entries come and go
		}
		var target unix.Stat_t
		if unix.Fstatat(int(dir.Fd()), name, &target, 0) == nil && isDir(&target) {
			out = append(out, name)
		}
	}
	return out, nil
}

// names lists the entries of dir, always from its beginning.
func names(dir *os.File) ([]string, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	return dir.Readdirnames(-1)
}

// labelOf returns the SELinux label of f, empty where there is none.
func labelOf(f *os.File) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(procPath(f), labelAttribute, buf)
	switch {
	case err == nil:
		return string(bytes.TrimRight(buf[:n], "\x00")), nil
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return "", nil
	}
	return "", &os.PathError{Op: "read label", Path: f.Name(), Err: err}
}

// procPath names an open file for the system calls that take no descriptor,
// or not one opened with O_PATH.
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
