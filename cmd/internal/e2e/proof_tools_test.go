//go:build proof

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestBadToolsAreRefused: the donor's tool is of another version, fails in
// every way that was thought of, or what comes from it is not a backup. Each
// time a person's rebuild fails and says why, and the replica and its data are
// as they were; with the real tool it heals.
func TestBadToolsAreRefused(t *testing.T) {
	t.Parallel()
	c := upOn(t, lab.MariaDB, map[string]string{"policy.mode": "observe", "donor.primary": "never"})
	db2, db3 := c.Node(2), c.Node(3)
	server, err := lab.Servers(t.Context(), lab.MariaDB, logWriter{t})
	must(t, err)
	real := filepath.Join(filepath.Dir(server.Mysqld), "mariadb-backup")
	dir := filepath.Join(c.Dir, "tools") // which mysqld's user can enter
	must(t, os.Mkdir(dir, 0o755))
	must(t, db3.StopSidecar(t.Context()))
	db3.Env("PATH=" + dir + ":" + filepath.Dir(server.Mysqld) + ":" + os.Getenv("PATH"))
	must(t, db3.StartSidecar())
	together(t, c)
	before := identityOf(t, db2)
	breakIt(t, c, db2, "row-missing")
	refuses(t, db2, "mode", time.Minute)

	const ok = "echo '[00] 2026-11-23 09:15:46 completed OK!' >&2"
	versionIs := `[ "$1" = --version ] && exec REAL "$@"; `
	for _, bad := range []struct{ name, script, says string }{
		{"of another version", "echo 'mariadb-backup based on MariaDB server 11.4.2-MariaDB' >&2", "of version 11.4"},
		{"says nothing of its version", "echo hello", "not understood"},
		{"prints success and fails", versionIs + `REAL "$@"; exit 1`, "exit status 1"},
		{"fails after its last byte", versionIs + `REAL "$@"; echo 'Error: cannot release the lock' >&2; exit 3`, "cannot release the lock"},
		{"ends without its word", versionIs + `REAL "$@" 2>/dev/null`, "without"},
		{"a stream cut off", versionIs + `REAL "$@" | head -c 1000000; ` + ok, "exit status 1"},
		{"a garbled stream", versionIs + "head -c 1000000 /dev/urandom; " + ok, "exit status 1"},
		{"an empty stream", versionIs + ok, "empty"},
		{"an error's text", versionIs + "echo 'ERROR 2002 (HY000): cannot connect'; " + ok, "exit status 1"},
		{"a complaint, and nothing else", versionIs + "echo 'FATAL ERROR: no' >&2; exit 1", "FATAL ERROR: no"},
	} {
		script := "#!/bin/sh\n" + strings.ReplaceAll(bad.script, "REAL", real) + "\n"
		must(t, os.WriteFile(filepath.Join(dir, "mariadb-backup"), []byte(script), 0o755))
		code, said := rebuildNow(t, db2)
		t.Logf("%s: exit code %d: %s", bad.name, code, said)
		if code != 1 || !strings.Contains(said, bad.says) {
			t.Errorf("%s: exit code %d, want 1 and %q: %s", bad.name, code, bad.says, said)
		}
		asBefore(t, db2, before)
		if _, err := os.Stat(db2.Datadir + ".resilver/new"); err == nil {
			t.Errorf("%s: the copy was left behind", bad.name)
		}
	}
	must(t, os.Remove(filepath.Join(dir, "mariadb-backup")))
	if code, said := rebuildNow(t, db2); code != 0 {
		t.Fatalf("with the real tool: exit code %d: %s", code, said)
	}
	must(t, db2.WaitReplicating(t.Context(), time.Minute))
	before.unchanged(t, db2)
	rs, err := records(t.Context(), db2, db2.Name)
	must(t, err)
	if rs[0].Outcome != watchdog.Healed {
		t.Errorf("outcome %s: %s", rs[0].Outcome, rs[0].Error)
	}
	equal(t, c)
}

// rebuildNow is a person's rebuild, to its end, whatever was before.
func rebuildNow(t *testing.T, n *lab.Node) (code int, stderr string) {
	t.Helper()
	return rebuilding(t, n)()
}

// rebuilding begins a person's rebuild; end waits for it.
func rebuilding(t *testing.T, n *lab.Node) (end func() (code int, stderr string)) {
	t.Helper()
	var code int
	var stderr string
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		var err error
		_, stderr, code, err = n.Resilver(ctx, "rebuild", "--follow", "--override", "cooldown", "--override", "breaker",
			"--override", "budget-node", "--override", "budget-cluster")
		done <- err
	}()
	return func() (int, string) {
		must(t, <-done)
		return code, stderr
	}
}
