package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// State is how far an exchange of two directories has come.
type State string

// The states. Anything else that is found is an error.
const (
	StateUnknown State = ""
	NotYet       State = "not-yet" // each directory is at its own path
	Done         State = "done"    // each directory is at the other's path
)

// Exchanged tells by inode whether a and b have been exchanged.
func Exchanged(a, b Ref) (State, error) {
	pair, err := openPair(a, b)
	if err != nil {
		return StateUnknown, fmt.Errorf("look at the exchange: %w", err)
	}
	defer pair.close()
	state, err := pair.state()
	if err != nil {
		return StateUnknown, fmt.Errorf("look at the exchange: %w", err)
	}
	return state, nil
}

// Exchange puts directory a at b's path and b at a's, in one atomic step, and
// syncs both parents. It is idempotent: after a crash it finds out by inode
// whether the exchange took place. The state returned is the one found at the
// end.
func Exchange(a, b Ref) (State, error) {
	return exchange(a, b, func(string) {})
}

// Undo returns the references with which Exchange undoes Exchange(a, b).
func Undo(a, b Ref) (Ref, Ref) {
	return Ref{Path: a.Path, Dev: b.Dev, Ino: b.Ino}, Ref{Path: b.Path, Dev: a.Dev, Ino: a.Ino}
}

// exchange calls at between its system calls, for the tests to crash there.
func exchange(a, b Ref, at func(point string)) (State, error) {
	pair, err := openPair(a, b)
	if err != nil {
		return StateUnknown, fmt.Errorf("exchange directories: %w", err)
	}
	defer pair.close()
	state, err := pair.state()
	if err != nil {
		return StateUnknown, fmt.Errorf("exchange directories: %w", err)
	}
	at("checked")
	if state == NotYet {
		if err := pair.rename(); err != nil {
			return NotYet, fmt.Errorf("exchange %s and %s: %w", a.Path, b.Path, err)
		}
		at("renamed")
		if state, err = pair.state(); err != nil {
			return StateUnknown, fmt.Errorf("check the exchange: %w", err)
		}
		if state != Done {
			return state, fmt.Errorf("exchange %s and %s: the kernel said done, but they are where they were", a.Path, b.Path)
		}
	}
	if err := pair.parentA.Sync(); err != nil {
		return state, fmt.Errorf("sync after the exchange: %w", err)
	}
	at("synced-one")
	if err := pair.parentB.Sync(); err != nil {
		return state, fmt.Errorf("sync after the exchange: %w", err)
	}
	at("synced-both")
	return state, nil
}

// pair is two directories in their opened parents.
type pair struct {
	a, b             Ref
	parentA, parentB *os.File
}

func openPair(a, b Ref) (*pair, error) {
	if a.Ino == 0 || b.Ino == 0 {
		return nil, errors.New("a directory is not identified by its inode")
	}
	if a.Same(b) || a.Path == b.Path {
		return nil, fmt.Errorf("%s and %s are the same directory", a, b)
	}
	for _, r := range []Ref{a, b} {
		if err := checkPath(r.Path); err != nil {
			return nil, err
		}
	}
	parentA, err := openDir(filepath.Dir(a.Path))
	if err != nil {
		return nil, err
	}
	parentB, err := openDir(filepath.Dir(b.Path))
	if err != nil {
		_ = parentA.Close()
		return nil, err
	}
	return &pair{a: a, b: b, parentA: parentA, parentB: parentB}, nil
}

func (p *pair) close() {
	_ = p.parentA.Close()
	_ = p.parentB.Close()
}

func (p *pair) rename() error {
	err := unix.Renameat2(int(p.parentA.Fd()), filepath.Base(p.a.Path),
		int(p.parentB.Fd()), filepath.Base(p.b.Path), unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("they are not on one mount of one file system: %w", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("one of them is a mount point: %w", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("the file system cannot exchange directories: %w", err)
	}
	return err
}

func (p *pair) state() (State, error) {
	atA, err := refAt(p.parentA, filepath.Base(p.a.Path))
	if err != nil {
		return StateUnknown, err
	}
	atB, err := refAt(p.parentB, filepath.Base(p.b.Path))
	if err != nil {
		return StateUnknown, err
	}
	switch {
	case atA.Same(p.a) && atB.Same(p.b):
		return NotYet, nil
	case atA.Same(p.b) && atB.Same(p.a):
		return Done, nil
	}
	return StateUnknown, fmt.Errorf("%w: wanted %s and %s in either order, found %s and %s", ErrOther, p.a, p.b, atA, atB)
}
