package method

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"resilver/healing/private"
)

const (
	// reapTimeout is how long a killed process gets to be gone. One in
	// uninterruptible sleep may take longer.
	reapTimeout = 30 * time.Second
	// pipeGrace is how long output is still read from grandchildren that
	// outlive their parent; they are killed anyway.
	pipeGrace = 2 * time.Second
	// pipeSize lets a program and its stream run apart a little: the system's
	// 64 KiB are slower than the line.
	pipeSize = 1 << 20
)

// widen makes a pipe larger, where the system allows it.
func widen(pipe *os.File) {
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

// childOptions are a program to be run without a shell.
type childOptions struct {
	argv     []string
	uid, gid uint32
	stdin    *os.File  // nil: /dev/null
	stdout   io.Writer // nil: /dev/null
}

// child is a running program. It has a process group of its own, and dies with
// this process.
type child struct {
	name string
	pid  int
	born private.Birth // for a record
	log  *childLog

	done chan struct{} // closed once the process is reaped
	err  error         // how it ended; read after done

	mu   sync.Mutex
	gone bool // ended; its number may be somebody else's soon
}

// startChild returns once the process exists. The caller waits for it.
func startChild(o childOptions) (*child, error) {
	c := &child{name: o.argv[0], log: &childLog{}, done: make(chan struct{})}
	cmd := exec.Command(o.argv[0], o.argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	if o.stdin != nil {
		cmd.Stdin = o.stdin
	}
	cmd.Stdout, cmd.Stderr = o.stdout, c.log
	cmd.WaitDelay = pipeGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: o.uid, Gid: o.gid}
	} else if uint32(os.Geteuid()) != o.uid {
		return nil, fmt.Errorf("start %s: only root can run it as uid %d", c.name, o.uid)
	}
	started := make(chan error, 1)
	go c.own(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	return c, nil
}

// own starts the process and reaps it. The kernel sends the parent-death
// signal when the thread that forked ends, so that thread stays until then.
func (c *child) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	c.pid = cmd.Process.Pid
	// Until it is reaped, the kernel knows also one that has ended already.
	born, err := private.BirthOf(c.pid)
	if err != nil {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
		started <- errors.Join(err, cmd.Wait())
		return
	}
	c.born = born
	started <- nil
	for {
		err := unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	// Still a zombie: its number, and its group's, are ours until reaped.
	c.mu.Lock()
	c.gone = true
	_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	c.mu.Unlock()
	c.err = cmd.Wait()
	close(c.done)
}

// kill ends the program and its group at once: the tools ignore everything
// else (R23). It may be called at any time.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
		_ = syscall.Kill(c.pid, syscall.SIGKILL)
	}
}

// end kills the program and returns when it is gone.
func (c *child) end() error {
	c.kill()
	timer := time.NewTimer(reapTimeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: process %d was killed and is not gone after %s", c.name, c.pid, reapTimeout)
	}
}

// wait waits for the end and says how it was; when ctx ends first, the program
// is killed, and that is the error.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), c.end())
	}
	if c.err == nil {
		return nil
	}
	return &ToolError{Program: c.name, Err: c.err, Said: c.log.reason()}
}

// succeeded adds the tool's own word to its exit status.
func (c *child) succeeded(ctx context.Context) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	if last := c.log.last(); !strings.HasSuffix(last, success) {
		return &ToolError{Program: c.name, Err: fmt.Errorf("ended with status 0, but without %q", success), Said: c.log.reason()}
	}
	return nil
}

// ToolError is a program that did not do what it was started for.
type ToolError struct {
	Program string
	Said    string // in its own words, one line
	Err     error
}

func (e *ToolError) Error() string {
	text := fmt.Sprintf("%s: %v", e.Program, e.Err)
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

func (e *ToolError) Unwrap() error { return e.Err }
