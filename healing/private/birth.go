package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Birth names a process beyond its number, which is used again: the kernel's
// boot, and the process's start in ticks since then (proc(5), stat field 22).
type Birth struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
	Boot  string `json:"boot"`
}

// BirthOf reads when a process was born.
func BirthOf(pid int) (Birth, error) {
	start, _, err := startTicks(pid)
	if err != nil {
		return Birth{}, err
	}
	boot, err := bootID()
	return Birth{PID: pid, Start: start, Boot: boot}, err
}

// open returns a descriptor of the process, false where it lives no more.
func (b Birth) open() (fd int, lives bool, err error) {
	if b.PID <= 1 {
		return -1, false, nil
	}
	boot, err := bootID()
	if err != nil || b.Boot != boot {
		return -1, false, err
	}
	fd, err = unix.PidfdOpen(b.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, false, nil
	}
	if err != nil {
		return -1, false, fmt.Errorf("open process %d: %w", b.PID, err)
	}
	// The descriptor holds the process: what is read of its number now is its own.
	start, _, err := startTicks(b.PID)
	if err == nil && start == b.Start {
		return fd, true, nil
	}
	_ = unix.Close(fd)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return -1, false, nil
	}
	return -1, false, err
}

// Kill ends the process where it still lives, and says whether it did. It
// returns when it is gone.
func (b Birth) Kill() (bool, error) {
	fd, lives, err := b.open()
	if err != nil || !lives {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	return true, killPidfd(fd, b.PID)
}

func killPidfd(fd, pid int) error {
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return awaitPidfd(fd, pid)
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
