package private

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const recordName = "process.json"

// birth names a process beyond its number, which is used again: the kernel's
// boot, and the process's start in ticks since then (proc(5), stat field 22).
type birth struct {
	PID     int    `json:"pid"`
	Start   string `json:"start"`
	Boot    string `json:"boot"`
	Datadir string `json:"datadir"`
}

// record writes down which process was started, for EndOrphans.
func (w *work) record(pid int) error {
	start, _, err := startTicks(pid)
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	b, err := json.Marshal(birth{PID: pid, Start: start, Boot: boot, Datadir: w.place.Datadir})
	if err != nil {
		return fmt.Errorf("record the process: %w", err)
	}
	_ = w.root.Remove(recordName)
	f, err := w.root.OpenFile(recordName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("record the process: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("record the process: %w", err)
	}
	return nil
}

// forget removes the record of a process that is gone.
func (w *work) forget() { _ = w.root.Remove(recordName) }

// EndOrphans kills the private servers of the staging area that an earlier
// process started and could not take with it. Only a process is killed that
// is the recorded one, by its time of birth, and works in the recorded
// datadir inside the area. It returns how many there were; an error means
// that one may still run, and that nothing of the area may be removed.
func EndOrphans(area string) (int, error) {
	root, err := os.OpenRoot(area)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for stray servers: %w", err)
	}
	defer func() { _ = root.Close() }()
	ended := 0
	var errs []error
	for _, role := range roles {
		name := filepath.Join(nameWork, role, recordName)
		b, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		killed := false
		if err == nil {
			killed, err = endOrphan(area, b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("end the stray %s server: %w", role, err))
			continue
		}
		if killed {
			ended++
		}
		_ = root.Remove(name)
	}
	return ended, errors.Join(errs...)
}

func endOrphan(area string, record []byte) (bool, error) {
	var b birth
	// The file belongs to mysqld's user: it is a claim to be checked. One cut
	// by a crash names nobody.
	if json.Unmarshal(record, &b) != nil || b.PID <= 1 {
		return false, nil
	}
	boot, err := bootID()
	if err != nil {
		return false, err
	}
	if b.Boot != boot {
		return false, nil
	}
	fd, err := unix.PidfdOpen(b.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open process %d: %w", b.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor holds the process: what is read of its number now is its own.
	start, _, err := startTicks(b.PID)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && start != b.Start) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := worksIn(b.PID, area, b.Datadir); err != nil {
		// One that is dying has no directory any more, but its last threads
		// may still write.
		if _, dying, again := startTicks(b.PID); dying || errors.Is(again, fs.ErrNotExist) {
			return false, awaitPidfd(fd, b.PID)
		}
		return false, err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("kill process %d: %w", b.PID, err)
	}
	return true, awaitPidfd(fd, b.PID)
}

// worksIn checks that a process has the datadir, which must be directly in
// the area, as its working directory: mysqld changes into its datadir.
func worksIn(pid int, area, datadir string) error {
	if filepath.Dir(datadir) != filepath.Clean(area) {
		return fmt.Errorf("process %d: the recorded datadir %s is not in %s", pid, datadir, area)
	}
	want, err := os.Stat(datadir)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	cwd, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/cwd")
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	if !os.SameFile(want, cwd) {
		return fmt.Errorf("process %d does not work in %s", pid, datadir)
	}
	return nil
}

func awaitPidfd(fd, pid int) error {
	deadline := time.Now().Add(reapTimeout)
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case n > 0:
			return nil
		case left == 0:
			return fmt.Errorf("process %d is not gone after %s", pid, reapTimeout)
		}
	}
}

// startTicks is when a process was born, and whether it is dead but for being
// reaped, or for the end of its last threads.
func startTicks(pid int) (start string, dying bool, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false, fmt.Errorf("read process %d: %w", pid, err)
	}
	// The name in parentheses may hold anything; after it comes field 3.
	_, rest, ok := cutLast(string(b), ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", false, fmt.Errorf("read process %d: its stat is not understood", pid)
	}
	return fields[19], fields[0] == "Z" || fields[0] == "X", nil
}

func cutLast(s, sep string) (string, string, bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
