//go:build proof

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestInvariant12VerifyFails: the new copy runs, but cannot replicate. It stays, closed
// to clients, and is no success: the rebuild has failed, the breaker is open,
// the old data is in quarantine. A person who has mended the cause has it
// rebuilt.
func TestInvariant12VerifyFails(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s", "verify.stall": "10s"})
	n := c.Node(2)
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "start.end=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	// Connections that are open stay open: the other replica goes on.
	must(t, c.Node(1).SQL(t.Context(), "ALTER USER repl@'%' ACCOUNT LOCK"))
	must(t, os.WriteFile(gate, nil, 0o644))

	r := ended(t, n, 1, 2*time.Minute)
	if r.Outcome != watchdog.Failed {
		t.Fatalf("outcome %s, want failed: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	quarantined(t, n, before, r.ID)
	v, err := n.Value(t.Context(), "SELECT CONCAT(@@read_only, @@super_read_only, @@offline_mode)")
	must(t, err)
	if v != "111" {
		t.Errorf("read_only, super_read_only, offline_mode are %s: a copy that does not replicate is open to clients", v)
	}
	_, stderr, code, err := n.Resilver(t.Context(), "rebuild")
	must(t, err)
	if code != 3 {
		t.Errorf("rebuild beside an open breaker: exit code %d, want 3: %s", code, stderr)
	}

	must(t, c.Node(1).SQL(t.Context(), "ALTER USER repl@'%' ACCOUNT UNLOCK"))
	must(t, n.SQL(t.Context(), "START REPLICA"))
	must(t, n.WaitReplicating(t.Context(), time.Minute))
	must(t, lab.WaitFor(t.Context(), time.Minute, "status to say that it is left closed", func(ctx context.Context) (bool, string) {
		s, err := c.Node(1).Status(ctx)
		for _, node := range s.Nodes {
			if node.Name == n.Name {
				return node.Health == watchdog.HealthBroken && node.Reason == watchdog.ReasonLeftClosed, fmt.Sprint(node.Health, node.Reason)
			}
		}
		return false, fmt.Sprint(err)
	}))
	// Beside the open breaker a person goes back, and forward again to the
	// copy, which is as closed as it was left.
	for i, want := range []string{"110", "111"} {
		cli(t, n, 0, "rollback", "--follow")
		wentBack(t, n, i+2)
		if v, err = n.Value(t.Context(), "SELECT CONCAT(@@read_only, @@super_read_only, @@offline_mode)"); err != nil || v != want {
			t.Errorf("read_only, super_read_only, offline_mode are %s, want %s, %v", v, want, err)
		}
		if i == 0 {
			before.untouched(t, n)
		}
	}
	before.unchanged(t, n)
	cli(t, c.Node(1), 0, "ack")
	cli(t, n, 0, "rebuild", "--override", "cooldown", "--follow")
	healed(t, n, 4)
	if v, err = n.Value(t.Context(), "SELECT CONCAT(@@read_only, @@super_read_only, @@offline_mode)"); err != nil || v != "110" {
		t.Errorf("read_only, super_read_only, offline_mode are %s, want 110, %v", v, err)
	}
	if v, err = n.Value(t.Context(), "SELECT COUNT(*) FROM performance_schema.persisted_variables"); err != nil || v != "0" {
		t.Errorf("mysqld-auto.cnf says %s settings, want none, as before, %v", v, err)
	}
	before.unchanged(t, n)
	equal(t, c)
}
