package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// identity says as whom a lab's programs run.
type identity struct {
	Self  string // who runs the lab, and its sidecars
	OS    string // mysqld's user
	Donor string // who dials a donor's socket for the clone tunnel
	uid   int    // of OS
	gid   int
	root  bool
}

// whoami takes unprivileged users that exist on any system for root, so that
// ownership and rights are really exercised; an ordinary user is all three.
func whoami() (identity, error) {
	self, err := user.Current()
	if err != nil {
		return identity{}, fmt.Errorf("look up the current user: %w", err)
	}
	id := identity{Self: self.Username, OS: self.Username, Donor: self.Username, uid: os.Getuid(), gid: os.Getgid()}
	if id.uid != 0 {
		return id, nil
	}
	daemon, err := user.Lookup("daemon")
	if err != nil {
		return identity{}, fmt.Errorf("look up mysqld's user: %w", err)
	}
	id.root, id.OS, id.Donor = true, daemon.Username, "nobody"
	if _, err := user.Lookup(id.Donor); err != nil {
		return identity{}, fmt.Errorf("look up the donor's user: %w", err)
	}
	if id.uid, err = strconv.Atoi(daemon.Uid); err != nil {
		return identity{}, fmt.Errorf("read mysqld's uid: %w", err)
	}
	if id.gid, err = strconv.Atoi(daemon.Gid); err != nil {
		return identity{}, fmt.Errorf("read mysqld's gid: %w", err)
	}
	return id, nil
}

// own gives a path to mysqld's user; only root has anything to give.
func (id identity) own(path string) error {
	if !id.root {
		return nil
	}
	if err := os.Lchown(path, id.uid, id.gid); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, id.OS, err)
	}
	return nil
}

// mkdirOwned makes a directory that belongs to mysqld's user.
func (id identity) mkdirOwned(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	return id.own(path)
}

// mayReach says whether mysqld's user can walk down to path, as far as path
// exists. It looks at mode bits only.
func (id identity) mayReach(path string) (bool, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return false, fmt.Errorf("make a path absolute: %w", err)
	}
	for {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return false, fmt.Errorf("look at a directory: %w", err)
		default:
			stat, ok := info.Sys().(*syscall.Stat_t)
			if !ok || !id.mayTraverse(info.Mode().Perm(), stat) {
				return false, nil
			}
		}
		if path == "/" {
			return true, nil
		}
		path = filepath.Dir(path)
	}
}

func (id identity) mayTraverse(mode fs.FileMode, stat *syscall.Stat_t) bool {
	switch {
	case int(stat.Uid) == id.uid:
		return mode&0o100 != 0
	case int(stat.Gid) == id.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
