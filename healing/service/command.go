package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// CommandOptions make a Command. Each command is a list of arguments whose
// first word is an absolute path; no shell is involved.
type CommandOptions struct {
	Start []string
	// Stop must return when mysqld is down, and keep it down.
	Stop []string
	// Status ends with 0 where mysqld runs and with 3 where it does not, as
	// init scripts (LSB) and systemctl is-active do; all else is unknown.
	Status []string
	// StopTimeout bounds Stop, Timeout the others.
	Timeout     time.Duration
	StopTimeout time.Duration
	Logger      *slog.Logger
}

// Command drives a foreign manager of mysqld by its commands. Such a manager
// cannot be told to leave a running server alone once it dies; between the
// kill and the manager's stop it may start mysqld again, which the start guard
// and the lock on the datadir keep from doing harm.
type Command struct{ o CommandOptions }

const (
	statusNotRunning = 3
	maxOutput        = 16 << 10
	pipeDelay        = 500 * time.Millisecond // for grandchildren that keep the output open
	statusPause      = 100 * time.Millisecond
)

// NewCommand checks the options.
func NewCommand(o CommandOptions) (*Command, error) {
	for name, argv := range map[string][]string{"start": o.Start, "stop": o.Stop, "status": o.Status} {
		if err := checkCommand(argv); err != nil {
			return nil, fmt.Errorf("make service: %s: %w", name, err)
		}
	}
	if o.Timeout <= 0 || o.StopTimeout <= 0 {
		return nil, errors.New("make service: a timeout is not positive")
	}
	if o.Logger == nil {
		return nil, errors.New("make service: no logger")
	}
	return &Command{o: o}, nil
}

// Status asks the manager.
func (c *Command) Status(ctx context.Context) (Status, error) {
	err := c.run(ctx, "status", c.o.Status, c.o.Timeout)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return Status{Managed: "command", Running: true}, nil
	case errors.As(err, &exit) && exit.ExitCode() == statusNotRunning:
		return Status{Managed: "command"}, nil
	}
	return Status{}, fmt.Errorf("ask the manager: %w", err)
}

// Hold stops the service where the manager does not run mysqld now, so that it
// gives up restarting it. A running server is left to End.
func (c *Command) Hold(ctx context.Context) error {
	st, err := c.Status(ctx)
	if err != nil || st.Running {
		return err
	}
	return c.stop(ctx)
}

// End kills p, if that is how, and then lets the manager stop the service, so
// that it knows. It fails where the manager says afterwards that mysqld runs.
func (c *Command) End(ctx context.Context, p *Process, how How) error {
	if how == Kill {
		if err := p.end(Kill); err != nil {
			return fmt.Errorf("end mysqld: %w", err)
		}
	}
	if err := c.stop(ctx); err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.StopTimeout)
	defer cancel()
	if err := p.Gone(ctx); err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	st, err := c.Status(ctx)
	if err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	if st.Running {
		return fmt.Errorf("end mysqld: process %d is gone, but the manager runs another one", p.PID)
	}
	if err := p.removeSockets(ctx); err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	return nil
}

// Start has the manager start mysqld and waits until it says that it runs: a
// start that a condition refuses can return success (systemctl does).
func (c *Command) Start(ctx context.Context) error {
	if err := c.run(ctx, "start", c.o.Start, c.o.Timeout); err != nil {
		return fmt.Errorf("start mysqld: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	tick := time.NewTicker(statusPause)
	defer tick.Stop()
	for {
		st, err := c.Status(ctx)
		if err == nil && st.Running {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start mysqld: the start command succeeded, but mysqld does not run: %w", errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

func (c *Command) stop(ctx context.Context) error {
	return c.run(ctx, "stop", c.o.Stop, c.o.StopTimeout)
}

// run runs a command with a deadline and a minimal environment, in a process
// group of its own that is killed at the deadline and with this process. What
// the command leaves running in the background after it succeeded is meant to
// stay: that is mysqld.
func (c *Command) run(ctx context.Context, name string, argv []string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	runtime.LockOSThread() // Pdeathsig goes by the thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDelay
	var out capped
	cmd.Stdout, cmd.Stderr = &out, &out
	begun := time.Now()
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		err = nil // the command succeeded and left a server that holds its output
	}
	c.o.Logger.Debug("service command", "name", name, "program", filepath.Base(argv[0]),
		"took", time.Since(begun).Round(time.Millisecond), "error", err)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	if line := out.lastLine(); line != "" {
		return fmt.Errorf("%s command %s: %w: %s", name, argv[0], err, line)
	}
	return fmt.Errorf("%s command %s: %w", name, argv[0], err)
}

// capped keeps the end of a command's output.
type capped struct{ buf []byte }

func (c *capped) Write(p []byte) (int, error) {
	c.buf = append(c.buf, p...)
	if over := len(c.buf) - maxOutput; over > 0 {
		c.buf = append(c.buf[:0], c.buf[over:]...)
	}
	return len(p), nil
}

func (c *capped) lastLine() string {
	text := strings.TrimSpace(string(bytes.ToValidUTF8(c.buf, []byte("?"))))
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text
}

// checkCommand wants an absolute path and its arguments.
func checkCommand(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("the command is empty")
	}
	if !filepath.IsAbs(argv[0]) {
		return fmt.Errorf("the command %q is not an absolute path", argv[0])
	}
	return nil
}
