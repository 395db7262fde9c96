package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// InUseError says that a process has a datadir open.
type InUseError struct {
	Datadir string
	PID     int // 0: another part of resilver, or a process that cannot be seen from here
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("datadir %s is in use", e.Datadir)
	}
	return fmt.Sprintf("datadir %s is in use by process %d", e.Datadir, e.PID)
}

// LockSystemTablespace takes the lock on ibdata1 that InnoDB takes
// (os_file_lock: a write lock on the whole file), so that a mysqld started by
// mistake does not boot: it says "Unable to lock ./ibdata1" and tries again
// for 100 seconds, so it must be dealt with before unlock. The lock stays with
// the file when its directory is exchanged or renamed, and ends with unlock or
// with this process. A datadir in use gives an *InUseError.
//
// It belongs to the open file, not to the process as mysqld's own does, so
// that looking at the file elsewhere in this process does not lose it.
func LockSystemTablespace(datadir string) (unlock func() error, err error) {
	dir, err := openDir(trimSlash(datadir))
	if err != nil {
		return nil, fmt.Errorf("lock system tablespace: %w", err)
	}
	defer dir.Close()
	f, err := openAt(dir, SystemTablespace, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("lock system tablespace: %w", err)
	}
	st, err := statFile(f)
	if err == nil && !isRegular(&st) {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		pid, _, _ := holder(dir)
		err = &InUseError{Datadir: dir.Name(), PID: pid}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock system tablespace: %w", err)
	}
	return f.Close, nil
}

// holder tells which process holds the lock on the system tablespace of dir,
// by F_GETLK, checked against /proc where it can be read; one that cannot be
// named, such as this process itself, has pid 0. The error is fs.ErrNotExist
// where there is no ibdata1. It asks again where the lock and /proc do not agree: the process may
// have ended in between.
func holder(dir *os.File) (pid int, held bool, err error) {
	f, err := openAt(dir, SystemTablespace, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	st, err := statFile(f)
	if err != nil {
		return 0, false, err
	}
	for range 3 {
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
			return 0, false, &os.PathError{Op: "read lock", Path: f.Name(), Err: err}
		}
		if lock.Type == unix.F_UNLCK {
			return 0, false, nil
		}
		if lock.Pid <= 0 {
			return 0, true, nil
		}
		pid = int(lock.Pid)
		if err = hasOpen(pid, Ref{Dev: uint64(st.Dev), Ino: st.Ino}); err == nil {
			return pid, true, nil
		}
	}
	return pid, true, err
}

// hasOpen fails where /proc shows that process pid does not have the file
// open. Where it cannot be read nothing is known, and the lock stands alone.
func hasOpen(pid int, file Ref) error {
	fds := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(fds)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return fmt.Errorf("the lock names process %d, which cannot be looked at: %w", pid, err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		err := unix.Stat(filepath.Join(fds, e.Name()), &st)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err == nil && uint64(st.Dev) == file.Dev && st.Ino == file.Ino {
			return nil
		}
	}
	return fmt.Errorf("the lock names process %d, but that has no such file open", pid)
}
