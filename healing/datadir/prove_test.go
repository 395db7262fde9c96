package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProveMode: a set-group-ID datadir is refused before anything is copied
// by a process that cannot make another one like it.
func TestProveMode(t *testing.T) {
	p, base := setUp(t)
	must(t, unix.Chmod(p.Live.Path, 0o2750))
	p, err := PlaceFor(p.Live.Path, "")
	must(t, err)
	must(t, p.ProveMode())
	if os.Geteuid() == 0 {
		refused := make(chan error)
		go func() {
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			if err := dropCapability(unix.CAP_FSETID); err != nil {
				refused <- err
				return
			}
			refused <- p.ProveMode()
		}()
		err := <-refused
		var place *PlaceError
		if !errors.As(err, &place) || !strings.Contains(place.Reason, "2750") {
			t.Errorf("without CAP_FSETID: %v", err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(base, ".resilver-probe*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// dropCapability takes one from this thread.
func dropCapability(c uint) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return err
	}
	sets[c/32].Effective &^= 1 << (c % 32)
	return unix.Capset(&head, &sets[0])
}
