//go:build proof

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// personRollsBack: a person goes back to the datadir that a rebuild set aside,
// and forward again. The sidecar is killed while the server is closed, and in
// the middle of the exchange; the old server does not boot, and the other one
// is back. What would lose something is refused with nothing touched. The node
// is never seen writable, and no rebuild begins by itself.
func personRollsBack(t *testing.T, c *lab.Cluster, n *lab.Node, old identity, first watchdog.Record) {
	t.Helper()
	settled(t, n)
	fresh := identityOf(t, n)
	if code, said := resilver(t, n, "plan", "--rollback"); code != 0 || !strings.Contains(said, "would go back\n") || !strings.Contains(said, first.ID) {
		t.Errorf("plan --rollback: exit code %d: %s", code, said)
	}
	closed := neverWritable(t, n)

	killedRollback(t, c, n, "stop.closed", false)
	if r := ended(t, n, 3, 2*time.Minute); r.Outcome != watchdog.Cancelled {
		t.Fatalf("killed in stop: outcome %s: %s", r.Outcome, r.Error)
	}
	settled(t, n)
	fresh.untouched(t, n)
	doors(t, n, replicaDoors)
	inQuarantine(t, n, old, first.ID)
	must(t, n.WaitReplicating(t.Context(), time.Minute))

	killedRollback(t, c, n, "swap.exchanged", true)
	back := wentBack(t, n, 4)
	old.untouched(t, n)
	doors(t, n, replicaDoors)
	inQuarantine(t, n, fresh, back.ID)
	diagnosed(t, n, watchdog.ClassDivergent)
	refuses(t, n, "breaker", time.Minute)

	// Forward again, by the same command.
	if code, said := resilver(t, n, "rollback", "--follow"); code != 0 {
		t.Fatalf("rollback --follow: exit code %d: %s", code, said)
	}
	forward := wentBack(t, n, 5)
	must(t, n.WaitReplicating(t.Context(), time.Minute))
	fresh.untouched(t, n)
	inQuarantine(t, n, old, forward.ID)

	doesNotBoot(t, c, n)
	fresh.untouched(t, n)
	doors(t, n, replicaDoors)
	inQuarantine(t, n, old, forward.ID)
	closed()
	cli(t, n, 0, "ack")
	equal(t, c)
	refusesLoss(t, c, n)
	fresh.untouched(t, n)
	inQuarantine(t, n, old, forward.ID)
}

// refusesRollback checks that a rollback is refused by a guard, and nothing
// was begun.
func refusesRollback(t *testing.T, n *lab.Node, guard string) {
	t.Helper()
	before, err := n.History(t.Context())
	must(t, err)
	code, said := resilver(t, n, "rollback")
	after, err := n.History(t.Context())
	must(t, err)
	if code != 3 || !strings.Contains(said, guard) || len(after) != len(before) {
		t.Fatalf("%s: rollback: exit code %d, want 3 and guard %s: %s", n.Name, code, guard, said)
	}
	t.Logf("%s refuses: %s", n.Name, said)
}

// killedRollback: the sidecar dies at a point of a rollback, and is started
// again.
func killedRollback(t *testing.T, c *lab.Cluster, n *lab.Node, point string, away bool) {
	t.Helper()
	restartWith(t, n, point+"=kill")
	together(t, c)
	cli(t, n, 0, "rollback")
	died(t, n)
	if away {
		notRunning(t, n)
	}
	n.Env()
	must(t, n.StartSidecar())
}

// wentBack waits for the nth ended record of the node, a rollback that was
// done.
func wentBack(t *testing.T, n *lab.Node, nth int) watchdog.Record {
	t.Helper()
	r := ended(t, n, nth, 2*time.Minute)
	if r.Outcome != watchdog.RolledBack || !r.Rollback() {
		t.Fatalf("%s: outcome %s of a %s: %s", n.Name, r.Outcome, r.Trigger, r.Error)
	}
	t.Logf("%s: %s, away %.2f s", n.Name, r.Error, outage(r))
	settled(t, n)
	return r
}

// inQuarantine checks that this datadir, whole, is the only one with a label.
func inQuarantine(t *testing.T, n *lab.Node, id identity, rebuild string) {
	t.Helper()
	quarantined(t, n, id, rebuild)
	labels, err := filepath.Glob(filepath.Join(areaOf(t, n), "old", "*.json"))
	must(t, err)
	if want := filepath.Join(areaOf(t, n), "old", rebuild+".json"); !slices.Equal(labels, []string{want}) {
		t.Errorf("%s: labels %v, want %s alone", n.Name, labels, want)
	}
}

// doesNotBoot: the old server is beyond repair, and the one that was in
// service is back.
func doesNotBoot(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "swap.exchanged=wait:"+gate)
	together(t, c)
	cli(t, n, 0, "rollback")
	reached(t, gate)
	must(t, os.Truncate(filepath.Join(n.Datadir, vital[n.Engine()]), 0))
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, n, 6, 3*time.Minute)
	if r.Outcome != watchdog.Failed {
		t.Fatalf("outcome %s, want failed: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	settled(t, n)
	must(t, n.WaitReplicating(t.Context(), time.Minute))
}

// refusesLoss: what the server in service has, and the old one would not get.
func refusesLoss(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	ctx, primary := t.Context(), c.Node(1)
	sneakSQL(t, n, "CREATE TABLE lab.mine (id INT PRIMARY KEY)")
	refusesRollback(t, n, "local-objects")
	sneakSQL(t, n, "DROP TABLE lab.mine")

	must(t, primary.SQL(ctx, "INSERT INTO lab.faults (note) VALUES ('after it')", "FLUSH BINARY LOGS"))
	gtids, err := primary.Executed(ctx)
	must(t, err)
	must(t, n.WaitExecuted(ctx, gtids, time.Minute))
	must(t, c.Node(3).WaitExecuted(ctx, gtids, time.Minute))
	must(t, lab.WaitFor(ctx, time.Minute, "the primary to purge its logs", func(ctx context.Context) (bool, string) {
		logs, err := primary.Rows(ctx, "SHOW BINARY LOGS")
		if err == nil && len(logs) > 1 {
			err = primary.SQL(ctx, "PURGE BINARY LOGS TO '"+logs[len(logs)-1]["Log_name"]+"'")
		}
		return err == nil && len(logs) == 1, "there are more"
	}))
	refusesRollback(t, n, "retention")

	must(t, n.SQL(ctx, onReplica(n, "INSERT INTO lab.faults (id, note) VALUES (987654321, 'here alone')")...))
	refusesRollback(t, n, "errant")
}
