package service

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func isError(err, kind error) bool { return errors.Is(err, kind) }

// TestX5WitnessesMustAgree: X5, at least two witnesses name the process and
// none another one.
func TestX5WitnessesMustAgree(t *testing.T) {
	blind := errors.New("no right")
	lock := func(pid int) witness { return witness{name: "lock on the datadir", pid: pid} }
	socket := func(pid int) witness { return witness{name: "socket", pid: pid} }
	file := func(pid int) witness { return witness{name: pidFileName, pid: pid} }
	for name, c := range map[string]struct {
		all     []witness
		foreign bool // the process of the pid file works elsewhere
		pid     int
		kind    error
	}{
		"all three":                    {all: []witness{lock(7), socket(7), file(7)}, pid: 7},
		"socket and lock":              {all: []witness{lock(7), socket(7), file(0)}, pid: 7},
		"socket and pid file":          {all: []witness{lock(0), socket(7), file(7)}, pid: 7},
		"shutting down":                {all: []witness{lock(7), socket(0), file(7)}, pid: 7},
		"third cannot tell":            {all: []witness{lock(7), {name: "socket", unknown: blind}, file(7)}, pid: 7},
		"pid file of another":          {all: []witness{lock(7), socket(7), file(8)}, kind: ErrUnsure},
		"socket of another":            {all: []witness{lock(7), socket(8)}, kind: ErrUnsure},
		"all differ":                   {all: []witness{lock(7), socket(8), file(9)}, kind: ErrUnsure},
		"only the lock":                {all: []witness{lock(7), socket(0), file(0)}, kind: ErrUnsure},
		"only the socket":              {all: []witness{lock(0), socket(7)}, kind: ErrUnsure},
		"only the pid file":            {all: []witness{lock(0), socket(0), file(7)}, kind: ErrUnsure},
		"pid file outlived its server": {all: []witness{lock(0), socket(0), file(7)}, foreign: true, kind: ErrNotRunning},
		"nobody":                       {all: []witness{lock(0), socket(0), file(0)}, kind: ErrNotRunning},
		"nobody, one cannot tell":      {all: []witness{{name: "lock on the datadir", unknown: blind}, socket(0)}, kind: ErrUnsure},
		"one, one cannot tell":         {all: []witness{{name: "lock on the datadir", unknown: blind}, socket(7)}, kind: ErrUnsure},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // in either order
				pid, err := agree(c.all, func(int) bool { return !c.foreign })
				if pid != c.pid || !errors.Is(err, c.kind) || (c.kind == nil) != (err == nil) {
					t.Fatalf("verdict %d, %v", pid, err)
				}
				slices.Reverse(c.all)
			}
		})
	}
}

func TestFindProcess(t *testing.T) {
	s := newServer(t)
	if _, err := FindProcess(t.Context(), s.id); !errors.Is(err, ErrNotRunning) {
		t.Fatalf("before the start: %v", err)
	}
	cmd := s.run(t)
	p := s.find(t)
	if p.PID != cmd.Process.Pid || !slices.Equal(p.Args, s.command) || !slices.Equal(p.Sockets, []string{s.id.Socket}) {
		t.Fatalf("found %+v", p)
	}
	if os.Geteuid() == 0 && (p.UID != daemon || p.GID != daemon) {
		t.Errorf("it runs as %d:%d", p.UID, p.GID)
	}
	program, err := p.Program()
	must(t, err)
	if !slices.Equal(program.Prefix, s.command[:1]) || !slices.Equal(program.Args, s.command[1:]) {
		t.Errorf("program %+v", program)
	}
	// A similar server, one trace of which is mistaken for ours.
	other := newServer(t)
	other.run(t)
	for name, id := range map[string]Identify{
		"socket":   {Datadir: s.datadir, Socket: other.id.Socket, PIDFile: s.id.PIDFile},
		"pid file": {Datadir: s.datadir, Socket: s.id.Socket, PIDFile: other.id.PIDFile},
		"datadir":  {Datadir: other.datadir, Socket: s.id.Socket, PIDFile: s.id.PIDFile},
	} {
		if p, err := FindProcess(t.Context(), id); !errors.Is(err, ErrUnsure) {
			t.Errorf("wrong %s: %v, %v", name, p, err)
		}
	}
	must(t, os.WriteFile(s.id.PIDFile, []byte("soon\n"), 0o644))
	two := s.find(t) // the other two are enough
	if two.PID != p.PID {
		t.Errorf("found %d", two.PID)
	}
	for name, id := range map[string]Identify{
		"empty":        {},
		"no datadir":   {Socket: s.id.Socket, PIDFile: s.id.PIDFile},
		"only datadir": {Datadir: s.datadir},
	} {
		if _, err := FindProcess(t.Context(), id); err == nil {
			t.Errorf("%s: found", name)
		}
	}
}

// TestFindProcessByItsHome: the lock is looked for where the system tablespace
// lies; without it socket or pid file alone would be no proof.
func TestFindProcessByItsHome(t *testing.T) {
	s := newServer(t)
	home := filepath.Join(filepath.Dir(s.datadir), "home")
	space := filepath.Join(s.datadir, "ibdata1")
	must(t, os.Mkdir(home, 0o755))
	must(t, os.Rename(space, filepath.Join(home, "ibdata1")))
	must(t, os.Symlink(filepath.Join(home, "ibdata1"), space)) // the way there for the fake server
	cmd := s.run(t)
	must(t, os.Remove(space))
	for _, id := range []Identify{
		{Datadir: s.datadir, Home: home, Socket: s.id.Socket},
		{Datadir: s.datadir, Home: home, PIDFile: s.id.PIDFile},
	} {
		p, err := FindProcess(t.Context(), id)
		must(t, err)
		if p.PID != cmd.Process.Pid {
			t.Errorf("found %d, want %d", p.PID, cmd.Process.Pid)
		}
		must(t, p.Close())
		id.Home = ""
		if _, err := FindProcess(t.Context(), id); !errors.Is(err, ErrUnsure) {
			t.Errorf("without its home: %v", err)
		}
	}
	if _, err := FindBooting(cmd.Process.Pid+1, s.datadir, home); !errors.Is(err, ErrUnsure) {
		t.Errorf("another process holds the lock: %v", err)
	}
	for value, want := range map[string]string{"": "/d", "./": "/d", "/h/": "/h", "../h": "/h"} {
		if got := HomeOf("/d/", map[string]string{"innodb_data_home_dir": value}); got != want {
			t.Errorf("innodb_data_home_dir=%s: %s, want %s", value, got, want)
		}
	}
}

// TestFindProcessAfterAReboot: a pid file that is left over names an unrelated
// process; a left-over socket nobody.
func TestFindProcessAfterAReboot(t *testing.T) {
	s := newServer(t)
	must(t, os.WriteFile(s.id.PIDFile, []byte(strconv.Itoa(os.Getpid())), 0o644))
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.id.Socket, Net: "unix"})
	must(t, err)
	lis.SetUnlinkOnClose(false)
	must(t, lis.Close())
	if _, err := FindProcess(t.Context(), s.id); !errors.Is(err, ErrNotRunning) {
		t.Fatalf("left-over traces: %v", err)
	}
	must(t, os.WriteFile(s.id.PIDFile, []byte("1\n"), 0o644))
	if _, err := FindProcess(t.Context(), s.id); !errors.Is(err, ErrUnsure) {
		t.Fatalf("a pid file that holds 1: %v", err)
	}
}

// TestR17ZombieIsNotGone: R17, a process is gone when it is reaped.
func TestR17ZombieIsNotGone(t *testing.T) {
	s := newServer(t)
	cmd := s.run(t)
	p := s.find(t)
	must(t, p.end(Kill))
	waitFor(t, "the process to end", func() bool {
		stat, err := readStat(p.PID)
		return err == nil && stat.state == 'Z'
	})
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantError(t, p.Gone(short), context.DeadlineExceeded, "its parent "+strconv.Itoa(os.Getpid())+" does not reap it")
	_ = cmd.Wait()
	must(t, p.Gone(t.Context()))
	must(t, p.end(Kill)) // ended already is fine, and hits nobody else
}

func TestGoneHasADeadline(t *testing.T) {
	s := newServer(t)
	s.run(t)
	p := s.find(t)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantError(t, p.Gone(short), context.DeadlineExceeded, "to end")
}

func TestSplitProgram(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		prefix int
	}{
		"plain":   {[]string{"/usr/sbin/mysqld", "--user=mysql"}, 1},
		"loader":  {[]string{"/r/ld-linux-x86-64.so.2", "--library-path", "/r/lib/mysql", "/r/usr/sbin/mysqld", "--port=1"}, 4},
		"mariadb": {[]string{"/usr/sbin/mariadbd"}, 1},
		"none":    {[]string{"/usr/bin/mysqld_safe", "--mysqld=x"}, 0},
		"empty":   {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := SplitProgram(c.args)
			if c.prefix == 0 {
				if err == nil {
					t.Fatalf("split into %+v", p)
				}
				return
			}
			must(t, err)
			if !slices.Equal(p.Prefix, c.args[:c.prefix]) || !slices.Equal(p.Args, c.args[c.prefix:]) {
				t.Fatalf("split into %+v", p)
			}
		})
	}
}

// TestR17SocketsAreRemoved: only what the dead server left, and only if nobody
// uses it.
func TestR17SocketsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.sock")
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	lis.SetUnlinkOnClose(false)
	must(t, os.WriteFile(path+".lock", []byte("4711\n"), 0o600))
	p := &Process{PID: 4711, Sockets: []string{path}}
	wantError(t, p.removeSockets(t.Context()), nil, "a process listens")
	if !exists(path) || !exists(path+".lock") {
		t.Fatal("removed a socket in use")
	}
	must(t, lis.Close())
	must(t, os.WriteFile(path+".lock", []byte("4712\n"), 0o600))
	must(t, p.removeSockets(t.Context()))
	if exists(path) || !exists(path+".lock") {
		t.Fatal("the socket is still there, or another server's lock file is gone")
	}
	must(t, os.WriteFile(path+".lock", []byte("4711\n"), 0o600))
	must(t, p.removeSockets(t.Context()))
	must(t, p.removeSockets(t.Context()))
	if exists(path + ".lock") {
		t.Fatal("the lock file is still there")
	}
	must(t, os.WriteFile(path, []byte("data"), 0o600))
	wantError(t, p.removeSockets(t.Context()), nil, "not a socket")
	must(t, os.Remove(path))
	must(t, unix.Mkfifo(path+".lock", 0o600)) // reading it does not hang
	must(t, p.removeSockets(t.Context()))
}
