package method

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// program writes a script that stands for a tool.
func program(t *testing.T, dir, name, script string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func physical(t *testing.T, tool Tool, dirs ...string) *Physical {
	t.Helper()
	p, err := newPhysical(tool, PhysicalOptions{Dirs: dirs, StallTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Each method says whether it fits, and why not.
func TestPhysicalFit(t *testing.T) {
	dir, none := t.TempDir(), t.TempDir()
	program(t, dir, "mariadb-backup", `echo "$0 based on MariaDB server 10.11.18-MariaDB debian-linux-gnu (x86_64)" >&2`)
	program(t, dir, "mbstream", "exit 0")
	program(t, dir, "xtrabackup", `echo "xtrabackup version 8.4.0-3 based on MySQL server 8.4.0 Linux (x86_64) (revision id: b7a39a1f)"`)
	program(t, dir, "xbstream", "exit 0")
	odd := t.TempDir()
	program(t, odd, "mariabackup", "echo hello")
	program(t, odd, "mbstream", "exit 0")
	program(t, odd, "xtrabackup", "echo no such option >&2; exit 3")
	program(t, odd, "xbstream", "exit 0")
	bare := t.TempDir()
	program(t, bare, "xtrabackup", "exit 0")
	for name, c := range map[string]struct {
		p    *Physical
		f    Facts
		says string // empty: it fits
	}{
		"mariabackup":     {physical(t, ToolMariabackup, none, dir), Facts{Flavor: "mariadb", VersionNumber: 101106}, ""},
		"xtrabackup":      {physical(t, ToolXtrabackup, dir), Facts{Flavor: "mysql", VersionNumber: 80405}, ""},
		"other flavour":   {physical(t, ToolMariabackup, dir), Facts{Flavor: "mysql", VersionNumber: 90704}, "for MariaDB, and this server is mysql"},
		"no flavour":      {physical(t, ToolXtrabackup, dir), Facts{}, "for MySQL, and this server is unknown"},
		"too old":         {physical(t, ToolMariabackup, dir), Facts{Flavor: "mariadb", VersionNumber: 100525}, "supported from MariaDB 10.6"},
		"missing":         {physical(t, ToolMariabackup, none), Facts{Flavor: "mariadb", VersionNumber: 101106}, "mariadb-backup is in none of"},
		"no unpacker":     {physical(t, ToolXtrabackup, bare), Facts{Flavor: "mysql", VersionNumber: 80405}, "xbstream is in none of"},
		"another version": {physical(t, ToolXtrabackup, dir), Facts{Flavor: "mysql", VersionNumber: 90704}, "of version 8.4, and the server of 9.7"},
		"says nonsense":   {physical(t, ToolMariabackup, odd), Facts{Flavor: "mariadb", VersionNumber: 101106}, "not understood"},
		"does not run":    {physical(t, ToolXtrabackup, odd), Facts{Flavor: "mysql", VersionNumber: 80405}, "no such option"},
	} {
		fits, why := c.p.Fit(t.Context(), c.f)
		if fits != (c.says == "") || !strings.Contains(why, c.says) {
			t.Errorf("%s: %v, %q", name, fits, why)
		}
	}
	if p := physical(t, ToolXtrabackup, dir); p.Name() != "xtrabackup" {
		t.Error(p.Name())
	}
}

// A program is asked once for as long as it is the same file.
func TestVersionIsAskedOnce(t *testing.T) {
	dir := t.TempDir()
	const says = `echo asked >> "$(dirname "$0")/asked"; echo "x based on MySQL server 8.4.7 Linux"`
	path := program(t, dir, "xtrabackup", says)
	var v versions
	for range 3 {
		if n, err := v.of(t.Context(), path); n != 80407 || err != nil {
			t.Fatal(n, err)
		}
	}
	program(t, dir, "xtrabackup", strings.Replace(says, "8.4.7", "8.4.10", 1))
	if n, err := v.of(t.Context(), path); n != 80410 || err != nil {
		t.Error(n, err)
	}
	if b, _ := os.ReadFile(dir + "/asked"); string(b) != "asked\nasked\n" {
		t.Errorf("asked: %q", b)
	}
	if _, err := v.of(t.Context(), dir+"/none"); err == nil {
		t.Error("no program, and a version")
	}
}

// Trap R24, and: the donor's command line comes from its own configuration; of a request only
// a number goes in, and only downwards.
func TestTrapR24BackupCommandLine(t *testing.T) {
	live := LiveServer{Flavor: "mariadb", Socket: "/run/s", OptionFiles: []string{"--defaults-file=/etc/my.cnf"}, Replica: true}
	own := BackupSettings{User: "mysql", Parallel: 4, Args: []string{"--throttle=50"}}
	got := argvOf(kinds[ToolMariabackup], "/b", own, live, BackupRequest{Parallel: 9})
	want := []string{"/b", "--defaults-file=/etc/my.cnf", "--backup", "--stream=mbstream", "--socket=/run/s",
		"--log-copy-interval=50", "--user=mysql", "--parallel=4", "--slave-info", "--throttle=50"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	live.Replica, live.OptionFiles = false, nil
	got = argvOf(kinds[ToolXtrabackup], "/x", own, live, BackupRequest{Parallel: 2})
	if want := []string{"/x", "--backup", "--stream=xbstream", "--socket=/run/s", "--user=mysql", "--parallel=2", "--throttle=50"}; !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	own = BackupSettings{}
	got = argvOf(kinds[ToolXtrabackup], "/x", own, live, BackupRequest{Parallel: 500})
	if want := []string{"/x", "--backup", "--stream=xbstream", "--socket=/run/s", "--user=root", "--parallel=64"}; !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	files := OptionFiles([]string{"--defaults-file=/a", "--user=mysql", "--no-defaults", "--defaults-extra-file=/b", "--no-defaults-x", "--defaults-group-suffix=_1"})
	if want := []string{"--defaults-file=/a", "--no-defaults", "--defaults-extra-file=/b", "--defaults-group-suffix=_1"}; !slices.Equal(files, want) {
		t.Errorf("option files %v", files)
	}
}

func TestCheckArgs(t *testing.T) {
	if err := CheckArgs([]string{"--throttle=50", "--ftwrl-wait-timeout=60", "--safe_slave_backup", "--kill-long-queries-timeout=20", "--skip-ssl"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "-p", "-psecret", "--password secret", "--loose-password secret", "x", "--", "--password=x", "--pass=x", "--stream=tar", "--str=tar", "--backup", "--prepare",
		"--tables=t.*", "--tables_exclude=x", "--databases", "--incremental", "--inc", "--compress", "--skip-backup", "--no-lock", "--target-dir=/", "--mysqld-args",
		"--defaults-file=/x", "--loose-stream=tar", "--encrypt=AES256", "--copy-back"} {
		if err := CheckArgs([]string{bad}); err == nil {
			t.Errorf("%q can be added", bad)
		}
	}
	for arg, want := range map[string]bool{"--safe-slave-backup": true, "--safe_slave_backup=1": true, "--throttle=1": false} {
		if stopsApplier([]string{arg}) != want {
			t.Error(arg)
		}
	}
}

func TestChildLog(t *testing.T) {
	l := &childLog{}
	for _, part := range []string{"[00] 2026-11-23 09:15:46 Connecting\n[01] 2026-11-23 09:15:46 Streaming ./t/errors.ibd to <STDOUT>\n",
		"[00] 2026-11-23 09:15:46 ", "Failed to connect to MariaDB server: ", "Access denied for user\n", strings.Repeat("x", 5000) + "\n",
		"2026-11-23  9:15:46 0 [ERROR] InnoDB: no\n\n", "2024-05-03T10:11:12.123456-00:00 0 [Note] [MY-011825] [Xtrabackup] failed to say"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := l.reason(), "Failed to connect to MariaDB server: Access denied for user; [ERROR] InnoDB: no"; got != want {
		t.Errorf("reason %q", got)
	}
	if got := l.last(); !strings.HasSuffix(got, "failed to say") {
		t.Errorf("last %q", got)
	}
	for range 100 {
		_, _ = l.Write([]byte("[00] 2026-11-23 09:15:46 line\n"))
	}
	if n := len(strings.Split(l.text(), "\n")); n > maxTail+1 {
		t.Errorf("%d lines kept", n)
	}
	if (&childLog{}).reason() != "" {
		t.Error("nothing was said")
	}
}

// A tool's success is its exit status and its own word, both.
func TestChildSucceeds(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ script, says string }{
		"ok":             {"echo '[00] 2026-11-23 09:15:46 completed OK!' >&2", ""},
		"fails at last":  {"echo 'completed OK!' >&2; exit 1", "exit status 1"},
		"says nothing":   {"exit 0", "without"},
		"says more":      {"echo 'completed OK!' >&2; echo 'error: not at all' >&2", "not at all"},
		"is killed":      {"kill -9 $$", "killed"},
		"does not start": {"", "no such file"},
	} {
		path := filepath.Join(dir, "none")
		if c.script != "" {
			path = program(t, dir, "tool", c.script)
		}
		child, err := startChild(childOptions{argv: []string{path}, uid: uint32(os.Geteuid())})
		if err == nil {
			err = child.succeeded(t.Context())
		}
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Trap R23: SIGTERM does nothing to it; its whole group is gone.
	path := program(t, dir, "tool", "trap '' TERM; sleep 1000 & sleep 1000")
	child, err := startChild(childOptions{argv: []string{path}, uid: uint32(os.Geteuid())})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("too late"))
	defer cancel()
	if err := child.wait(ctx); err == nil || !strings.Contains(err.Error(), "too late") {
		t.Error(err)
	}
}
