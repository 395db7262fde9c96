package healing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// held is the lock on one system tablespace.
type held struct {
	ino    uint64
	unlock func() error
}

// home is the directory that the server finds its system tablespace in.
func (j *Journal) home() string {
	if o := j.homeOutside(); o != nil {
		return o.Dir.Path
	}
	return j.Live.Path
}

// homeOutside is the directory whose entries the system tablespaces are, nil
// where they stay in their datadirs. A whole datadir comes first, and has
// nothing that another directory has.
func (j *Journal) homeOutside() *datadir.Outside {
	for i := range j.Outside {
		if o := &j.Outside[len(j.Outside)-1-i]; o.Owns(datadir.SystemTablespace) {
			return o
		}
	}
	return nil
}

// homes are where the two system tablespaces, the old and the new, may be.
func (j *Journal) homes() []string {
	if o := j.homeOutside(); o != nil {
		return o.Homes(j.Record.ID)
	}
	if j.at(watchdog.StepWipe) {
		return []string{j.Live.Path} // there is no copy yet
	}
	return []string{j.Live.Path, j.Staged.Path}
}

// lock keeps any mysqld from opening the old or the new data, wherever the
// swap has brought them.
func (j *Journal) lock() ([]held, error) {
	var all []held
	for _, dir := range j.homes() {
		lock, err := lockIn(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, unlock(all))
		}
		all = append(all, lock)
	}
	if want := min(2, len(j.homes())); len(all) < want { // one more is of a server that was started by hand
		return nil, errors.Join(fmt.Errorf("lock %d system tablespaces: %d are in %q", want, len(all), j.homes()), unlock(all))
	}
	return all, nil
}

func lockIn(dir string) (held, error) {
	unlock, err := datadir.LockSystemTablespace(dir)
	if err != nil {
		return held{}, err
	}
	ino, err := systemInode(dir)
	if err != nil {
		return held{}, errors.Join(err, unlock())
	}
	return held{ino, unlock}, nil
}

func systemInode(dir string) (uint64, error) {
	info, err := os.Lstat(filepath.Join(dir, datadir.SystemTablespace))
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}

func unlock(all []held) error {
	var errs []error
	for _, h := range all {
		errs = append(errs, h.unlock())
	}
	return errors.Join(errs...)
}

func (r *rebuild) lock() (err error) {
	r.locks, err = r.j.lock()
	return err
}

func (r *rebuild) unlockAll() error {
	all := r.locks
	r.locks = nil
	return unlock(all)
}

// unlockLive lets go of the data that is to be started on. A server that was
// started past every guard, and waits for the other lock with that file open,
// must not get it now: it would go on with the rest of what is live.
func (r *rebuild) unlockLive() error {
	live, err := systemInode(r.j.home())
	if err != nil {
		return err
	}
	var errs []error
	var kept []held
	for _, h := range r.locks {
		if h.ino == live {
			errs = append(errs, h.unlock())
		} else {
			kept = append(kept, h)
		}
	}
	r.locks = kept
	return errors.Join(errs...)
}
