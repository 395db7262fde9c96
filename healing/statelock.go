package healing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrStateInUse means that another resilver acts by this state directory.
var ErrStateInUse = errors.New("another resilver acts by this state directory")

// LockState makes this process the only one that acts by what is in a state
// directory: a sidecar for its life, finish for a moment. It waits for another
// one as long as patience says; unlock, or the end of the process, ends it.
func LockState(stateDir string, patience time.Duration) (unlock func() error, err error) {
	path := filepath.Join(stateDir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state_dir: %w", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(lockPause) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || !time.Now().Before(deadline) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w, %s", ErrStateInUse, stateDir)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock state_dir: %w", err)
	}
	return f.Close, nil
}

const lockPause = 20 * time.Millisecond
