package method_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"resilver/healing/method"
	"resilver/healing/private"
)

// standIn is a donor whose tool is a script; it may stop the applier.
func standIn(t *testing.T, script string, change func(*method.BackupOptions)) *donation {
	t.Helper()
	dir := place(t)
	script = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'based on MariaDB server 10.11.18' >&2; exit 0; fi\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "mariadb-backup"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	uid, gid := owner(t)
	return donate(t, method.LiveServer{Flavor: "mariadb", VersionNumber: 101118, UID: uid, GID: gid, Replica: true, Applying: true},
		func(o *method.BackupOptions) {
			o.Dirs = append([]string{dir}, o.Dirs...)
			o.Tools[method.ToolMariabackup] = method.BackupSettings{Args: []string{"--safe-slave-backup"}}
			if change != nil {
				change(o)
			}
		})
}

// endless writes for ever and ignores what the real tool ignores (R23).
const endless = "trap '' TERM HUP QUIT\ncat /dev/zero"

var anyRequest = method.BackupRequest{Tool: method.ToolMariabackup}

func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// A backup ends with its token, with its recipient, with the sidecar, and when
// nothing is taken: the tool is gone, and the applier looked after.
func TestTrapR23BackupEndsTheTool(t *testing.T) {
	var stale atomic.Bool
	for name, c := range map[string]struct {
		end  func(conn net.Conn, cancel func())
		says string
	}{
		"stale token":         {func(net.Conn, func()) { stale.Store(true) }, errStale.Error()},
		"recipient gone":      {func(conn net.Conn, _ func()) { _ = conn.Close() }, "the recipient closed the stream"},
		"sidecar stops":       {func(_ net.Conn, cancel func()) { cancel() }, "canceled"},
		"recipient is frozen": {func(net.Conn, func()) {}, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			stale.Store(false)
			d := standIn(t, endless, func(o *method.BackupOptions) {
				if name == "recipient is frozen" {
					o.Stall = 200 * time.Millisecond
				}
			})
			d.fence.Limit = rate.NewLimiter(1<<20, 64<<10)
			if name == "recipient is frozen" {
				d.fence.Limit = nil
			}
			d.fence.Check = func() error {
				if stale.Load() {
					return errStale
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			conn, err := d.openWith(ctx, anyRequest)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.CopyN(io.Discard, conn, 100<<10); err != nil {
				t.Fatal(err)
			}
			pid, err := recordedPID(d.state)
			if err != nil || !alive(pid) {
				t.Fatalf("the tool: %d, %v", pid, err)
			}
			c.end(conn, cancel)
			if name == "stale token" {
				go func() { _, _ = io.Copy(io.Discard, conn) }()
			}
			if err := d.served(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the donor: %v", err)
			}
			if alive(pid) {
				t.Error("the tool lives")
			}
			if entries, _ := os.ReadDir(d.state); len(entries) != 0 || d.restored != 1 {
				t.Errorf("left in the state directory: %v; restored %d times", entries, d.restored)
			}
		})
	}
}

// One backup at a time; what is refused is refused before anything runs.
func TestBackupAdmits(t *testing.T) {
	d := standIn(t, endless, nil)
	for name, c := range map[string]struct {
		req  method.BackupRequest
		says string
	}{
		"unknown tool":    {method.BackupRequest{Tool: "sh"}, "no tool that this node gives backups with"},
		"no tool":         {method.BackupRequest{}, "no tool that this node gives backups with"},
		"not this node's": {method.BackupRequest{Tool: method.ToolXtrabackup}, "no tool that this node gives backups with"},
	} {
		if _, err := d.backups.Admit(t.Context(), c.req, d.fence); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := d.fence
	bad.Check = func() error { return errStale }
	if _, err := d.backups.Admit(t.Context(), anyRequest, bad); !errors.Is(err, errStale) {
		t.Errorf("stale token: %v", err)
	}
	conn, err := d.open(t.Context(), anyRequest)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("busy"))
	defer cancel()
	if _, err := d.backups.Admit(ctx, anyRequest, d.fence); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("a second one: %v", err)
	}
	_ = conn.Close()
	_ = d.served()
	for says, live := range map[string]method.LiveServer{
		"not for a server of flavour mysql":     {Flavor: "mysql", VersionNumber: 90704},
		"of version 10.11, and the server of 1": {Flavor: "mariadb", VersionNumber: 110402},
	} {
		other := standIn(t, endless, func(o *method.BackupOptions) {
			o.Live = func(context.Context) (method.LiveServer, error) { return live, nil }
		})
		if _, err := other.open(t.Context(), anyRequest); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	none := standIn(t, endless, func(o *method.BackupOptions) { o.Dirs = []string{t.TempDir()} })
	if lack := none.backups.Lacks(method.ToolMariabackup); !strings.Contains(lack, "mariadb-backup is in none of") || !strings.Contains(lack, "install it") {
		t.Errorf("no tool here: %q", lack)
	}
	if _, err := none.open(t.Context(), anyRequest); err == nil || !strings.Contains(err.Error(), "mariadb-backup is in none of") {
		t.Errorf("no tool here: %v", err)
	}
	blind := standIn(t, endless, func(o *method.BackupOptions) {
		o.Live = func(context.Context) (method.LiveServer, error) { return method.LiveServer{}, errors.New("no grants") }
	})
	if _, err := blind.open(t.Context(), anyRequest); err == nil || !strings.Contains(err.Error(), "no grants") {
		t.Errorf("without facts: %v", err)
	}
}

// donateCommand makes the test binary a donor's sidecar that is to be killed.
const donateCommand = "donate-until-killed"

// donateUntilKilled serves one backup of the tool in dir.
func donateUntilKilled(state, dir string) int {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	b, err := method.NewBackups(method.BackupOptions{
		Dirs: []string{dir, "/usr/bin"}, StateDir: state, Stall: time.Hour, Logger: quiet,
		Tools: map[method.Tool]method.BackupSettings{method.ToolMariabackup: {Args: []string{"--safe-slave-backup"}}},
		Live: func(context.Context) (method.LiveServer, error) {
			return method.LiveServer{Flavor: "mariadb", VersionNumber: 101118, UID: uid, GID: gid, Applying: true}, nil
		},
		Restore: func(context.Context) error { return nil },
	})
	if err == nil {
		d := &donation{backups: b, result: make(chan error, 1)}
		d.fence.Check, d.fence.Ahead = func() error { return nil }, errStale
		if _, err = d.open(context.Background(), anyRequest); err == nil {
			fmt.Println("serving")
			err = <-d.result
		}
	}
	fmt.Println(err)
	return 1
}

// TestTrapP1DonorSidecarKilled: the tool dies with the sidecar, which has
// written down what it owes the server; the next one pays.
func TestTrapP1DonorSidecarKilled(t *testing.T) {
	state, dir := t.TempDir(), place(t)
	script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'based on MariaDB server 10.11.18' >&2; exit 0; fi\n" + endless + "\n"
	if err := os.WriteFile(dir+"/mariadb-backup", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/mbstream", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], donateCommand, state, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the donor says %q, %v", line, err)
	}
	var pid int
	eventually(t, 10*time.Second, func() (err error) { pid, err = recordedPID(state); return err })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		if alive(pid) {
			return errors.New("the tool outlives its sidecar")
		}
		return nil
	})
	d := standIn(t, endless, func(o *method.BackupOptions) { o.StateDir = state })
	if err := d.backups.RestoreAfterCrash(t.Context()); err != nil || d.restored != 1 {
		t.Errorf("restored %d times, %v", d.restored, err)
	}
	if err := d.backups.RestoreAfterCrash(t.Context()); err != nil || d.restored != 1 {
		t.Errorf("again: restored %d times, %v", d.restored, err)
	}
}

// The record of a tool that lives on leads to its end, one whose number is
// somebody else's does not; a restoring that fails is owed until it succeeds.
func TestRestoreAfterCrash(t *testing.T) {
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill() }()
	born, err := private.BirthOf(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("not now")
	d := standIn(t, endless, func(o *method.BackupOptions) { o.Restore = func(context.Context) error { return no } })
	write := func(p private.Birth) {
		text, err := json.Marshal(map[string]any{"tool": "mariabackup", "process": p, "restore": true})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.state+"/backup.json", text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := born
	other.Start += "0"
	write(other)
	if err := d.backups.RestoreAfterCrash(t.Context()); !errors.Is(err, no) || !alive(born.PID) {
		t.Errorf("another process: %v, lives %v", err, alive(born.PID))
	}
	write(born)
	if err := d.backups.RestoreAfterCrash(t.Context()); !errors.Is(err, no) {
		t.Errorf("restored by a failure: %v", err)
	}
	if err := sleeper.Wait(); err == nil {
		t.Error("the tool was not killed")
	}
	// The debt keeps the next backup from beginning.
	conn, err := d.open(t.Context(), anyRequest)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := d.served(); !errors.Is(err, no) {
		t.Errorf("a backup on top of a debt: %v", err)
	}
	if err := os.WriteFile(d.state+"/backup.json", []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.backups.RestoreAfterCrash(t.Context()); !errors.Is(err, no) {
		t.Errorf("a record cut by the crash: %v", err)
	}
}

// A receiver's disk that is full ends the copy with the tool's own words. The
// limit on the size of a file stands for the disk.
func TestTrapX9ReceiverIsFull(t *testing.T) {
	donor := filled(newMaria(t, "log_bin=binlog").start().backupAccount())
	d := donate(t, donor.asLive("mariadb", donor.version()), nil)
	bin, _ := mariaBin(t)
	dir := place(t)
	for name, script := range map[string]string{
		"mbstream":       "trap '' XFSZ\nulimit -f 2000\nexec " + bin + "/mbstream \"$@\"",
		"mariadb-backup": "exec " + bin + "/mariadb-backup \"$@\"",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	job := jobIn(t, d.open)
	_, err := mariabackup(t, dir).Stage(t.Context(), job, func(int64, int64) {})
	if err == nil || !strings.Contains(err.Error(), "Errcode: 27") {
		t.Errorf("the recipient: %v", err)
	}
	if err := d.served(); err == nil {
		t.Error("the donor thinks that all went well")
	}
	if left := strays(t, job.Area); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// The real tool, without an account or without a right, says so to the
// recipient.
func TestMariabackupIsRefusedByTheServer(t *testing.T) {
	donor := newMaria(t, "log_bin=binlog").start()
	d := donate(t, donor.asLive("mariadb", donor.version()), func(o *method.BackupOptions) {
		o.Tools[method.ToolMariabackup] = method.BackupSettings{User: "nobody-here"}
	})
	_, err := mariabackup(t).Stage(t.Context(), jobIn(t, d.open), func(int64, int64) {})
	if err == nil || !strings.Contains(err.Error(), "Access denied") {
		t.Errorf("without an account: %v", err)
	}
	_ = d.served()
	if _, err := mariabackup(t).Stage(t.Context(), jobIn(t, nil), nil); err == nil {
		t.Error("no donor, and a copy")
	}
}
