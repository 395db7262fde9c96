package service

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The properties are as systemd 252 gives them for mariadb.service; the rest
// is proved on a real one by cmd/internal/e2e/systemd.
func TestSystemdStatus(t *testing.T) {
	const now = time.Hour
	second := uint64(time.Second / time.Microsecond)
	for name, c := range map[string]struct {
		p    map[string]any
		want Status
	}{
		"running": {map[string]any{"ActiveState": "active", "SubState": "running", "Result": "success", "MainPID": uint32(7),
			"ExecMainStartTimestampMonotonic": 3000 * second}, Status{Running: true, PID: 7}},
		"booting": {map[string]any{"ActiveState": "activating", "SubState": "start", "Result": "success", "MainPID": uint32(7),
			"ExecMainStartTimestampMonotonic": 3599 * second}, Status{Running: true, PID: 7}},
		"before the process": {map[string]any{"ActiveState": "activating", "SubState": "start-pre", "Result": "success"}, Status{}},
		"between two starts": {map[string]any{"ActiveState": "activating", "SubState": "auto-restart", "Result": "signal", "NRestarts": uint32(2),
			"ExecMainCode": int32(2), "ExecMainStatus": int32(9)}, Status{Deaths: 3, LastExit: "signal: killed"}},
		"restarted just now": {map[string]any{"ActiveState": "active", "SubState": "running", "Result": "success", "MainPID": uint32(7),
			"NRestarts": uint32(2), "ExecMainStartTimestampMonotonic": 3590 * second}, Status{Running: true, PID: 7, Deaths: 2}},
		"restarted long ago": {map[string]any{"ActiveState": "active", "SubState": "running", "Result": "success", "MainPID": uint32(7),
			"NRestarts": uint32(2), "ExecMainStartTimestampMonotonic": 3500 * second}, Status{Running: true, PID: 7}},
		"gave up": {map[string]any{"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainCode": int32(1), "ExecMainStatus": int32(7)},
			Status{Deaths: 1, LastExit: "exit status 7, exit-code", GaveUp: true}},
		"too often": {map[string]any{"ActiveState": "failed", "SubState": "failed", "Result": "start-limit-hit", "NRestarts": uint32(5)},
			Status{Deaths: 6, LastExit: "start-limit-hit", GaveUp: true}},
		"failed, and being started": {map[string]any{"ActiveState": "failed", "SubState": "failed", "Result": "signal", "ExecMainCode": int32(3),
			"ExecMainStatus": int32(6), "Job": []any{uint32(12), "/job/12"}}, Status{Deaths: 1, LastExit: "signal: aborted (core dumped), signal"}},
		"refused": {map[string]any{"Id": "mariadb.service", "ActiveState": "inactive", "SubState": "dead", "Result": "exec-condition"},
			Status{Refused: "a condition of mariadb.service (ExecCondition) does not let it start: see `resilver start-guard`"}},
		"stopped": {map[string]any{"ActiveState": "inactive", "SubState": "dead", "Result": "success", "ExecMainCode": int32(1)},
			Status{LastExit: "exit status 0"}},
	} {
		c.want.Managed = "systemd"
		if got := readUnit(c.p).status(now); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestSystemdPerson(t *testing.T) {
	stopped := map[string]any{"Id": "x.service", "LoadState": "loaded", "ActiveState": "inactive", "Result": "success", "ActiveEnterTimestampMonotonic": uint64(5)}
	with := func(more map[string]any) map[string]any {
		out := map[string]any{}
		for _, m := range []map[string]any{stopped, more} {
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		p    map[string]any
		held bool
		want string
	}{
		"stopped":              {stopped, false, "was stopped"},
		"stopped by us":        {stopped, true, ""},
		"never started":        {with(map[string]any{"ActiveEnterTimestampMonotonic": uint64(0)}), false, "has not been started"},
		"about to be started":  {with(map[string]any{"Job": []any{uint32(1), "/job/1"}}), false, ""},
		"being stopped":        {with(map[string]any{"ActiveState": "deactivating", "MainPID": uint32(7)}), false, "is being stopped"},
		"masked":               {with(map[string]any{"LoadState": "masked"}), false, "is masked"},
		"masked, by its alias": {with(map[string]any{"LoadState": "error", "UnitFileState": "masked-runtime"}), true, "is masked"},
		"upgraded, down":       {with(map[string]any{"NeedDaemonReload": true}), false, "changed on disk"},
		"upgraded, running":    {with(map[string]any{"NeedDaemonReload": true, "ActiveState": "active", "MainPID": uint32(7)}), false, ""},
		"refused":              {with(map[string]any{"Result": "exec-condition"}), false, ""},
		"died":                 {with(map[string]any{"ActiveState": "failed", "Result": "signal"}), false, ""},
	} {
		if got := readUnit(c.p).person(c.held); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: it says %q, want %q", name, got, c.want)
		}
	}
}

func TestSystemdCheck(t *testing.T) {
	p := map[string]any{"LoadState": "loaded", "Requires": []string{"sysinit.target", FinishUnit},
		"ExecCondition": [][]any{{"/usr/bin/resilver", []string{"/usr/bin/resilver", "start-guard"}, false}}}
	if err := readUnit(p).check(); err != nil {
		t.Error(err)
	}
	delete(p, "ExecCondition")
	p["Requires"] = []string{"sysinit.target"}
	if err := readUnit(p).check(); err == nil || !strings.Contains(err.Error(), "start guard") || !strings.Contains(err.Error(), FinishUnit) {
		t.Errorf("nothing is installed: %v", err)
	}
	if err := readUnit(map[string]any{"LoadState": "not-found"}).check(); err == nil || !strings.Contains(err.Error(), "not-found") {
		t.Errorf("no such unit: %v", err)
	}
}

func TestPackageManagerAtWork(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "lock")
	locks := []string{filepath.Join(t.TempDir(), "none"), lock}
	f, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := packagesChange(locks); got != "" || err != nil {
		t.Errorf("nobody: %q, %v", got, err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	if got, err := packagesChange(locks); !strings.Contains(got, lock) || err != nil {
		t.Errorf("at work: %q, %v", got, err)
	}
}

// TestHold: a hold outlives the process that made it, but not the machine.
func TestHold(t *testing.T) {
	path := HoldPath(t.TempDir())
	held := func(want bool) {
		t.Helper()
		if got, err := HeldBy(path); got != want || err != nil {
			t.Errorf("held %v, %v, want %v", got, err, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	held(false)
	must(Release(path))
	must(writeHold(path, []string{"a.socket"}))
	must(writeHold(path, []string{"b.socket", "a.socket"}))
	held(true)
	must(Release(path))
	held(false)
	if got, err := liftHold(path); !slices.Equal(got, []string{"a.socket", "b.socket"}) || err != nil {
		t.Errorf("to be started again: %v, %v", got, err)
	}
	held(false)
	must(holdFile{Boot: "another", Held: true, Stopped: []string{"a.socket"}}.save(path))
	held(false)
	if got, err := liftHold(path); got != nil || err != nil {
		t.Errorf("of another boot: %v, %v", got, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	must(os.WriteFile(path, []byte("{"), 0o600))
	if _, err := HeldBy(path); err == nil {
		t.Error("a damaged hold was read")
	}
}

func TestSystemdOptions(t *testing.T) {
	good := SystemdOptions{Unit: "mysql@main.service", HoldFile: "/x", Logger: slog.New(slog.DiscardHandler)}
	if _, err := NewSystemd(good); err != nil {
		t.Error(err)
	}
	for name, o := range map[string]SystemdOptions{
		"no suffix": {Unit: "mysql", HoldFile: "/x", Logger: good.Logger},
		"a path":    {Unit: "/etc/mysql.service", HoldFile: "/x", Logger: good.Logger},
		"relative":  {Unit: good.Unit, HoldFile: "x", Logger: good.Logger},
		"no logger": {Unit: good.Unit, HoldFile: "/x"},
	} {
		if _, err := NewSystemd(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestSystemdAbsent: where there is no systemd everything is an error, and
// nothing hangs.
func TestSystemdAbsent(t *testing.T) {
	if _, err := os.Stat("/run/systemd/private"); err == nil {
		t.Log("systemd runs here; its absence is tried elsewhere")
		return
	}
	path := HoldPath(t.TempDir())
	s, err := NewSystemd(SystemdOptions{Unit: "mysql.service", HoldFile: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"status": func() error { _, err := s.Status(t.Context()); return err },
		"person": func() error { _, _, err := s.Person(t.Context()); return err },
		"hold":   func() error { return s.Hold(t.Context()) },
		"start":  func() error { return s.Start(t.Context()) },
		"check":  func() error { return s.Check(t.Context()) },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "connect to systemd") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if held, err := HeldBy(path); held || err != nil {
		t.Errorf("held %v, %v", held, err)
	}
}
