package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The rights of the socket and of a directory that has to be made for it.
const (
	socketMode = 0o660
	dirMode    = 0o750
)

// listen binds the socket under a temporary name, gives it its rights, and
// only then its name: there is no moment at which it is open to more. A socket
// that nobody answers at is replaced; one that somebody answers at is not.
func listen(path string) (*net.UnixListener, error) {
	if err := prepareDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := checkStale(path); err != nil {
		return nil, err
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	_ = os.Remove(temp) // of a process that had this pid before
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on admin socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := publish(temp, path); err != nil {
		_ = os.Remove(temp)
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// publish gives the socket the group of its directory, its mode and its name.
func publish(temp, path string) error {
	if dir, err := os.Stat(filepath.Dir(path)); err == nil {
		gid := int(dir.Sys().(*syscall.Stat_t).Gid)
		if err := os.Lchown(temp, -1, gid); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("set the admin socket's group: %w", err)
		}
	}
	if err := os.Chmod(temp, socketMode); err != nil {
		return fmt.Errorf("set the admin socket's mode: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("name the admin socket: %w", err)
	}
	return nil
}

// prepareDir makes the directory where there is none, and refuses one in which
// others could put a socket of theirs in this one's place.
func prepareDir(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return fmt.Errorf("make the admin socket's directory: %w", err)
		}
		return os.Chmod(dir, dirMode) // whatever the umask
	}
	if err != nil {
		return fmt.Errorf("look at the admin socket's directory: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("the admin socket's directory %s can be written by everybody: chmod o-w %s", dir, dir)
	}
	return nil
}

// checkStale says whether path may be replaced.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the admin socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: move it away, or choose another admin.socket", path)
	}
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("another sidecar answers at %s: stop it first, or choose another admin.socket", path)
	}
	return fmt.Errorf("ask who listens at %s: %w", path, err)
}

// same says whether path is still the file that info describes.
func same(path string, info os.FileInfo) bool {
	now, err := os.Lstat(path)
	return err == nil && info != nil && os.SameFile(now, info)
}
