package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// removeSockets removes what a dead server left of its sockets. A new one
// would abort over a lock file whose pid is in use again.
func (p *Process) removeSockets(ctx context.Context) error {
	var errs []error
	for _, path := range p.Sockets {
		if err := removeSocket(ctx, path, p.PID); err != nil {
			errs = append(errs, fmt.Errorf("remove socket %s of process %d: %w", path, p.PID, err))
		}
	}
	return errors.Join(errs...)
}

func removeSocket(ctx context.Context, path string, pid int) error {
	// All of it in one directory, by its descriptor: another one may be put in
	// its place.
	dir, err := os.OpenFile(filepath.Dir(path), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	path = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("it is not a socket")
	default:
		conn, err := dialSocket(ctx, path)
		if err == nil {
			_ = conn.Close()
			return errors.New("a process listens on it")
		}
		if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return removeSocketLock(path+".lock", pid)
}

// removeSocketLock removes the lock file that mysqld keeps beside its socket,
// if it holds this pid.
func removeSocketLock(path string, pid int) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if strings.TrimSpace(string(text)) != strconv.Itoa(pid) {
		return nil
	}
	return os.Remove(path)
}
