package healing

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/config/secret"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

var looked = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

func replicaSeen(at time.Time) watchdog.Observation {
	return watchdog.Observation{At: at, Reachable: true, Flavor: "mysql", ServerUUID: "u", Datadir: "/d/", StartedAt: looked.Add(-time.Hour),
		ReadOnly: true, LogBin: true, LogUpdates: true, Executed: "u:1",
		Sources: []watchdog.SourceStatus{{Host: "10.0.0.1", Port: 3306, User: "repl", Retrieved: "s:1"}}}
}

func TestReadOnlyWithoutInterruption(t *testing.T) {
	const pause = 8 * time.Second
	var l Last
	at := looked
	see := func(after time.Duration, writable bool) {
		at = at.Add(after)
		obs := replicaSeen(at)
		obs.ReadOnly = !writable
		l.seen(obs, watchdog.RoleReplica, 1, pause)
	}
	since := func(want time.Time) {
		t.Helper()
		if !l.ReadOnlySince.Equal(want) {
			t.Errorf("at %s it is read-only since %s, want %s", at, l.ReadOnlySince, want)
		}
	}
	see(0, false)
	since(looked)
	for range 9 {
		see(7*time.Second, false)
	}
	since(looked)
	if !l.longReadOnly() {
		t.Error("a minute is not long")
	}
	see(9*time.Second, false) // nobody looked for too long
	since(at)
	if l.longReadOnly() {
		t.Error("it was interrupted")
	}
	see(time.Second, true)
	since(time.Time{})
	see(time.Second, false)
	since(at)
}

// TestWhatIsWrittenDown: the sets alone move with each transaction; everything
// else that a rebuild rests on is written as soon as it changes.
func TestWhatIsWrittenDown(t *testing.T) {
	var was Last
	was.seen(replicaSeen(looked), watchdog.RoleReplica, 1, time.Minute)
	for name, c := range map[string]struct {
		change       func(*watchdog.Observation)
		steady, sets bool // it is another
	}{
		"time":       {func(*watchdog.Observation) {}, false, false},
		"executed":   {func(o *watchdog.Observation) { o.Executed = "u:1-2" }, false, true},
		"received":   {func(o *watchdog.Observation) { o.Sources[0].Retrieved = "s:1-2" }, false, true},
		"start read": {func(o *watchdog.Observation) { o.StartedAt = o.StartedAt.Add(time.Second) }, false, false},
		"started":    {func(o *watchdog.Observation) { o.StartedAt = o.StartedAt.Add(time.Minute) }, true, false},
		"promoted":   {func(o *watchdog.Observation) { o.Sources = nil }, true, true},
		"opened":     {func(o *watchdog.Observation) { o.ReadOnly = false }, true, false},
		"repointed":  {func(o *watchdog.Observation) { o.Sources[0].Host = "10.0.0.2" }, true, false},
		"delayed":    {func(o *watchdog.Observation) { o.Sources[0].Delay = time.Hour }, true, false},
		"filtered":   {func(o *watchdog.Observation) { o.Sources[0].Filters = "db=a" }, true, false},
		"grouped":    {func(o *watchdog.Observation) { o.GroupMember = true }, true, false},
	} {
		now, obs := was, replicaSeen(looked.Add(time.Second))
		c.change(&obs)
		now.seen(obs, watchdog.RoleReplica, 1, time.Minute)
		if (now.steady() != was.steady()) != c.steady || (now.sets() != was.sets()) != c.sets {
			t.Errorf("%s: steady %t, sets %t", name, now.steady() != was.steady(), now.sets() != was.sets())
		}
	}
}

func TestInvariant13LastHoldsNoSecret(t *testing.T) {
	dir := t.TempDir()
	l := Last{Datadir: "/d", Source: &replica.SourceConfig{User: "repl", Password: secret.New("hunter2")}, ReadAt: watchdog.StampOf(looked)}
	l.seen(replicaSeen(looked), watchdog.RoleReplica, 7, time.Minute)
	if err := l.save(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(lastPath(dir))
	if err != nil || strings.Contains(string(b), "hunter2") {
		t.Errorf("%v: %s", err, b)
	}
	back, err := LoadLast(dir)
	if err != nil || back.steady() != func() string { l.Source.Password = secret.Secret{}; return l.steady() }() || back.sets() != l.sets() {
		t.Errorf("it comes back as %+v, %v", back, err)
	}
	if err := os.WriteFile(lastPath(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := LoadLast(dir); err == nil || l.Datadir != "" {
		t.Errorf("a damaged file is %+v, %v", l, err)
	}
}

// joined is arithmetic that only writes down what it was given.
type joined struct{ arithmetic }

func (joined) GTIDUnion(_ context.Context, a, b string) (string, error) {
	return strings.Trim(a+","+b, ","), nil
}

// TestAtRest: what is in no log was not written only where nobody could write.
func TestAtRest(t *testing.T) {
	root, err := filepath.EvalSymlinks(filepath.Join("..", ".servers"))
	if err == nil {
		root, err = filepath.Abs(root)
	}
	if err != nil {
		t.Fatal(err)
	}
	received := "7583e806-e72e-11f1-8eee-02fc00000001:17-20" // in the relay logs
	for name, c := range map[string]struct {
		spoil func(t *testing.T, l *Last)
		err   string
	}{
		"all is in its logs": {func(*testing.T, *Last) {}, ""},
		"no binary log, never opened": {func(_ *testing.T, l *Last) {
			l.Observation.LogBin, l.ReadOnlySince = false, watchdog.StampOf(looked.Add(-time.Hour))
		}, ""},
		"no binary log": {func(_ *testing.T, l *Last) { l.Observation.LogBin = false }, "no binary log"},
		"no binary log, opened lately": {func(_ *testing.T, l *Last) {
			l.Observation.LogBin, l.ReadOnlySince = false, watchdog.StampOf(looked.Add(-time.Second))
		}, "no binary log"},
		"only its own writes are logged": {func(_ *testing.T, l *Last) { l.Observation.LogUpdates = false }, "no binary log"},
		"binary log lost": {func(t *testing.T, l *Last) {
			t.Helper()
			l.ReadOnlySince = watchdog.StampOf(looked.Add(-time.Hour))
			if err := os.Remove(filepath.Join(l.Datadir, "binlog.000002")); err != nil {
				t.Fatal(err)
			}
		}, "binlog.000002"},
		"relay logs lost": {func(t *testing.T, l *Last) {
			t.Helper()
			if err := os.Remove(filepath.Join(l.Datadir, "relay.index")); err != nil {
				t.Fatal(err)
			}
		}, "relay logs"},
		"no tool": {func(_ *testing.T, l *Last) { l.Program.Prefix = []string{"/nowhere/sbin/mysqld"} }, "mysqlbinlog"},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("binlog", "testdata", "mysql"))); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ibdata1", "mysql.ibd"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		l := Last{Datadir: dir, Observation: replicaSeen(looked), Paths: map[string]string{
			"log_bin_basename": filepath.Join(dir, "binlog"), "log_bin_index": filepath.Join(dir, "binlog.index"),
			"relay_log_basename": filepath.Join(dir, "relay"), "relay_log_index": "./relay.index",
		}, Program: service.Program{Prefix: []string{filepath.Join(root, "mysql", "bin", "mysqld")}}}
		c.spoil(t, &l)
		executed, held, err := (&Healer{}).atRest(t.Context(), &l, joined{})
		if c.err == "" && (err != nil || !strings.Contains(executed, "u:1") || !strings.Contains(held, "s:1") || !strings.Contains(held, received)) {
			t.Errorf("%s: executed %q, held %q, %v", name, executed, held, err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: executed %q, held %q, %v, want an error with %q", name, executed, held, err, c.err)
		}
	}
}
