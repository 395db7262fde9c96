package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// packageLocks are held by package managers while they work: dpkg and apt
// (dpkg(1)), rpm.
var packageLocks = []string{"/var/lib/dpkg/lock", "/var/lib/dpkg/lock-frontend", "/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"}

// Person says whether a person, or a package manager for one, is at work on
// the server, and what shows it: then resilver leaves it alone. What resilver
// holds itself does not count.
func (s *Systemd) Person(ctx context.Context) (at bool, reason string, err error) {
	err = s.with(ctx, askTimeout, func(ctx context.Context, c *dbus.Conn) error {
		u, err := unitOf(ctx, c, s.o.Unit)
		if err != nil {
			return err
		}
		held, err := HeldBy(s.o.HoldFile)
		if err != nil {
			return err
		}
		if reason = u.person(held); reason == "" {
			reason, err = packagesChange(packageLocks)
		}
		return err
	})
	if err != nil {
		return false, "", fmt.Errorf("look for a person at work: %w", err)
	}
	return reason != "", reason, nil
}

// person is what the unit itself shows of somebody at work on it.
func (u unit) person(held bool) string {
	switch {
	case u.load == loadMasked, strings.HasPrefix(u.file, loadMasked): // seen from an alias only the second
		return u.id + " is masked"
	case held || u.running() && u.active != stateDeactivating || u.active == stateActivating:
		return ""
	case u.stale:
		return u.id + " has changed on disk since systemd read it: an upgrade?"
	case u.active == stateDeactivating:
		return u.id + " is being stopped"
	case u.active == stateInactive && u.result == resultSuccess && u.job:
		return ""
	case u.active == stateInactive && u.result == resultSuccess && u.up:
		return u.id + " was stopped"
	case u.active == stateInactive && u.result == resultSuccess:
		return u.id + " has not been started since the machine was"
	}
	return ""
}

// packagesChange says which package manager holds its lock.
func packagesChange(locks []string) (string, error) {
	for _, path := range locks {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		err = unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock)
		_ = f.Close()
		if err != nil {
			return "", fmt.Errorf("read the lock on %s: %w", path, err)
		}
		if lock.Type != unix.F_UNLCK {
			return fmt.Sprintf("packages are being changed: process %d holds %s", lock.Pid, path), nil
		}
	}
	return "", nil
}
