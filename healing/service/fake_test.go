package service

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// base is a directory that every user may enter, with a copy of the test
// binary in it under the name of mysqld: children run as another user.
var base string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "as-server":
			quit(fakeServer(os.Args[2:]))
		case "as-supervisor":
			quit(fakeSupervisor(os.Args[2:]))
		case "as-manager":
			quit(fakeManager(os.Args[2:]))
		case "as-caller":
			_, err := Supervised{Socket: os.Args[2]}.Status(context.Background())
			fmt.Println(err)
			quit(0)
		}
	}
	var err error
	if base, err = os.MkdirTemp("", "rsv"); err == nil {
		err = os.Chmod(base, 0o755)
	}
	if err == nil {
		err = copyProgram(filepath.Join(base, "mysqld"))
	}
	// Orphans of the tests come to us and not to a process 1 that may not reap.
	if err == nil {
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "set up:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(base)
		os.Exit(code)
	}))
}

// quit ends a child at once: at an ordinary exit the race detector waits for a
// second.
func quit(code int) {
	_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(code), 0, 0)
}

func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// fakeServer leaves the traces of a mysqld: lock, working directory, socket
// with its lock file, pid file. The first line of the file "plan" in its
// datadir says what this start does: "exit N", or "serve".
func fakeServer(args []string) int {
	f := flag.NewFlagSet("server", flag.ExitOnError)
	datadir := f.String("datadir", "", "")
	socket := f.String("socket", "", "")
	pidFile := f.String("pid-file", "", "")
	deaf := f.Bool("deaf", false, "")
	_ = f.String("user", "", "")
	_ = f.Parse(args)
	started, err := os.OpenFile(filepath.Join(*datadir, "starts"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 90
	}
	fmt.Fprintf(started, "%d parent=%s\n", os.Getpid(), os.Getenv("MYSQLD_PARENT_PID"))
	_ = started.Close()
	planFile := filepath.Join(*datadir, "plan")
	if plan, err := os.ReadFile(planFile); err == nil {
		first, rest, _ := strings.Cut(string(plan), "\n")
		_ = os.WriteFile(planFile, []byte(rest), 0o644)
		if code, ok := strings.CutPrefix(first, "exit "); ok {
			n, _ := strconv.Atoi(code)
			return n
		}
	}
	space, err := os.OpenFile(filepath.Join(*datadir, "ibdata1"), os.O_RDWR|os.O_CREATE, 0o640)
	if err == nil {
		err = unix.FcntlFlock(space.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err == nil {
		err = os.Chdir(*datadir)
	}
	var lis net.Listener
	if err == nil {
		lis, err = net.Listen("unix", *socket)
	}
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if err == nil {
		err = os.WriteFile(*socket+".lock", pid, 0o600)
	}
	stop := make(chan os.Signal, 1)
	if *deaf {
		signal.Ignore(unix.SIGTERM)
	} else {
		signal.Notify(stop, unix.SIGTERM)
	}
	if err == nil {
		err = os.WriteFile(*pidFile, pid, 0o644) // last: from now on it can be found
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 91
	}
	<-stop
	_ = lis.Close()
	_ = os.Remove(*socket + ".lock")
	_ = os.Remove(*pidFile)
	_ = space.Close()
	return 0
}

// fakeSupervisor is `resilver supervise`: a socket, then mysqld's command.
func fakeSupervisor(args []string) int {
	cred, err := RunAs(args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := NewSupervisor(SupervisorOptions{
		Command: args[1:], Credential: cred, Socket: args[0], StopTimeout: 30 * time.Second,
		Guard: func(context.Context) error { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// server is where one fake or real mysqld lives.
type server struct {
	id      Identify
	datadir string
	command []string
}

// daemon is the user that servers run as where the tests run as root.
const daemon = 1

func newServer(t *testing.T, extra ...string) *server {
	t.Helper()
	dir, err := os.MkdirTemp(base, "s")
	must(t, err)
	s := &server{datadir: filepath.Join(dir, "data")}
	must(t, os.Mkdir(s.datadir, 0o750))
	must(t, os.WriteFile(filepath.Join(s.datadir, "ibdata1"), nil, 0o640))
	run := filepath.Join(dir, "run")
	must(t, os.Mkdir(run, 0o755))
	must(t, os.Chmod(dir, 0o755))
	if os.Geteuid() == 0 {
		for _, path := range []string{s.datadir, filepath.Join(s.datadir, "ibdata1"), run} {
			must(t, os.Chown(path, daemon, daemon))
		}
	}
	s.id = Identify{Datadir: s.datadir, Socket: filepath.Join(run, "m.sock"), PIDFile: filepath.Join(run, "m.pid")}
	s.command = append([]string{filepath.Join(base, "mysqld"), "as-server", "--datadir=" + s.datadir,
		"--socket=" + s.id.Socket, "--pid-file=" + s.id.PIDFile, "--user=daemon"}, extra...)
	return s
}

func (s *server) plan(t *testing.T, lines ...string) {
	t.Helper()
	path := filepath.Join(s.datadir, "plan")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	if os.Geteuid() == 0 {
		must(t, os.Chown(path, daemon, daemon))
	}
}

// starts counts how often the fake server was started.
func (s *server) starts() int {
	data, _ := os.ReadFile(filepath.Join(s.datadir, "starts"))
	return strings.Count(string(data), "\n")
}

// run starts the server without a supervisor; the test is its parent.
func (s *server) run(t *testing.T) *exec.Cmd {
	t.Helper()
	cred, err := RunAs(s.command)
	must(t, err)
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred}
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	waitFor(t, "the server's pid file", func() bool { return s.pid() == cmd.Process.Pid })
	return cmd
}

func (s *server) pid() int {
	data, _ := os.ReadFile(s.id.PIDFile)
	n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return n
}

func (s *server) find(t *testing.T) *Process {
	t.Helper()
	p, err := FindProcess(t.Context(), s.id)
	must(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// waitFor polls a condition with a deadline.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func alive(pid int) bool {
	_, err := readStat(pid)
	return err == nil
}

func readLine(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Wait()
	return strings.TrimSpace(line)
}

func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("error is %v, wanted one with %q", err, text)
	}
	if kind != nil && !isError(err, kind) {
		t.Fatalf("error %v is not %v", err, kind)
	}
}
