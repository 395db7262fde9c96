package private

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func background() context.Context { return context.Background() }

func TestScratchLivesAndLeavesNothing(t *testing.T) {
	o := newArea(t, "")
	// A crash has left half a template, a scratch datadir, and a socket with
	// the lock of a process that lives (R17).
	withTemplate(t, o)
	work := filepath.Join(o.Area, "rehearse", "scratch")
	for _, dir := range []string{filepath.Join(o.Area, "template-1.half"), filepath.Join(o.Area, "scratch"), work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{filepath.Dir(work), work} {
		if err := os.Chown(dir, int(o.Program.UID), int(o.Program.GID)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(work+"/mysqld.sock.lock", []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		t.Fatal(err)
	}
	s := scratch(t, o)
	db, err := asRoot(t)(s.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Disconnect() }()
	obs := db.Observe(t.Context())
	t.Logf("server: mysql %s", obs.Version)
	if _, _, err := db.CloneProgress(t.Context()); err != nil {
		t.Errorf("clone progress cannot be read: %v", err)
	}
	if info, err := os.Stat("/proc/" + strconv.Itoa(s.pid)); err != nil || info.Sys().(*syscall.Stat_t).Uid != o.Program.UID {
		t.Errorf("process %d: %v, %v", s.pid, info, err)
	}
	if group, err := syscall.Getpgid(s.pid); err != nil || group != s.pid {
		t.Errorf("process group %d of %d, %v", group, s.pid, err)
	}
	if err := db.Disconnect(); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"scratch", "rehearse/scratch/" + recordName} {
		if _, err := os.Lstat(filepath.Join(o.Area, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

func TestLongPathGetsAShortSocket(t *testing.T) {
	o := withTemplate(t, newArea(t, strings.Repeat("long-directory-name/", 6)+"data.resilver"))
	s := scratch(t, o)
	if len(s.Socket()) > maxSocketPath {
		t.Fatalf("socket path %s", s.Socket())
	}
	info, err := os.Stat(filepath.Dir(s.Socket()))
	if err != nil || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != o.Program.UID {
		t.Errorf("the socket's directory: %v, %v", info, err)
	}
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Dir(s.Socket())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's directory is left: %v", err)
	}
}

func TestServerDiesWithItsSidecar(t *testing.T) {
	o := withTemplate(t, newArea(t, ""))
	sidecar, pid := heldScratch(t, o)
	if !alive(pid) {
		t.Fatal("no server")
	}
	if err := sidecar.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := sidecar.Wait(); err == nil {
		t.Error("the sidecar ended well")
	}
	// Its record is left. The server is dying at most: it is waited for.
	eventually(t, 10*time.Second, "server dying", func() bool { return !alive(pid) })
	if n, err := EndOrphans(o.Area); n != 0 || err != nil {
		t.Errorf("orphans: %d, %v", n, err)
	}
	scratch(t, o)
}

// A mysqld with file capabilities outlives its parent. Here it is one whose
// parent is somebody else.
func TestEndOrphans(t *testing.T) {
	o := withTemplate(t, newArea(t, ""))
	if n, err := EndOrphans(filepath.Join(o.Area, "none")); n != 0 || err != nil {
		t.Errorf("no area: %d, %v", n, err)
	}
	_, pid := heldScratch(t, o)
	record := filepath.Join(o.Area, "rehearse", "scratch", recordName)
	true_, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	var b birth
	if err := json.Unmarshal(true_, &b); err != nil || b.PID != pid {
		t.Fatalf("record %s, %v", true_, err)
	}
	forge := func(change func(*birth)) {
		f := b
		change(&f)
		text, _ := json.Marshal(f)
		if err := os.WriteFile(record, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever could write the record cannot have another process killed.
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()
	ticks, _, err := startTicks(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	forge(func(f *birth) { f.PID, f.Start = victim.Process.Pid, ticks })
	if n, err := EndOrphans(o.Area); n != 0 || err == nil {
		t.Errorf("a process elsewhere: %d, %v", n, err)
	}
	forge(func(f *birth) { f.PID, f.Start, f.Datadir = victim.Process.Pid, ticks, "/tmp" })
	if n, err := EndOrphans(o.Area); n != 0 || err == nil {
		t.Errorf("a datadir elsewhere: %d, %v", n, err)
	}
	for name, change := range map[string]func(*birth){
		"another birth": func(f *birth) { f.Start = "1" }, "another boot": func(f *birth) { f.Boot = "x" }, "init": func(f *birth) { f.PID = 1 },
	} {
		forge(change)
		if n, err := EndOrphans(o.Area); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if !alive(pid) || !alive(victim.Process.Pid) {
		t.Fatal("the wrong process was killed")
	}
	forge(func(*birth) {})
	if n, err := EndOrphans(o.Area); n != 1 || err != nil {
		t.Errorf("the orphan: %d, %v", n, err)
	}
	eventually(t, 10*time.Second, "orphan gone", func() bool { return !alive(pid) })
	if _, err := os.Lstat(record); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is left: %v", err)
	}
}

// stub is a program in mysqld's place.
func stub(t *testing.T, o Options, script string) launch {
	t.Helper()
	path := filepath.Join(o.Area, "stub")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := openWork(o.Area, roleScratch, filepath.Join(o.Area, "scratch"), o.Program)
	if err != nil {
		t.Fatal(err)
	}
	return launch{role: roleScratch, work: w, argv: []string{path}, boot: 500 * time.Millisecond, logger: o.Logger}
}

// TestGrandchildrenDie is trap P37: what a program leaves behind holds its
// output open, and must neither be waited for nor live on.
func TestGrandchildrenDie(t *testing.T) {
	o := newArea(t, "")
	pidFile := filepath.Join(o.Area, "grandchild")
	began := time.Now()
	_, err := boot(t.Context(), stub(t, o, "sleep 300 & echo $! > "+pidFile+"; echo '[ERROR] [MY-000001] [Server] no such thing'; exit 3\n"))
	var fault *Fault
	if !errors.As(err, &fault) || fault.Reason != "MY-000001 no such thing" || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "grandchild gone", func() bool { return !alive(pid) })
}

func TestInvariant14BootHasADeadline(t *testing.T) {
	o := newArea(t, "")
	_, err := boot(t.Context(), stub(t, o, "exec sleep 300\n"))
	if err == nil || !strings.Contains(err.Error(), "not ready within 500ms") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("lease lost")
	cancel(lost)
	if _, err = boot(ctx, stub(t, o, "exec sleep 300\n")); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
}

func TestShutdownThatHangsEndsInAKill(t *testing.T) {
	o := newArea(t, "")
	deaf := filepath.Join(o.Area, "deaf")
	s, err := run(stub(t, o, "trap '' TERM; echo > "+deaf+"; while :; do sleep 1; done\n"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "deaf to SIGTERM", func() bool { _, err := os.Stat(deaf); return err == nil })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if alive(s.pid) {
		t.Error("it lives")
	}
	if err := s.Wait(); err == nil {
		t.Error("a killed server ended well")
	}
}

func TestNoProgram(t *testing.T) {
	o := newArea(t, "")
	l := stub(t, o, "")
	l.argv = []string{filepath.Join(o.Area, "missing")}
	if _, err := boot(t.Context(), l); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []Options{{}, {Area: "relative"}, {Area: o.Area, BootTimeout: 1}, {Area: o.Area, BootTimeout: 1, Logger: o.Logger},
		{Area: o.Area, BootTimeout: 1, Logger: o.Logger, Program: Program{Prefix: []string{"mysqld"}}}} {
		if _, err := Scratch(t.Context(), bad, nil); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestWorkFollowsNoLink: the area belongs to mysqld's user, and root works in
// it.
func TestWorkFollowsNoLink(t *testing.T) {
	o := newArea(t, "")
	out := t.TempDir()
	if err := os.Symlink(out, filepath.Join(o.Area, "rehearse")); err != nil {
		t.Fatal(err)
	}
	if _, err := openWork(o.Area, roleScratch, o.Area, o.Program); err == nil {
		t.Error("a link in place of the work directory is followed")
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 0 {
		t.Errorf("something was made through the link: %v, %v", entries, err)
	}
}

func TestGreets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	answers := make(chan string, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, <-answers)
			_ = conn.Close()
		}
	}()
	for answer, want := range map[string]bool{"\x4a\x00\x00\x00\x0a9.7.4": true, "\x17\x00\x00\x00\xff\x10\x04Too many": false, "": false} {
		answers <- answer
		if got := greets(t.Context(), path); got != want {
			t.Errorf("%q: got %v", answer, got)
		}
	}
}
