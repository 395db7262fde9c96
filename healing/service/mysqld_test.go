package service

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"resilver/healing/datadir"
)

// mysqldProgram finds a real server: the one that the project fetched, or the
// machine's. There is always one, or the tests fail.
func mysqldProgram(t *testing.T) (program string, options []string) {
	t.Helper()
	root, err := filepath.Abs("../../.servers")
	must(t, err)
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real // in a folder that mysqld's user can enter
	}
	root = filepath.Join(root, "mysql")
	program = filepath.Join(root, "bin", "mysqld")
	if exists(program) {
		share := filepath.Join(root, "root", "usr", "share", "mysql")
		return program, []string{"--lc-messages-dir=" + share, "--character-sets-dir=" + filepath.Join(share, "charsets"),
			"--plugin-dir=" + filepath.Join(root, "root", "usr", "lib", "mysql", "plugin")}
	}
	program, err = exec.LookPath("mysqld")
	if err != nil {
		t.Fatal("no mysqld: neither on PATH nor in .servers; `make lab` gets one")
	}
	return program, nil
}

// newMySQL initialises a real server that is not started yet.
func newMySQL(t *testing.T) *server {
	t.Helper()
	program, options := mysqldProgram(t)
	dir, err := os.MkdirTemp(base, "my")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	run := filepath.Join(dir, "run")
	s := &server{datadir: filepath.Join(dir, "data")}
	for _, path := range []string{s.datadir, run} {
		must(t, os.Mkdir(path, 0o750))
		if os.Geteuid() == 0 {
			must(t, os.Chown(path, daemon, daemon))
		}
	}
	s.id = Identify{Datadir: s.datadir, Socket: filepath.Join(run, "m.sock"), PIDFile: filepath.Join(run, "m.pid")}
	log := filepath.Join(run, "error.log")
	s.command = append([]string{program, "--no-defaults", "--datadir=" + s.datadir}, options...)
	if os.Geteuid() == 0 {
		s.command = append(s.command, "--user=daemon")
	}
	s.command = append(s.command, "--log-error="+log, "--innodb-buffer-pool-size=5M", "--innodb-redo-log-capacity=8M",
		"--performance-schema=OFF", "--secure-file-priv=", "--mysqlx=OFF")
	cred, err := RunAs(s.command)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	initialize := exec.CommandContext(ctx, s.command[0], append(s.command[1:], "--initialize-insecure")...)
	initialize.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred}
	if out, err := initialize.CombinedOutput(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("initialize: %v\n%s%s", err, out, text)
	}
	s.command = append(s.command, "--skip-networking", "--skip-log-bin", "--socket="+s.id.Socket, "--pid-file="+s.id.PIDFile)
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("error log:\n%s", text)
		}
	})
	return s
}

// open waits until the server answers and returns a connection to it.
func (s *server) open(t *testing.T) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.Logger = "root", "unix", s.id.Socket, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	must(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	waitFor(t, "mysqld to answer", func() bool { return db.PingContext(t.Context()) == nil })
	return db
}

// TestRealMySQL has one real server under the supervisor, under the supervisor
// and a lock, and under a manager's commands, one after the other.
func TestRealMySQL(t *testing.T) {
	s := newMySQL(t)
	t.Run("supervised", func(t *testing.T) { realSupervised(t, s) })
	t.Run("locked", func(t *testing.T) { realLocked(t, s) })
	t.Run("commanded", func(t *testing.T) { realCommanded(t, s) })
}

func realSupervised(t *testing.T, s *server) {
	v := supervise(t, s.command, nil)
	db := s.open(t)
	var version string
	must(t, db.QueryRowContext(t.Context(), "SELECT CONCAT(VERSION(), ' ', @@version_comment)").Scan(&version))
	t.Log("server: mysql", version)

	p := s.find(t)
	program, err := p.Program()
	must(t, err)
	if st := v.status(t); st.PID != p.PID {
		t.Fatalf("found %d, status %+v", p.PID, st)
	}
	var inUse *datadir.InUseError
	if _, err := datadir.LockSystemTablespace(s.datadir); !errors.As(err, &inUse) || inUse.PID != p.PID {
		t.Fatalf("lock a running server's tablespace: %v, want process %d in the way", err, p.PID)
	}
	if base := filepath.Base(program.Prefix[len(program.Prefix)-1]); base != "mysqld" || program.Args[0] != "--no-defaults" {
		t.Fatalf("program %+v", program)
	}
	if os.Geteuid() == 0 && p.UID != daemon {
		t.Fatalf("it runs as %d", p.UID)
	}

	// RESTART is refused where mysqld does not know its supervisor.
	_, err = db.ExecContext(t.Context(), "RESTART")
	must(t, err)
	waitFor(t, "a new process", func() bool { st := v.status(t); return st.Running && st.PID != p.PID })
	if st := v.status(t); st.Deaths != 0 || st.LastExit != "exit status 16" {
		t.Fatalf("after RESTART: %+v", st)
	}
	_ = s.open(t)

	// R17: killed, reaped, its socket gone, and the next one boots at once.
	p = s.find(t)
	begun := time.Now()
	must(t, v.End(t.Context(), p, Kill))
	t.Log("killed, reaped and swept in", time.Since(begun))
	s.checkGone(t, p)
	v.guard.refuse.Store(true)
	wantError(t, v.Start(t.Context()), ErrRefused, "a rebuild is under way")
	v.guard.refuse.Store(false)
	must(t, v.Start(t.Context()))
	_ = s.open(t)

	p = s.find(t)
	must(t, v.stop())
	s.checkGone(t, p)
	if !strings.Contains(s.errorLog(), "Shutdown complete") {
		t.Error("the last shutdown was not clean")
	}
}

// realLocked starts a server on a locked and marked datadir: it does not boot
// before the lock is gone.
func realLocked(t *testing.T, s *server) {
	d, err := datadir.Inspect(s.datadir)
	must(t, err)
	must(t, datadir.Mark(d.Path, "a test"))
	unlock, err := datadir.LockSystemTablespace(d.Path)
	must(t, err)
	v := supervise(t, s.command, nil)
	waitFor(t, "InnoDB to meet the lock", func() bool { return strings.Contains(s.errorLog(), "Unable to lock ./ibdata1") })
	p, err := openProcess(v.status(t).PID)
	must(t, err)
	defer p.Close()
	must(t, v.End(t.Context(), p, Kill))
	must(t, unlock())
	must(t, v.Start(t.Context()))
	_ = s.open(t)
	must(t, datadir.Unmark(d.Path))
	must(t, v.stop())

	// The supervisor's own death.
	pid := killSupervisor(t, s)
	waitFor(t, "mysqld to die with its supervisor", func() bool { reapOrphans(); return !alive(pid) })
}

func realCommanded(t *testing.T, s *server) {
	c, dir := newCommand(t, s)
	must(t, c.Start(t.Context()))
	_ = s.open(t)
	p := s.find(t)
	must(t, c.End(t.Context(), p, Kill))
	s.checkGone(t, p)
	must(t, c.Start(t.Context()))
	_ = s.open(t)
	if pid := managedPID(dir); pid == p.PID || pid != s.pid() {
		t.Fatalf("runs as %d, pid file %d", pid, s.pid())
	}
	p = s.find(t)
	must(t, c.End(t.Context(), p, Shutdown))
	s.checkGone(t, p)
}

func (s *server) errorLog() string {
	text, _ := os.ReadFile(filepath.Join(filepath.Dir(s.id.Socket), "error.log"))
	return string(text)
}

// checkGone wants no trace of a process that was ended.
func (s *server) checkGone(t *testing.T, p *Process) {
	t.Helper()
	if alive(p.PID) || exists(s.id.Socket) || exists(s.id.Socket+".lock") {
		t.Fatal("something is left")
	}
	if _, err := FindProcess(t.Context(), s.id); !errors.Is(err, ErrNotRunning) {
		t.Fatalf("after the end: %v", err)
	}
}
