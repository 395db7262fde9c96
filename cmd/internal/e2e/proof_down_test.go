//go:build proof

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/healing"
	"resilver/watchdog"
)

// TestDownHeal: mysqld is killed, and its files are damaged so that it does
// not come up again. Nothing happens by itself; a person's rebuild heals it, and
// the transaction that only its logs have is archived.
// At last the primary dies like that, and is never rebuilt.
func TestDownHeal(t *testing.T) {
	t.Parallel()
	c, n := downHeal(t, lab.Options{Engine: lab.MySQL})
	db1, db3 := c.Node(1), c.Node(3)
	dir := statOf(t, db1)
	ruin(t, db1)
	diagnosed(t, db1, watchdog.ClassUnreachable)
	refusesRebuild(t, db1, "not-primary")

	ctx := t.Context()
	must(t, n.SQL(ctx, "STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL super_read_only=0", "SET GLOBAL read_only=0"))
	must(t, db3.Attach(ctx, n))
	refuses(t, db1, "role-known", time.Minute)
	refusesRebuild(t, db1, "role-known")
	if now := statOf(t, db1); now != dir {
		t.Error("the dead primary's datadir was replaced")
	}
}

// TestMariaDBDownHeal: the same where logs and system tablespace, by which a
// server is known to be dead, lie outside its datadir.
func TestMariaDBDownHeal(t *testing.T) {
	t.Parallel()
	downHeal(t, lab.Options{Engine: lab.MariaDB, Layout: lab.LayoutSplit})
}

func downHeal(t *testing.T, o lab.Options) (*lab.Cluster, *lab.Node) {
	o.Set = map[string]string{"policy.errant": "archive"}
	c, engine := upWith(t, o), o.Engine
	n := c.Node(2)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	known(t, n)
	must(t, n.SQL(t.Context(), onReplica(n, "INSERT INTO lab.faults (note) VALUES ('nobody else has this')")...))
	ruin(t, n)
	diagnosed(t, n, watchdog.ClassUnreachable)
	if engine == lab.MySQL { // MariaDB's passwords are configured in any case
		refusesRebuild(t, n, "source-account")
		configureAccount(t, c, n)
		restart(t, c, n)
	}
	quiet(t, c, 0, brokenFor+2*time.Second)
	plan, err := n.Plan(t.Context())
	must(t, err)
	if failing := watchdog.Failing(plan.Guards); len(failing) != 1 || failing[0].ID != "fixable-by-rebuild" {
		t.Errorf("the plan should have one reason not to act: %+v", failing)
	}
	// Judged from here, because it was seen in this network; and a person is not
	// held up by what was remembered.
	must(t, c.Node(1).SQL(t.Context(), "ALTER USER repl@'%' ACCOUNT LOCK"))
	refusesRebuild(t, n, "source-account")
	must(t, c.Node(1).SQL(t.Context(), "ALTER USER repl@'%' ACCOUNT UNLOCK"))
	cli(t, n, 0, "rebuild")
	r := healed(t, n, 1)
	stopLoad()
	if r.Cause.Class != watchdog.ClassUnreachable || r.Trigger != "manual" || r.OutageSeconds != nil {
		t.Errorf("cause %+v, trigger %s, outage %v", r.Cause, r.Trigger, r.OutageSeconds)
	}
	if r.Archive == nil || r.Archive.Transactions != 1 {
		t.Errorf("archive %+v, want one transaction", r.Archive)
	}
	before.renewed(t, n)
	quarantined(t, n, before, r.ID)
	equal(t, c)
	return c, n
}

// TestDownErrant: what a server has written, or received, after the last look
// at it is in its logs alone once it is dead. That nobody else has it is found
// there, and nothing is touched.
func TestDownErrant(t *testing.T) {
	t.Parallel()
	downErrant(t, lab.MySQL)
}

func TestMariaDBDownErrant(t *testing.T) {
	t.Parallel()
	downErrant(t, lab.MariaDB)
}

func downErrant(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	db2, db3 := c.Node(2), c.Node(3)
	ctx := t.Context()
	// db3 replicates from db2, and only receives.
	must(t, db3.Attach(ctx, db2))
	must(t, db3.SQL(ctx, map[string]string{lab.MySQL: "STOP REPLICA SQL_THREAD", lab.MariaDB: "STOP SLAVE SQL_THREAD"}[engine]))
	for _, n := range []*lab.Node{db2, db3} {
		source := map[*lab.Node]string{db2: c.Node(1).Address, db3: db2.Address}[n]
		must(t, lab.WaitFor(ctx, time.Minute, n.Name+" to be known", func(context.Context) (bool, string) {
			last, err := healing.LoadLast(n.StateDir())
			return err == nil && last.Source != nil && last.Source.Host == source && !last.ReadAt.IsZero(), fmt.Sprint(last.Source, err)
		}))
		must(t, n.Kill(ctx, sidecarProgram))
	}
	write := []string{"SET GLOBAL read_only=0", "INSERT INTO lab.faults (note) VALUES ('nobody else has this')", "SET GLOBAL read_only=1"}
	if engine == lab.MySQL {
		write = slices.Concat([]string{"SET GLOBAL super_read_only=0"}, write, []string{"SET GLOBAL super_read_only=1"})
	}
	must(t, db2.SQL(ctx, write...))
	gtids, err := db2.Executed(ctx)
	must(t, err)
	must(t, db3.WaitReceived(ctx, gtids))
	dirs := map[*lab.Node]uint64{db2: statOf(t, db2), db3: statOf(t, db3)}
	for _, n := range []*lab.Node{db2, db3} {
		ruin(t, n)
		configureAccount(t, c, n)
		must(t, n.StartSidecar())
	}
	together(t, c)
	for n, dir := range dirs {
		failsBy(t, n, "errant")
		refusesRebuild(t, n, "errant", "--override", "no-replicas-attached", "--override", "keep-serving")
		if now := statOf(t, n); now != dir {
			t.Errorf("%s: its datadir was replaced", n.Name)
		}
		letBe(t, n)
	}
	// Without what was seen of it nothing is known: neither role nor files.
	must(t, db3.Kill(ctx, sidecarProgram))
	must(t, os.Remove(filepath.Join(db3.StateDir(), "last.json")))
	must(t, db3.StartSidecar())
	refuses(t, db3, "server", time.Minute)
	refusesRebuild(t, db3, "role-known")
}

// TestDiesInStage: the mysqld of a broken replica dies for good while its copy
// is being made. The rebuild goes on, and heals it.
func TestDiesInStage(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.systemic_window": "6s"}) // db3 diverges after db2
	n := c.Node(2)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stage.begin=wait:"+gate)
	together(t, c)
	known(t, n)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	ruin(t, n)
	diagnosed(t, n, watchdog.ClassUnreachable)
	must(t, os.WriteFile(gate, nil, 0o644))
	r := healed(t, n, 1)
	stopLoad()
	if r.Trigger != "auto" || r.Cause.Class != watchdog.ClassDivergent {
		t.Errorf("trigger %s, cause %+v", r.Trigger, r.Cause)
	}
	before.unchanged(t, n)
	quarantined(t, n, before, r.ID)
	equal(t, c)

	diesInStop(t, c, c.Node(3))

	// One that a person has shut down is left alone.
	configureAccount(t, c, n)
	restart(t, c, n)
	known(t, n)
	must(t, n.SQL(t.Context(), "SHUTDOWN"))
	diagnosed(t, n, watchdog.ClassUnreachable)
	refusesRebuild(t, n, "service")
}

// diesInStop: it dies for good when it is closed already. It is given back to
// its manager, and the lease is free for others.
func diesInStop(t *testing.T, c *lab.Cluster, n *lab.Node) {
	dir := statOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stop.closed=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	ruin(t, n)
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, n, 1, 2*time.Minute)
	if r.Outcome != watchdog.Cancelled {
		t.Errorf("outcome %s, want cancelled: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	letBe(t, n)
	if now := statOf(t, n); now != dir {
		t.Errorf("%s: its datadir was replaced", n.Name)
	}
}

// TestDeadServerComesBack: a dead server that answers again while its copy is
// being made is let be. Before, the sidecar is killed with the server held:
// the next one gives it back to its manager, and does not wait for it.
func TestDeadServerComesBack(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	n := c.Node(2)
	before := identityOf(t, n)
	configureAccount(t, c, n)
	restart(t, c, n)
	known(t, n)
	// The whole of it can be put back.
	whole := filepath.Join(n.Datadir, "mysql.ibd")
	must(t, os.Rename(whole, whole+".away"))
	must(t, n.Kill(t.Context(), lab.Mysqld))
	diagnosed(t, n, watchdog.ClassUnreachable)

	restartWith(t, n, "stop.held=kill")
	together(t, c)
	cli(t, n, 0, "rebuild")
	died(t, n)
	notRunning(t, n)
	n.Env()
	must(t, n.StartSidecar())
	if r := ended(t, n, 1, time.Minute); r.Outcome != watchdog.Cancelled {
		t.Errorf("outcome %s, want cancelled: %s", r.Outcome, r.Error)
	}
	letBe(t, n)

	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stage.end=wait:"+gate)
	together(t, c)
	cli(t, n, 0, "rebuild")
	reached(t, gate)
	must(t, os.Rename(whole+".away", whole))
	must(t, n.WaitReplicating(t.Context(), 2*time.Minute))
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, n, 2, 2*time.Minute)
	if r.Outcome != watchdog.Cancelled {
		t.Errorf("outcome %s, want cancelled: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	asBefore(t, n, before)
	equal(t, c)
}

// known waits until all that is needed of a node's server is kept.
func known(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), time.Minute, n.Name+" to be known", func(context.Context) (bool, string) {
		last, err := healing.LoadLast(n.StateDir())
		return err == nil && last.Source != nil && !last.ReadAt.IsZero(), fmt.Sprint(last.ReadAt, err)
	}))
}

// ruin damages what a node's mysqld boots from, and kills it.
func ruin(t *testing.T, n *lab.Node) {
	t.Helper()
	if n.Engine() == lab.MariaDB {
		dir := n.Datadir
		if n.Layout() == lab.LayoutSplit {
			dir = n.InnoDBDir()
		}
		must(t, os.Truncate(filepath.Join(dir, "ib_logfile0"), 1000))
	} else {
		must(t, os.Truncate(filepath.Join(n.Datadir, "mysql.ibd"), 0))
		redo, err := filepath.Glob(filepath.Join(n.Datadir, "#innodb_redo", "#ib_redo*"))
		must(t, err)
		for _, path := range redo {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	must(t, n.Kill(t.Context(), lab.Mysqld))
	t.Logf("%s: mysqld is killed, and cannot boot", n.Name)
}

// configureAccount names the account to replicate with, for the next start of
// the node's sidecar.
func configureAccount(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	must(t, n.Set(map[string]string{"mysql.replication.user": "repl", "mysql.replication.password_file": filepath.Join(c.Dir, "repl.password")}))
}

// refusesRebuild checks that a person's rebuild is refused by a guard.
func refusesRebuild(t *testing.T, n *lab.Node, guard string, args ...string) {
	t.Helper()
	_, stderr, code, err := n.Resilver(t.Context(), append([]string{"rebuild"}, args...)...)
	must(t, err)
	if code != 3 || !strings.Contains(stderr, guard) {
		t.Errorf("%s: rebuild %v: exit code %d, want 3 and guard %s: %s", n.Name, args, code, guard, stderr)
	}
}

// failsBy waits until a guard of the node's plan says no, not just that it
// does not know.
func failsBy(t *testing.T, n *lab.Node, guard string) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), time.Minute, fmt.Sprintf("%s to fail guard %s", n.Name, guard), func(ctx context.Context) (bool, string) {
		plan, err := n.Plan(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, g := range plan.Guards {
			if g.ID == guard {
				return g.Verdict == watchdog.Fail, fmt.Sprint(g.Verdict, " ", g.Reason)
			}
		}
		return false, fmt.Sprint(watchdog.Failing(plan.Guards))
	}))
}

// letBe checks that a dead server is its manager's, to be started as before.
func letBe(t *testing.T, n *lab.Node) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(n.Datadir, "resilver.no-start")); err == nil {
		t.Errorf("%s: the start guard's marker is there", n.Name)
	}
	s, err := n.Status(t.Context())
	must(t, err)
	if s.Lease != nil {
		t.Errorf("%s: the lease is held: %+v", n.Name, s.Lease)
	}
	if err := healing.StartGuard(n.StateDir(), n.Datadir); err != nil {
		t.Errorf("%s: mysqld may not start: %v", n.Name, err)
	}
}
