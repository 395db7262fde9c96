package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one process that cannot be mistaken for another: it holds a
// pidfd. Close it after use.
type Process struct {
	PID      int
	Ticks    uint64 // start time since boot in clock ticks (proc(5), stat)
	Args     []string
	UID, GID uint32 // effective
	// Sockets are the paths that it listens on; End removes what it leaves of
	// them.
	Sockets []string

	pidfd int
}

// Program is a command line cut after the word that names the server.
type Program struct {
	Prefix []string `json:"prefix"` // through mysqld or mariadbd, with a loader before it where there is one
	Args   []string `json:"args"`
}

// openProcess opens process pid. What is read from /proc is its own, because
// the pidfd is opened first and still leads to a process afterwards.
func openProcess(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &Process{PID: pid, pidfd: fd}
	if err := p.read(); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("read process %d: %w", pid, err)
	}
	return p, nil
}

func (p *Process) read() error {
	stat, err := readStat(p.PID)
	if err != nil {
		return err
	}
	p.Ticks = stat.ticks
	cmdline, err := os.ReadFile(procFile(p.PID, "cmdline"))
	if err != nil {
		return err
	}
	for word := range bytes.SplitSeq(bytes.TrimSuffix(cmdline, []byte{0}), []byte{0}) {
		p.Args = append(p.Args, string(word))
	}
	if p.UID, p.GID, err = readOwner(p.PID); err != nil {
		return err
	}
	return p.signal(0)
}

// Close gives the pidfd back. The process is left alone.
func (p *Process) Close() error {
	if p.pidfd < 0 {
		return nil
	}
	err := unix.Close(p.pidfd)
	p.pidfd = -1
	return err
}

// Program cuts the command line after the server's own word.
func (p *Process) Program() (Program, error) { return SplitProgram(p.Args) }

// SplitProgram cuts a command line after the first word whose base name is
// mysqld or mariadbd.
func SplitProgram(args []string) (Program, error) {
	i := slices.IndexFunc(args, func(word string) bool {
		base := filepath.Base(word)
		return base == "mysqld" || base == "mariadbd"
	})
	if i < 0 {
		return Program{}, errors.New("find the server in its command line: no word of it is mysqld or mariadbd")
	}
	return Program{Prefix: slices.Clone(args[:i+1]), Args: slices.Clone(args[i+1:])}, nil
}

func (p *Process) signal(sig unix.Signal) error {
	return unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
}

// end sends the signal of how; a process that has ended already is fine.
func (p *Process) end(how How) error {
	sig := unix.SIGTERM
	if how == Kill {
		sig = unix.SIGKILL
	}
	if err := p.signal(sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), p.PID, err)
	}
	return nil
}

// Gone waits until the process has ended and its parent has reaped it. While
// it is a zombie, its pid is taken, and a new mysqld aborts when it finds that
// pid in a socket's lock file.
func (p *Process) Gone(ctx context.Context) error {
	for {
		fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", p.PID, err)
		}
		if n > 0 {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for process %d to end: %w", p.PID, ctx.Err())
		}
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := readStat(p.PID)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || err == nil && stat.ticks != p.Ticks {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for process %d to be reaped: %w", p.PID, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d has ended, but its parent %d does not reap it: %w", p.PID, stat.parent, ctx.Err())
		case <-tick.C:
		}
	}
}

type procStat struct {
	state  byte
	parent int
	ticks  uint64
}

// readStat reads /proc/PID/stat. The process's name is in parentheses and may
// hold anything, so the fields are counted from the last one.
func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return procStat{}, err
	}
	_, rest, _ := strings.Cut(string(data[bytes.LastIndexByte(data, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("%s is too short", procFile(pid, "stat"))
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return procStat{}, err
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return procStat{}, err
	}
	return procStat{state: fields[0][0], parent: parent, ticks: ticks}, nil
}

// readOwner reads effective uid and gid from /proc/PID/status.
func readOwner(pid int) (uid, gid uint32, err error) {
	data, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		return 0, 0, err
	}
	found := 0
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "Uid:" && fields[0] != "Gid:" {
			continue
		}
		n, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return 0, 0, err
		}
		if fields[0] == "Uid:" {
			uid = uint32(n)
		} else {
			gid = uint32(n)
		}
		found++
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("%s names no owner", procFile(pid, "status"))
	}
	return uid, gid, nil
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}
