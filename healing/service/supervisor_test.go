package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guard is a start guard that a test switches.
type guard struct {
	refuse atomic.Bool
	asked  atomic.Int64
}

func (g *guard) ask(context.Context) error {
	g.asked.Add(1)
	if g.refuse.Load() {
		return errors.New("a rebuild is under way")
	}
	return nil
}

// supervision is a supervisor that runs in this process.
type supervision struct {
	Supervised
	guard guard
	stop  func() error // ends it and returns what Run returned
}

func supervise(t *testing.T, command []string, prepare func(*supervision, *Supervisor)) *supervision {
	t.Helper()
	cred, err := RunAs(command)
	must(t, err)
	v := &supervision{Supervised: Supervised{Socket: filepath.Join(t.TempDir(), "supervise.sock")}}
	s, err := NewSupervisor(SupervisorOptions{
		Command: command, Credential: cred, Socket: v.Socket, Guard: v.guard.ask,
		Env:    []string{"PATH=/usr/bin:/bin"},
		Stdout: os.Stdout, Stderr: os.Stderr, StopTimeout: 30 * time.Second,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	s.backoffMin, s.backoffMax, s.refusedPause = 20*time.Millisecond, 80*time.Millisecond, 20*time.Millisecond
	if prepare != nil {
		prepare(v, s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	v.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := v.stop(); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, "the supervisor's socket", func() bool { return exists(v.Socket) })
	return v
}

func (v *supervision) status(t *testing.T) Status {
	t.Helper()
	st, err := v.Status(t.Context())
	must(t, err)
	return st
}

// TestSupervisorEndsAndStarts is the way of a rebuild: found, ended by force,
// held, started again.
func TestSupervisorEndsAndStarts(t *testing.T) {
	for _, how := range []How{Kill, Shutdown} {
		t.Run(string(how), func(t *testing.T) {
			s := newServer(t)
			v := supervise(t, s.command, nil)
			waitFor(t, "the server", func() bool { return s.pid() != 0 })
			p := s.find(t)
			if st := v.status(t); !st.Running || st.PID != p.PID || st.Held || st.Managed != "supervise" {
				t.Fatalf("status %+v", st)
			}
			must(t, v.End(t.Context(), p, how))
			if alive(p.PID) || exists(s.id.Socket) || exists(s.id.Socket+".lock") {
				t.Fatal("End returned, but something is left")
			}
			if st := v.status(t); st.Running || !st.Held || st.PID != 0 || st.LastExit == "" || st.Deaths != 0 {
				t.Fatalf("status %+v", st)
			}
			if _, err := FindProcess(t.Context(), s.id); how == Shutdown && !errors.Is(err, ErrNotRunning) {
				t.Fatalf("after the end: %v", err)
			}
			must(t, v.Start(t.Context()))
			st := v.status(t)
			if !st.Running || st.Held || st.PID == p.PID || !alive(st.PID) {
				t.Fatalf("status %+v", st)
			}
			must(t, v.Start(t.Context())) // running already
			waitFor(t, "the new server", func() bool { return s.pid() == st.PID })
			if n := s.starts(); n != 2 {
				t.Errorf("started %d times", n)
			}
			data, err := os.ReadFile(filepath.Join(s.datadir, "starts"))
			must(t, err)
			if !strings.Contains(string(data), "parent="+strconv.Itoa(os.Getpid())) {
				t.Errorf("MYSQLD_PARENT_PID is not the supervisor: %s", data)
			}
		})
	}
}

// TestX5EndHitsOnlyTheProcessAsked: another process than the supervisor's
// child is left alone, and so is the child.
func TestX5EndHitsOnlyTheProcessAsked(t *testing.T) {
	s, other := newServer(t), newServer(t)
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	cmd := other.run(t)
	err := v.End(t.Context(), other.find(t), Kill)
	wantError(t, err, ErrOtherProcess, "asked to end process "+strconv.Itoa(cmd.Process.Pid))
	early := s.find(t)
	early.Ticks-- // a process that had this number before
	wantError(t, v.End(t.Context(), early, Kill), ErrOtherProcess, "")
	if st := v.status(t); !st.Running || st.Held || st.PID != s.pid() || !alive(cmd.Process.Pid) {
		t.Fatalf("status %+v", st)
	}
}

// TestP33HeldServerIsNotRestarted: P33, neither a crash nor time starts a held
// server; and a hold alone ends nothing.
func TestP33HeldServerIsNotRestarted(t *testing.T) {
	s := newServer(t)
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	p := s.find(t)
	must(t, v.Hold(t.Context()))
	if st := v.status(t); !st.Running || !st.Held {
		t.Fatalf("status %+v", st)
	}
	must(t, p.end(Kill)) // by somebody else
	waitFor(t, "its end to be seen", func() bool { return !v.status(t).Running })
	asked := v.guard.asked.Load()
	time.Sleep(200 * time.Millisecond) // ten times the longest pause before a start
	if st := v.status(t); st.Running || !st.Held || s.starts() != 1 || v.guard.asked.Load() != asked {
		t.Fatalf("status %+v after %d starts", st, s.starts())
	}
	_, err := v.Wake(t.Context())
	wantError(t, err, ErrRefused, "the sidecar holds mysqld")
	if st := v.status(t); st.Running || !st.Held {
		t.Fatalf("a person lifted the hold: %+v", st)
	}
	must(t, v.End(t.Context(), p, Kill)) // ended already
	must(t, v.Start(t.Context()))
	if st := v.status(t); !st.Running || st.Held {
		t.Fatalf("status %+v", st)
	}
}

// TestWake: what a person shut down stays down until a person starts it.
func TestWake(t *testing.T) {
	s := newServer(t)
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	p := s.find(t)
	must(t, p.end(Shutdown)) // by a person
	waitFor(t, "its end to be seen", func() bool { return !v.status(t).Running })
	v.guard.refuse.Store(true)
	_, err := v.Wake(t.Context())
	wantError(t, err, ErrRefused, "a rebuild is under way")
	v.guard.refuse.Store(false)
	first, err := v.Wake(t.Context())
	must(t, err)
	again, err := v.Wake(t.Context())
	must(t, err)
	if !first.Running || first.PID == p.PID || again.PID != first.PID {
		t.Errorf("woken %+v, again %+v", first, again)
	}
}

// TestX8GuardIsAskedBeforeEveryStart: X8, no start without the guard: not the
// first, not after a crash, not on request.
func TestX8GuardIsAskedBeforeEveryStart(t *testing.T) {
	s := newServer(t)
	v := supervise(t, s.command, func(v *supervision, _ *Supervisor) { v.guard.refuse.Store(true) })
	waitFor(t, "the guard to be asked again", func() bool { return v.guard.asked.Load() >= 3 })
	if st := v.status(t); st.Running || st.Refused != "a rebuild is under way" || s.starts() != 0 {
		t.Fatalf("status %+v", st)
	}
	wantError(t, v.Start(t.Context()), ErrRefused, "a rebuild is under way")
	v.guard.refuse.Store(false)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	p := s.find(t)
	v.guard.refuse.Store(true)
	asked := v.guard.asked.Load()
	must(t, p.end(Kill))
	waitFor(t, "the guard to be asked again", func() bool { return v.guard.asked.Load() >= asked+3 })
	if st := v.status(t); st.Running || st.Refused == "" || s.starts() != 1 {
		t.Fatalf("status %+v", st)
	}
	v.guard.refuse.Store(false)
	must(t, v.Start(t.Context()))
	if st := v.status(t); !st.Running || st.Refused != "" {
		t.Fatalf("status %+v", st)
	}
}

func TestSupervisorRestartsAfterACrash(t *testing.T) {
	s := newServer(t)
	s.plan(t, "exit 1", "exit 2", "exit 3", "serve")
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	if st := v.status(t); st.Deaths != 3 || st.LastExit != "exit status 3" || s.starts() != 4 {
		t.Fatalf("status %+v after %d starts", st, s.starts())
	}
	p := s.find(t)
	must(t, p.end(Kill))
	waitFor(t, "a restart", func() bool { st := v.status(t); return st.Running && st.PID != p.PID })
	if st := v.status(t); st.Deaths != 4 || st.LastExit != "signal: killed" {
		t.Fatalf("status %+v", st)
	}
	must(t, v.Start(t.Context())) // begins to count anew
	if st := v.status(t); st.Deaths != 0 {
		t.Fatalf("status %+v", st)
	}
}

func TestBackOff(t *testing.T) {
	s := &Supervisor{quick: time.Minute, backoffMin: time.Second, backoffMax: 30 * time.Second}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if got := s.countDeath(time.Second); got != want*time.Second {
			t.Errorf("pause %d is %v", i, got)
		}
	}
	for range 100 {
		s.countDeath(0)
	}
	if got := s.countDeath(0); got != 30*time.Second {
		t.Errorf("pause is %v", got)
	}
	if got := s.countDeath(time.Hour); got != time.Second || s.deaths != 1 {
		t.Errorf("after a long life the pause is %v, deaths %d", got, s.deaths)
	}
}

// TestExitStatus16StartsAgain: RESTART ends mysqld with 16, at once and
// without a count.
func TestExitStatus16StartsAgain(t *testing.T) {
	s := newServer(t)
	s.plan(t, "exit 16", "serve")
	v := supervise(t, s.command, func(_ *supervision, s *Supervisor) { s.backoffMin, s.backoffMax = time.Hour, time.Hour })
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	if st := v.status(t); st.Deaths != 0 || st.LastExit != "exit status 16" {
		t.Fatalf("status %+v", st)
	}
}

func TestCleanShutdownStaysDown(t *testing.T) {
	s := newServer(t)
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	if at, why, err := v.Person(t.Context()); at || err != nil {
		t.Fatalf("while it runs: a person is at work: %s, %v", why, err)
	}
	must(t, s.find(t).end(Shutdown))
	waitFor(t, "its end", func() bool { return !v.status(t).Running })
	time.Sleep(200 * time.Millisecond) // longer than any pause before a start
	if st := v.status(t); st.Running || st.Held || st.Deaths != 0 || s.starts() != 1 {
		t.Fatalf("status %+v", st)
	}
	if at, why, err := v.Person(t.Context()); !at || why == "" || err != nil {
		t.Fatalf("a person who shut it down is not seen: %s, %v", why, err)
	}
	must(t, v.Start(t.Context()))
	if !v.status(t).Running {
		t.Fatal("not started")
	}
}

func TestSupervisorThatCannotStartTriesAgain(t *testing.T) {
	v := supervise(t, []string{"/no/such/mysqld"}, nil)
	waitFor(t, "deaths to be counted", func() bool { return v.status(t).Deaths >= 3 })
	if st := v.status(t); st.Running || !strings.Contains(st.LastExit, "no such file") {
		t.Fatalf("status %+v", st)
	}
	wantError(t, v.Start(t.Context()), nil, "no such file")
}

func TestSupervisorEndsWithItsServer(t *testing.T) {
	s := newServer(t)
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	pid := s.pid()
	must(t, v.stop())
	if alive(pid) || exists(s.id.PIDFile) || exists(v.Socket) {
		t.Fatal("the server was not shut down cleanly, or the socket is left")
	}
	if _, err := v.Status(t.Context()); err == nil {
		t.Fatal("the supervisor still answers")
	}
}

func TestDeafServerIsKilledAtTheDeadline(t *testing.T) {
	s := newServer(t, "--deaf")
	v := supervise(t, s.command, func(_ *supervision, s *Supervisor) { s.o.StopTimeout = 100 * time.Millisecond })
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	p := s.find(t)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wantError(t, v.End(short, p, Shutdown), context.DeadlineExceeded, "end mysqld")
	if st := v.status(t); !st.Running || !st.Held {
		t.Fatalf("status %+v", st)
	}
	wantError(t, v.Start(t.Context()), nil, "being ended")
	must(t, v.stop())
	if alive(p.PID) {
		t.Fatal("still there")
	}
}

func TestImpatientShutdownThenKill(t *testing.T) {
	s := newServer(t, "--deaf")
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	p := s.find(t)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := v.End(short, p, Shutdown); err == nil {
		t.Fatal("a deaf server shut down")
	}
	must(t, v.End(t.Context(), p, Kill))
	if alive(p.PID) || !v.status(t).Held {
		t.Fatal("still there, or not held")
	}
}

// TestStartAfterCancelledStop lifts the hold of a server that was never ended.
func TestStartAfterCancelledStop(t *testing.T) {
	s := newServer(t)
	v := supervise(t, s.command, nil)
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	pid := s.pid()
	must(t, v.Hold(t.Context()))
	must(t, v.Start(t.Context()))
	if st := v.status(t); !st.Running || st.Held || st.PID != pid {
		t.Fatalf("status %+v", st)
	}
}

func TestSupervisorSocketIsABoundary(t *testing.T) {
	s := newServer(t)
	v := supervise(t, s.command, nil)
	var st unix.Stat_t
	must(t, unix.Lstat(v.Socket, &st))
	if st.Mode&0o777 != 0o600 || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		t.Fatalf("the socket has mode %o", st.Mode)
	}
	second, err := NewSupervisor(SupervisorOptions{
		Command: s.command, Socket: v.Socket, Guard: v.guard.ask, StopTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	wantError(t, second.Run(t.Context()), nil, "another supervisor runs")
	_ = v.status(t) // the first still answers
	if os.Geteuid() != 0 {
		return // the rest needs a second user
	}
	must(t, os.Chmod(v.Socket, 0o666))
	for dir := filepath.Dir(v.Socket); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	caller := exec.Command(filepath.Join(base, "mysqld"), "as-caller", v.Socket)
	caller.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: daemon, Gid: daemon}}
	if line := readLine(t, caller); !strings.Contains(line, "only root") {
		t.Fatalf("another user was answered: %s", line)
	}
}

// TestKilledSupervisorTakesItsServerAlong: no server is left that nobody
// manages, even though it runs as another user.
func TestKilledSupervisorTakesItsServerAlong(t *testing.T) {
	s := newServer(t)
	pid := killSupervisor(t, s)
	waitFor(t, "the server to die with its supervisor", func() bool { reapOrphans(); return !alive(pid) })
}

func TestSupervisorEndsOnSIGTERM(t *testing.T) {
	s := newServer(t)
	cmd := startSupervisor(t, s)
	pid := s.pid()
	must(t, cmd.Process.Signal(unix.SIGTERM))
	must(t, cmd.Wait())
	if alive(pid) || exists(s.id.PIDFile) {
		t.Fatal("the server was not shut down")
	}
}

// TestLeftOverServerIsNotEnded: a process that is not the supervisor's child
// is nobody's to end, also while there is no child.
func TestLeftOverServerIsNotEnded(t *testing.T) {
	s := newServer(t)
	cmd := s.run(t)
	v := supervise(t, s.command, func(v *supervision, _ *Supervisor) { v.guard.refuse.Store(true) })
	wantError(t, v.End(t.Context(), s.find(t), Kill), ErrOtherProcess, "no mysqld runs here")
	if !alive(cmd.Process.Pid) || v.status(t).Held {
		t.Fatal("ended or held")
	}
}

// killSupervisor runs a supervisor of its own for s, kills it once the server
// runs, and returns the server's pid.
func killSupervisor(t *testing.T, s *server) int {
	t.Helper()
	cmd := startSupervisor(t, s)
	pid := s.pid()
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	return pid
}

// startSupervisor runs a supervisor of its own, with its server.
func startSupervisor(t *testing.T, s *server) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(base, "mysqld"), append([]string{"as-supervisor", filepath.Join(t.TempDir(), "s.sock")}, s.command...)...)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	waitFor(t, "the server", func() bool { return s.pid() != 0 })
	return cmd
}

// reapOrphans collects the orphans that came to the test process. No other
// child of it has ended unreaped where this is called.
func reapOrphans() {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if stat, err := readStat(pid); err == nil && stat.parent == os.Getpid() && stat.state == 'Z' {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

func TestNewSupervisorChecksItsOptions(t *testing.T) {
	good := SupervisorOptions{Command: []string{"/x"}, Socket: "/s", Guard: (&guard{}).ask, StopTimeout: 1, Logger: slog.New(slog.DiscardHandler)}
	for name, spoil := range map[string]func(*SupervisorOptions){
		"no command": func(o *SupervisorOptions) { o.Command = nil },
		"relative":   func(o *SupervisorOptions) { o.Command = []string{"mysqld"} },
		"no socket":  func(o *SupervisorOptions) { o.Socket = "" },
		"no guard":   func(o *SupervisorOptions) { o.Guard = nil },
		"no timeout": func(o *SupervisorOptions) { o.StopTimeout = 0 },
		"no logger":  func(o *SupervisorOptions) { o.Logger = nil },
	} {
		o := good
		spoil(&o)
		if _, err := NewSupervisor(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRunAs(t *testing.T) {
	for want, words := range map[string][]string{
		"":       {"mysqld", "--port=1"},
		"daemon": {"mysqld", "--user=mysql", "--user", "daemon"},
		"1":      {"mysqld", "-u", "1"},
		"mysql":  {"mysqld", "-umysql"},
	} {
		if got := userOption(words); got != want {
			t.Errorf("%v: %q", words, got)
		}
	}
	cred, err := RunAs([]string{"mysqld", "--user=daemon"})
	must(t, err)
	if os.Geteuid() == 0 && (cred == nil || cred.Uid != daemon || cred.Gid != daemon) {
		t.Errorf("credential %+v", cred)
	}
	if os.Geteuid() != 0 {
		if cred != nil {
			t.Errorf("credential %+v although not root", cred)
		}
		return
	}
	if _, err := RunAs([]string{"mysqld", "--user=no-such-user"}); err == nil {
		t.Error("an unknown user gave no error")
	}
}
