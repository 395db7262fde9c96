package private

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"resilver/watchdog/replica"
)

const (
	uuidA = "aaaaaaaa-0000-0000-0000-000000000001"
	uuidB = "bbbbbbbb-0000-0000-0000-000000000002"
)

// staged makes a staged copy of a new datadir, and the live server's option
// file with every path somewhere in live.
func staged(t *testing.T) (o RehearseOptions, live string) {
	t.Helper()
	options := withTemplate(t, newArea(t, ""))
	live = filepath.Join(filepath.Dir(options.Area), filepath.Base(options.Area)+"-live")
	t.Cleanup(func() { _ = os.RemoveAll(live) })
	for _, dir := range []string{live, live + "/logs"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, int(options.Program.UID), int(options.Program.GID)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"logs/binlog.000001", "logs/relay.000001"} {
		if err := os.WriteFile(filepath.Join(live, name), []byte("precious"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(live+"/logs/binlog.index", []byte(live+"/logs/binlog.000001\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(`[mysqld]
datadir=LIVE
socket=LIVE/mysqld.sock
pid-file=LIVE/mysqld.pid
log-error=LIVE/logs/error.log
log-bin=LIVE/logs/binlog
relay-log=LIVE/logs/relay
tmpdir=LIVE
innodb-tmpdir=LIVE
innodb-undo-directory=LIVE
innodb-log-group-home-dir=LIVE
innodb-data-home-dir=LIVE
innodb-doublewrite-dir=LIVE
innodb-directories=LIVE
innodb-temp-tablespaces-dir=LIVE/logs
general-log=ON
general-log-file=LIVE/logs/general.log
slow-query-log=ON
slow-query-log-file=LIVE/logs/slow.log
init-file=LIVE/init.sql
daemonize
event-scheduler=ON
gtid-mode=ON
enforce-gtid-consistency=ON
super-read-only=ON
innodb-buffer-pool-size=2G
innodb-dedicated-server=ON
innodb-force-recovery=1
skip-networking=OFF
port=33067
admin-address=127.0.0.1
admin-port=33068
secure-file-priv=
`, "LIVE", live)
	for name, value := range libraryPaths(options.Program.Prefix[0]) {
		if value != "" {
			text += name + "=" + value + "\n"
		}
	}
	if err := os.WriteFile(live+"/my.cnf", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(live+"/init.sql", []byte("CREATE DATABASE from_init_file;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	options.Program.Args = []string{"--defaults-file=" + live + "/my.cnf", "--daemonize", "--init-file=" + live + "/init.sql"}
	o = RehearseOptions{Options: options, Datadir: filepath.Join(options.Area, "new"), Connect: asRoot(t)}
	templates, err := filepath.Glob(options.Area + "/template-*")
	if err != nil || len(templates) != 1 {
		t.Fatalf("templates: %v, %v", templates, err)
	}
	if out, err := exec.Command("cp", "-a", templates[0], o.Datadir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	return o, live
}

// TestInvariant16RehearsalTouchesNothingLive: booted with option files in which every
// path is the live server's, it opens none of them (R1, invariant 16).
func TestInvariant16RehearsalTouchesNothingLive(t *testing.T) {
	o, live := staged(t)
	before := listing(t, live)
	s, err := Rehearsal(t.Context(), o.Options, o.Datadir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	db, err := asRoot(t)(s.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Disconnect() }()
	obs := db.Observe(t.Context())
	t.Logf("server: mysql %s", obs.Version)
	if obs.SuperReadOnly || obs.ReadOnly || obs.OfflineMode || obs.LogBin {
		t.Errorf("super_read_only %v, read_only %v, offline_mode %v, log_bin %v", obs.SuperReadOnly, obs.ReadOnly, obs.OfflineMode, obs.LogBin)
	}
	for _, fd := range openFiles(t, s.pid) {
		if strings.HasPrefix(fd, live) {
			t.Errorf("it has %s open", fd)
		}
	}
	paths, err := db.Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range paths {
		if strings.Contains(value, live) {
			t.Errorf("%s is %s", name, value)
		}
	}
	if err := db.RestoreGTIDs(t.Context(), uuidA+":1-3"); err != nil {
		t.Error(err)
	}
	if n := listening(t, s.pid); n != 0 {
		t.Errorf("it listens on %d TCP sockets", n)
	}
	if err := db.Disconnect(); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if now := listing(t, live); !slices.Equal(now, before) {
		t.Errorf("live files changed:\n%v\n%v", before, now)
	}
	for _, name := range []string{"from_init_file", "binlog.index", "binlog.000001"} {
		if _, err := os.Lstat(filepath.Join(o.Datadir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is in the copy: %v", name, err)
		}
	}
}

// listing is every file of a directory with size and time.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			out = append(out, fmt.Sprintf("%s %d %s", path, info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func openFiles(t *testing.T, pid int) []string {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			out = append(out, to)
		}
	}
	return out
}

// listening counts the process's own listening TCP sockets.
func listening(t *testing.T, pid int) int {
	t.Helper()
	own := openFiles(t, pid)
	n := 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && slices.Contains(own, "socket:["+f[9]+"]") {
				n++
			}
		}
	}
	return n
}

// TestRehearse follows one copy through the cases of the GTID rule.
func TestRehearse(t *testing.T) {
	o, _ := staged(t)
	rehearse := func(reported, donor string) (Rehearsed, error) {
		o.Reported, o.DonorExecuted = reported, donor
		return Rehearse(t.Context(), o)
	}
	if _, err := rehearse("", uuidA+":1-10"); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty copy: %v", err)
	}
	got, err := rehearse(uuidA+":1-40,"+uuidB+":x:1-2", "")
	if err != nil || !got.Restored || !strings.Contains(got.Executed, uuidA+":1-40") || !strings.Contains(got.Executed, "x:1-2") {
		t.Fatalf("less than reported: %+v, %v", got, err)
	}
	if v, ok := got.Persisted["super_read_only"]; v != nil || !ok {
		t.Errorf("persisted before: %v", got.Persisted)
	}
	// Closed by mysqld-auto.cnf, and yet the next rehearsal can write: it does
	// not load that file.
	got, err = rehearse("", got.Executed)
	if err != nil || got.Restored {
		t.Fatalf("as the donor: %+v, %v", got, err)
	}
	if v := got.Persisted["super_read_only"]; v == nil || *v != "ON" {
		t.Errorf("persisted before: %v", got.Persisted)
	}
	if _, err := rehearse("", uuidA+":1-39"); err == nil || !strings.Contains(err.Error(), "more than the donor's") {
		t.Errorf("more than the donor: %v", err)
	}
	if n, err := EndOrphans(o.Area); n != 0 || err != nil {
		t.Errorf("orphans: %d, %v", n, err)
	}
}

func TestRehearseSaysWhyItFails(t *testing.T) {
	o, _ := staged(t)
	// The account is not in the copy.
	o.Connect = func(socket string) (*replica.Server, error) {
		return replica.Open(replica.Options{Socket: socket, User: "resilver", Timeout: 5 * time.Second, Logger: o.Logger})
	}
	if _, err := Rehearse(t.Context(), o); !errors.Is(err, replica.ErrDenied) || !strings.Contains(err.Error(), "account") {
		t.Errorf("no account: %v", err)
	}
	// Files of another user (X19): only root can make such a copy.
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(o.Datadir, "ibdata1"), 0, 0); err != nil {
			t.Fatal(err)
		}
		_, err := Rehearse(t.Context(), o)
		var fault *Fault
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), "ibdata1") || strings.Contains(err.Error(), "\n") {
			t.Errorf("a file of root's: %v", err)
		}
		t.Log(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Rehearse(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no time: %v", err)
	}
	o.Datadir = "/var/lib/mysql"
	if _, err := Rehearse(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not in the staging area") {
		t.Errorf("the live datadir: %v", err)
	}
}
