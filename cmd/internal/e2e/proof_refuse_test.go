//go:build proof

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestInvariant7SystemicFaultStopsEveryone: the same fault on two replicas has its cause upstream, and
// nobody is rebuilt.
func TestInvariant7SystemicFaultStopsEveryone(t *testing.T) { onEngines(t, systemic) }

func systemic(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.systemic_window": "10m", "policy.broken_for": "10s"})
	db2, db3 := c.Node(2), c.Node(3)
	id2, id3 := identityOf(t, db2), identityOf(t, db3)
	before := begun(t, c)
	breakIt(t, c, db2, "row-missing")
	breakIt(t, c, db3, "row-missing")
	for _, n := range []*lab.Node{db2, db3} {
		refuses(t, n, "not-systemic", 30*time.Second)
		shows(t, n, `resilver_guard_failing{guard="not-systemic"}`, 1)
	}
	quiet(t, c, before, 3*10*time.Second)
	id2.untouched(t, db2)
	id3.untouched(t, db3)
}

// TestInvariant6OnlyCurableFaultsLeadToARebuild: faults of account and
// network, held for three thresholds.
func TestInvariant6OnlyCurableFaultsLeadToARebuild(t *testing.T) { onEngines(t, onlyCurable) }

func onlyCurable(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	db2, db3 := c.Node(2), c.Node(3)
	id2, id3 := identityOf(t, db2), identityOf(t, db3)
	before := begun(t, c)
	breakIt(t, c, db2, "wrong-password")
	breakIt(t, c, db3, "source-unreachable")
	diagnosed(t, db2, watchdog.ClassCredential)
	diagnosed(t, db3, watchdog.ClassTransient)
	quiet(t, c, before, 3*brokenFor)
	diagnosed(t, db2, watchdog.ClassCredential)
	diagnosed(t, db3, watchdog.ClassTransient)
	refusedAndDivergent(t, c, db2)
	quiet(t, c, before, brokenFor+2*time.Second)
	id2.untouched(t, db2)
	id3.untouched(t, db3)
}

// refusedAndDivergent has all replicate again, and then gives one a fault that
// a rebuild cures, beside one that would make the copy useless: nobody may
// rebuild it, however it shows that the password is wrong.
func refusedAndDivergent(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	ctx := t.Context()
	for _, n := range c.Nodes[1:] {
		must(t, n.Attach(ctx, c.Node(1)))
		must(t, n.WaitReplicating(ctx, time.Minute))
	}
	cli(t, n, 0, "pause", "--reason", "until it is broken twice", "--node", n.Name)
	breakIt(t, c, n, "row-missing")
	if n.Engine() == lab.MariaDB { // what the server has stored is right, and not what attach uses
		wrong := filepath.Join(c.Dir, "wrong.password")
		must(t, os.WriteFile(wrong, []byte("not the password"), 0o600))
		must(t, n.Set(map[string]string{"mysql.replication.password_file": wrong}))
		restart(t, c, n)
		cli(t, n, 0, "resume", "--node", n.Name)
		diagnosed(t, n, watchdog.ClassDivergent)
		refusesSaying(t, n, "source-account", "Access denied for user 'repl'@", time.Minute)
		refusesRebuild(t, n, "source-account")
		cli(t, n, 0, "pause", "--reason", "until it is broken otherwise", "--node", n.Name)
		configureAccount(t, c, n)
		restart(t, c, n)
	}
	// Changed at the source: another CHANGE here would drop the relay log, and
	// the row's error with it.
	must(t, c.Node(1).SQL(ctx, "ALTER USER repl@'%' IDENTIFIED BY 'changed'"))
	must(t, n.SQL(ctx, "STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"))
	cli(t, n, 0, "resume", "--node", n.Name)
	diagnosed(t, n, watchdog.ClassDivergent)
	refusesSaying(t, n, "source-account", "receiver error 1045", time.Minute)
	refusesRebuild(t, n, "source-account")
}

// TestInvariant1PrimaryByPolicy: the primary is given a source of its own and
// diverges from it; it is broken as a replica can be, and still the primary.
func TestInvariant1PrimaryByPolicy(t *testing.T) { onEngines(t, primaryByPolicy) }

func primaryByPolicy(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	db1, db2 := c.Node(1), c.Node(2)
	before, rebuilds := statOf(t, db1), begun(t, c)
	ctx := t.Context()
	must(t, db1.SQL(ctx, "CREATE TABLE lab.trap (id INT PRIMARY KEY)"))
	gtids, err := db1.Executed(ctx)
	must(t, err)
	must(t, db2.WaitExecuted(ctx, gtids, time.Minute))
	must(t, db1.SQL(ctx, "SET sql_log_bin=0", "INSERT INTO lab.trap VALUES (1)", "SET sql_log_bin=1"))
	must(t, db2.SQL(ctx, "STOP REPLICA"))
	must(t, db2.SQL(ctx, onReplica(db2, "INSERT INTO lab.trap VALUES (1)")...))
	must(t, db2.SQL(ctx, "START REPLICA"))
	must(t, db1.Attach(ctx, db2))
	diagnosed(t, db1, watchdog.ClassDivergent)
	refuses(t, db1, "not-primary", 30*time.Second)
	quiet(t, c, rebuilds, 3*brokenFor)
	if now := statOf(t, db1); now != before {
		t.Error("the primary's datadir was replaced")
	}
	// db2 wrote a transaction of its own: nobody may rebuild it either. (With
	// MariaDB's strict mode it cannot even be broken in another way.)
	if engine == lab.MySQL {
		breakIt(t, c, db2, "duplicate-key")
		refuses(t, db2, "errant", 30*time.Second)
	}
}

// TestRefusals: one cluster, one reason after the other why a broken replica
// is not rebuilt, and at last it is.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	db1, db2, db3 := c.Node(1), c.Node(2), c.Node(3)
	ctx := t.Context()

	before := begun(t, c)
	cli(t, db3, 0, "pause", "--reason", "upgrade of the rack")
	breakIt(t, c, db2, "row-missing")
	refuses(t, db2, "paused", time.Minute)
	cli(t, db2, 3, "rebuild")

	// Without the other sidecars there is no quorum, and nothing is known.
	must(t, db1.Kill(ctx, sidecarProgram))
	must(t, db3.Kill(ctx, sidecarProgram))
	refuses(t, db2, "role-known", time.Minute)
	refuses(t, db2, "lease", time.Minute)
	must(t, db1.StartSidecar())
	must(t, db3.StartSidecar())
	together(t, c)

	// A donor that does not exist, or is the node itself.
	for _, from := range []string{"db2", "db9"} {
		_, stderr, code, err := db2.Resilver(ctx, "rebuild", "--from", from)
		must(t, err)
		if code != 2 || !strings.Contains(stderr, "--from "+from+": ") {
			t.Errorf("--from %s: exit code %d, want 2 and the node's name: %s", from, code, stderr)
		}
	}
	// Too little room: what must stay free is more than there is.
	must(t, db2.Set(map[string]string{"rebuild.min_free": "100TiB"}))
	restart(t, c, db2)
	refuses(t, db2, "disk-space", time.Minute)
	_, stderr, code, err := db2.Resilver(ctx, "rebuild", "--override", "disk-space")
	must(t, err)
	if code != 2 || !strings.Contains(stderr, "nobody may override guard disk-space") {
		t.Errorf("disk-space overridden: exit code %d: %s", code, stderr)
	}
	// Observe: it says what it would do.
	must(t, db2.Set(map[string]string{"rebuild.min_free": "5%", "policy.mode": "observe"}))
	restart(t, c, db2)
	cli(t, db3, 0, "resume")
	refuses(t, db2, "mode", time.Minute)
	quiet(t, c, before, brokenFor)

	must(t, db2.Set(map[string]string{"policy.mode": "heal"}))
	restart(t, c, db2)
	healed(t, db2, 1)
	equal(t, c)

	// Over its budget.
	must(t, db2.Set(map[string]string{"policy.budget.node_per_day": "1"}))
	restart(t, c, db2)
	breakIt(t, c, db2, "duplicate-key")
	refuses(t, db2, "budget-node", time.Minute)
	cli(t, db2, 3, "rebuild")
	cli(t, db2, 0, "rebuild", "--override", "budget-node", "--override", "cooldown", "--follow")
	healed(t, db2, 2)
	equal(t, c)
}

// cli runs resilver at a node and checks the exit code.
func cli(t *testing.T, n *lab.Node, want int, args ...string) {
	t.Helper()
	if code, said := resilver(t, n, args...); code != want {
		t.Fatalf("resilver %v: exit code %d, want %d: %s", args, code, want, said)
	}
}

func restart(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	n.Env()
	must(t, n.StopSidecar(t.Context()))
	must(t, n.StartSidecar())
	together(t, c)
}

// refuses waits until the node's plan shows this guard failing.
func refuses(t *testing.T, n *lab.Node, guard string, within time.Duration) {
	t.Helper()
	refusesSaying(t, n, guard, "", within)
}

// refusesSaying waits for a guard that fails with a reason that has words.
func refusesSaying(t *testing.T, n *lab.Node, guard, words string, within time.Duration) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), within, fmt.Sprintf("%s to refuse by guard %s", n.Name, guard), func(ctx context.Context) (bool, string) {
		plan, err := n.Plan(ctx)
		if err != nil {
			return false, err.Error()
		}
		seen := []string{string(plan.Diagnosis.Class)}
		for _, g := range plan.Guards {
			if g.Verdict != watchdog.Pass {
				seen = append(seen, g.ID)
			}
			if g.ID == guard && g.Verdict != watchdog.Pass && strings.Contains(g.Reason, words) {
				if plan.WouldAct {
					t.Errorf("%s would act against its guard %s", n.Name, guard)
				}
				t.Logf("%s refuses: %s: %s", n.Name, g.ID, g.Reason)
				return true, ""
			}
		}
		return false, strings.Join(seen, " ")
	}))
}

// diagnosed waits for a class.
func diagnosed(t *testing.T, n *lab.Node, class watchdog.Class) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), time.Minute, fmt.Sprintf("%s to be %s", n.Name, class), func(ctx context.Context) (bool, string) {
		plan, err := n.Plan(ctx)
		if err != nil {
			return false, err.Error()
		}
		return plan.Diagnosis.Class == class, string(plan.Diagnosis.Class + " " + watchdog.Class(plan.Diagnosis.Reason))
	}))
}

// begun is how many rebuilds there were, to be taken before the fault.
func begun(t *testing.T, c *lab.Cluster) int {
	t.Helper()
	rs, err := c.Node(1).History(t.Context())
	must(t, err)
	return len(rs)
}

// quiet watches for a while that no rebuild of any node begins, nor has begun
// since there were that many.
func quiet(t *testing.T, c *lab.Cluster, before int, span time.Duration) {
	t.Helper()
	deadline := time.Now().Add(span)
	for time.Now().Before(deadline) {
		for _, n := range c.Nodes {
			now, err := n.History(t.Context())
			must(t, err)
			if len(now) > before {
				t.Fatalf("%s was rebuilt: %+v", now[0].Node, now[0])
			}
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}
