package private

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestSweep: what a server that was killed has left goes, with the relay logs of
// its channels; its log, what nobody's server makes, and all that a link leads to
// stay, and everything while a server may still run.
func TestSweep(t *testing.T) {
	area := t.TempDir()
	dir := filepath.Join(area, nameWork, roleRehearsal)
	old := filepath.Join(area, "old", "r1")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(filepath.Join(dir, "tmp", "#innodb_temp"), 0o700))
	check(os.MkdirAll(old, 0o700))
	for _, name := range []string{"relay.index", "relay.000001", "relay-orders.000017", "relay-orders.index", "master-orders.info", "relay-log-orders.info",
		"master.info", "multi-master.info", "relay-log.info", "binlog.000001", "mysqld.err", "notes.txt", recordName} {
		check(os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	check(os.WriteFile(filepath.Join(old, "relay.000001"), nil, 0o600))
	check(os.Symlink(filepath.Join("..", "old", "r1"), filepath.Join(area, nameWork, roleScratch)))
	names := func(dir string) (out []string) {
		entries, err := os.ReadDir(dir)
		check(err)
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
	if err := Sweep(area); err == nil || len(names(dir)) != 14 {
		t.Errorf("beside a server that may run: %v, %v", err, names(dir))
	}
	check(os.Remove(filepath.Join(dir, recordName)))
	if err := Sweep(area); err == nil || len(names(old)) != 1 {
		t.Errorf("through a link: %v, %v", err, names(old))
	}
	check(os.Remove(filepath.Join(area, nameWork, roleScratch)))
	check(Sweep(area))
	if got := names(dir); !slices.Equal(got, []string{"mysqld.err", "notes.txt"}) {
		t.Errorf("left: %v", got)
	}
	check(Sweep(filepath.Join(area, "none")))
}
