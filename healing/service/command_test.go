package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeManager is a service manager as a program: VERB DIR COMMAND…. What is in
// the file DIR/mode changes its behaviour.
func fakeManager(args []string) int {
	verb, dir, command := args[0], args[1], args[2:]
	mode, _ := os.ReadFile(filepath.Join(dir, "mode-"+verb))
	switch strings.TrimSpace(string(mode)) {
	case "hang":
		child := exec.Command("/bin/sleep", "60") // a grandchild that keeps the output open
		child.Stdout = os.Stdout
		if child.Start() != nil {
			return 99
		}
		_ = os.WriteFile(filepath.Join(dir, "grandchild"), []byte(strconv.Itoa(child.Process.Pid)), 0o600)
		select {}
	case "fail":
		fmt.Println("first line")
		fmt.Println("unit is masked")
		return 1
	case "nothing":
		return 0
	}
	pidFile := filepath.Join(dir, "manager.pid")
	data, _ := os.ReadFile(pidFile)
	pid, _ := strconv.Atoi(string(data))
	stat, err := readStat(pid)
	running := pid != 0 && err == nil && stat.state != 'Z'
	switch verb {
	case "start":
		if running {
			return 0
		}
		cred, err := RunAs(command)
		if err != nil {
			return 98
		}
		cmd := exec.Command(command[0], command[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: cred}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // the server holds the pipe
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			return 97
		}
		_ = os.WriteFile(pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
	case "stop":
		_ = os.WriteFile(filepath.Join(dir, "stopped"), nil, 0o600)
		if running {
			_ = unix.Kill(pid, unix.SIGTERM)
		}
	case "status":
		if !running {
			return statusNotRunning
		}
	}
	return 0
}

func newCommand(t *testing.T, s *server) (*Command, string) {
	t.Helper()
	dir := t.TempDir()
	call := func(verb string) []string {
		return append([]string{filepath.Join(base, "mysqld"), "as-manager", verb, dir}, s.command...)
	}
	c, err := NewCommand(CommandOptions{
		Start: call("start"), Stop: call("stop"), Status: call("status"),
		Timeout: 10 * time.Second, StopTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	// The servers become orphans and come to us.
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if pid := managedPID(dir); pid != 0 {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	t.Cleanup(func() {
		if pid := managedPID(dir); pid != 0 && alive(pid) {
			_ = unix.Kill(pid, unix.SIGKILL)
			waitFor(t, "the server to go", func() bool { return !alive(pid) })
		}
		cancel()
		<-done
	})
	return c, dir
}

func managedPID(dir string) int {
	data, _ := os.ReadFile(filepath.Join(dir, "manager.pid"))
	pid, _ := strconv.Atoi(string(data))
	return pid
}

func TestCommandEndsAndStarts(t *testing.T) {
	for _, how := range []How{Kill, Shutdown} {
		t.Run(string(how), func(t *testing.T) {
			s := newServer(t)
			c, dir := newCommand(t, s)
			st, err := c.Status(t.Context())
			must(t, err)
			if st.Running || st.Managed != "command" {
				t.Fatalf("status %+v", st)
			}
			must(t, c.Hold(t.Context()))
			if !exists(filepath.Join(dir, "stopped")) {
				t.Fatal("the manager was not told to hold")
			}
			must(t, c.Start(t.Context()))
			waitFor(t, "the server", func() bool { return s.pid() != 0 })
			must(t, os.Remove(filepath.Join(dir, "stopped")))
			p := s.find(t)
			must(t, c.Hold(t.Context()))
			if exists(filepath.Join(dir, "stopped")) || !alive(p.PID) {
				t.Fatal("the hold stopped a running server")
			}
			must(t, c.End(t.Context(), p, how))
			if !exists(filepath.Join(dir, "stopped")) {
				t.Error("the manager does not know")
			}
			if alive(p.PID) || exists(s.id.Socket) || exists(s.id.Socket+".lock") {
				t.Error("something is left")
			}
			must(t, c.Start(t.Context()))
			if pid := managedPID(dir); pid == p.PID || !alive(pid) {
				t.Errorf("process %d", pid)
			}
		})
	}
}

func TestCommandFailures(t *testing.T) {
	s := newServer(t)
	c, dir := newCommand(t, s)
	mode := func(verb, what string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, "mode-"+verb), []byte(what), 0o600))
	}
	mode("status", "fail")
	_, err := c.Status(t.Context())
	wantError(t, err, nil, "unit is masked")
	if strings.Contains(err.Error(), "first line") {
		t.Errorf("more than the last line: %v", err)
	}
	if err := c.Hold(t.Context()); err == nil {
		t.Error("held without knowing")
	}
	mode("status", "")
	mode("start", "nothing") // R26: success that starts nothing
	c.o.Timeout = 1500 * time.Millisecond
	wantError(t, c.Start(t.Context()), context.DeadlineExceeded, "does not run")
	c.o.Timeout = 10 * time.Second
	mode("start", "")
	must(t, c.Start(t.Context()))
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	p := s.find(t)
	mode("stop", "fail")
	wantError(t, c.End(t.Context(), p, Shutdown), nil, "unit is masked")
	if !alive(p.PID) {
		t.Error("a shutdown that failed ended the server")
	}
}

// TestP37CommandAndItsChildrenEndAtTheDeadline: P37, the group is killed, and
// nobody waits for a grandchild.
func TestP37CommandAndItsChildrenEndAtTheDeadline(t *testing.T) {
	s := newServer(t)
	c, dir := newCommand(t, s)
	must(t, os.WriteFile(filepath.Join(dir, "mode-status"), []byte("hang"), 0o600))
	c.o.Timeout = time.Second
	begun := time.Now()
	_, err := c.Status(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	data, err := os.ReadFile(filepath.Join(dir, "grandchild"))
	must(t, err)
	pid, err := strconv.Atoi(string(data))
	must(t, err)
	waitFor(t, "the grandchild to die", func() bool {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		return !alive(pid)
	})
}

func TestNewCommandChecksItsOptions(t *testing.T) {
	argv := []string{"/bin/true"}
	good := CommandOptions{Start: argv, Stop: argv, Status: argv, Timeout: 1, StopTimeout: 1, Logger: slog.New(slog.DiscardHandler)}
	for name, spoil := range map[string]func(*CommandOptions){
		"no start":   func(o *CommandOptions) { o.Start = nil },
		"relative":   func(o *CommandOptions) { o.Stop = []string{"systemctl"} },
		"no status":  func(o *CommandOptions) { o.Status = []string{""} },
		"no timeout": func(o *CommandOptions) { o.Timeout = 0 },
		"no logger":  func(o *CommandOptions) { o.Logger = nil },
	} {
		o := good
		spoil(&o)
		if _, err := NewCommand(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCappedOutputKeepsTheEnd(t *testing.T) {
	var c capped
	for i := range 3000 {
		fmt.Fprintf(&c, "line %d\n", i)
	}
	if len(c.buf) > maxOutput || c.lastLine() != "line 2999" {
		t.Fatalf("%d bytes, last %q", len(c.buf), c.lastLine())
	}
}
