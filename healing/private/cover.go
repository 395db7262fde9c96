package private

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Cover hides a directory of the live server's tablespaces from a private
// one, which finds another in its place: what it writes to Over lands in From.
type Cover struct{ Over, From string }

// directories is the option by which MySQL takes what lies in covers for its
// own: CLONE writes to no directory that it was not told of.
func directories(covers []Cover) []string {
	if len(covers) == 0 {
		return nil
	}
	var over []string
	for _, c := range covers {
		over = append(over, c.Over)
	}
	return []string{option("innodb_directories", strings.Join(over, ";"))}
}

// CheckCover says whether private servers can be given covers here: that needs
// CAP_SYS_ADMIN, and Linux 5.12.
func CheckCover() error {
	checkCover.Do(func() {
		checkCoverErr = onThread(func() error { return enclose(nil, nil) })
	})
	return checkCoverErr
}

var (
	checkCover    sync.Once
	checkCoverErr error
)

// onThread runs f on a thread of its own, which ends with it, so that what is
// done to it is done to nobody else. It is never the process's first thread:
// the system shows that one's mounts as the process's. A child with a
// parent-death signal whose thread was not kept would end with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: a goroutine that ends locked takes its thread along
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		err := onThread(f)
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// enclose puts the calling thread, and what it starts, into a mount namespace
// in which each cover is in its place, and nothing can be written to but
// covers and the writable directories. The thread must never be used again.
func enclose(covers []Cover, writable []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace (it needs CAP_SYS_ADMIN): %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make its mounts private: %w", err)
	}
	if err := setReadOnly("/", true); err != nil {
		return err
	}
	all := slices.Clone(covers)
	for _, dir := range writable {
		all = append(all, Cover{Over: dir, From: dir})
	}
	slices.SortFunc(all, func(a, b Cover) int { return strings.Compare(a.Over, b.Over) })
	from, err := openAll(all)
	defer closeAll(from)
	if err != nil {
		return err
	}
	for i, c := range all {
		if err := place(c, from[i]); err != nil {
			return fmt.Errorf("cover %s: %w", c.Over, err)
		}
	}
	return nil
}

func openAll(covers []Cover) (out []*os.File, err error) {
	for _, c := range covers {
		f, err := openPath(c.From)
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
	return out, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// place mounts one. Under a cover that is in its place already the directory
// to be covered is missing, and made.
func place(c Cover, from *os.File) error {
	over, err := openPath(c.Over)
	if errors.Is(err, unix.ENOENT) {
		if err = mkdir(c.Over); err == nil {
			over, err = openPath(c.Over)
		}
	}
	if err != nil {
		return err
	}
	defer over.Close()
	if err := unix.Mount(procPath(from), procPath(over), "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return setReadOnly(c.Over, false)
}

// mkdir makes a directory that everybody can walk through.
func mkdir(path string) error {
	parent, err := openPath(filepath.Dir(path))
	if errors.Is(err, unix.ENOENT) {
		if err = mkdir(filepath.Dir(path)); err == nil {
			parent, err = openPath(filepath.Dir(path))
		}
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := unix.Mkdirat(int(parent.Fd()), filepath.Base(path), 0o755); err != nil {
		return err
	}
	dir, err := openPath(path) // what may be in its place by now is not changed
	if err != nil {
		return err
	}
	defer dir.Close()
	return os.Chmod(procPath(dir), 0o755)
}

// openPath opens a directory for its place alone, and follows no link.
func openPath(path string) (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "open directory", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// setReadOnly changes the mounts at and below a path, or lets one be written to.
func setReadOnly(path string, on bool) error {
	attr, flags := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}, uint(0)
	if on {
		attr, flags = unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, path, flags, &attr); err != nil {
		return fmt.Errorf("set what can be written to in the namespace: %w", err)
	}
	return nil
}
