//go:build proof

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// The servers of these proofs have binary and relay logs, the system
// tablespace, redo, undo and what else can be outside their datadir, beside
// files of others.

func TestMySQLLayout(t *testing.T) { layout(t, lab.MySQL) }

func TestMariaDBLayout(t *testing.T) { layout(t, lab.MariaDB) }

// layout: a node of that layout is healed under load; it is healed when its
// sidecar is killed right after the old entries were moved out, and right
// after the new ones were moved in; and where the new server does not boot the
// old one is back with every entry that it had. Files of others stay.
func layout(t *testing.T, engine string) {
	t.Parallel()
	c := upSplit(t, engine, map[string]string{"policy.cooldown": "1s", "rebuild.deadlines": "{start: 1m}"})
	n := c.Node(2)
	foreign := plantForeign(t, n)
	dropAll := theirsInTheWay(t, n, c.Node(3))
	stopLoad := underLoad(t, c)

	for i, point := range []string{"", "swap.moved-out", "swap.moved-in"} {
		before, old := identityOf(t, n), entriesElsewhere(t, n)
		if point != "" {
			restartWith(t, n, point+"=kill")
			together(t, c)
		}
		breakIt(t, c, n, "row-missing")
		if point != "" {
			died(t, n)
			notRunning(t, n)
			n.Env()
			must(t, n.StartSidecar())
		} else {
			refusesTheirs(t, n, c.Node(3))
			dropAll()
		}
		r := healed(t, n, i+1)
		noneLeft(t, n)
		before.unchanged(t, n)
		quarantined(t, n, before, r.ID)
		old.shelved(t, n, r.ID)
		foreign.untouched(t)
		replicatesOn(t, n)
	}
	rolledBackWhole(t, c, n, foreign)
	backAndForth(t, c, n, foreign)
	stopLoad()
}

// theirsInTheWay makes tables with a DATA DIRECTORY on a donor, and one on the
// node itself, each at a path of its own: on this machine the donor's lie where
// their copies would have to go. It returns what removes the donor's again.
func theirsInTheWay(t *testing.T, n, donor *lab.Node) (drop func()) {
	t.Helper()
	for _, on := range []*lab.Node{n, donor} {
		sneakSQL(t, on, "CREATE TABLE lab.far (id INT PRIMARY KEY) DATA DIRECTORY='"+on.TablesDir()+"'")
		if _, err := os.Stat(filepath.Join(on.TablesDir(), "lab", "far.ibd")); err != nil {
			t.Fatal(err)
		}
	}
	sidecarAnew(t, donor)
	return func() {
		sneakSQL(t, donor, "DROP TABLE lab.far")
		sidecarAnew(t, donor)
	}
}

// refusesTheirs: as long as another server's file is at the path of a
// tablespace that a copy would bring, nothing is rebuilt.
func refusesTheirs(t *testing.T, n, donor *lab.Node) {
	t.Helper()
	before := entriesElsewhere(t, n)
	refusesFor(t, n, "staging-place", donor.Name+"'s tablespaces")
	for name, ino := range before {
		if strings.HasPrefix(name, "ib/") && entriesElsewhere(t, n)[name] != ino {
			t.Errorf("%s: a refusal has touched %s", n.Name, name)
		}
	}
	for _, dir := range []string{n.LogDir(), filepath.Join(n.TablesDir(), "lab"), filepath.Join(donor.TablesDir(), "lab")} {
		if exists(filepath.Join(dir, ".resilver")) {
			t.Errorf("%s: a refusal has made an area in %s", n.Name, dir)
		}
	}
}

// sidecarAnew restarts a node's sidecar, which then reads anew what the server holds.
func sidecarAnew(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, n.StopSidecar(t.Context()))
	must(t, n.StartSidecar())
}

// sneakSQL runs a statement on a replica and leaves no transaction of its own.
func sneakSQL(t *testing.T, n *lab.Node, statement string) {
	t.Helper()
	if n.Engine() == lab.MariaDB {
		must(t, n.SQL(t.Context(), "SET sql_log_bin=0", statement))
		return
	}
	must(t, n.SQL(t.Context(), "SET sql_log_bin=0", "SET GLOBAL super_read_only=0", statement, "SET GLOBAL super_read_only=1"))
}

// refusesFor waits until a guard refuses with a text in its reason.
func refusesFor(t *testing.T, n *lab.Node, guard, text string) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), 2*time.Minute, n.Name+" to refuse by "+guard+" for "+text, func(ctx context.Context) (bool, string) {
		plan, err := n.Plan(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, g := range plan.Guards {
			if g.ID == guard && g.Verdict == watchdog.Fail && strings.Contains(g.Reason+g.Value, text) {
				t.Logf("%s refuses: %s: %s %s", n.Name, g.ID, g.Value, g.Reason)
				return !plan.WouldAct, "it would act"
			}
		}
		return false, "no such reason"
	}))
}

// rolledBackWhole: the new server has run, and made files, but does not come up
// again.
func rolledBackWhole(t *testing.T, c *lab.Cluster, n *lab.Node, foreign contents) {
	t.Helper()
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "swap.moved-in=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	old := lastShelf(t, n)
	must(t, os.Truncate(filepath.Join(n.InnoDBDir(), "ibdata1"), 0))
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, n, 4, 4*time.Minute)
	if r.Outcome != watchdog.RolledBack {
		t.Fatalf("outcome %s, want rolled-back: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	before.untouched(t, n)
	old.back(t, n)
	foreign.untouched(t)
	rows, err := n.Rows(t.Context(), "SHOW BINARY LOGS")
	must(t, err)
	if len(rows) == 0 {
		t.Error("the old server has no binary log")
	}
	noneLeft(t, n)
}

// backAndForth: a person goes back to what the last rebuild that healed has set
// aside, and forward again; the sidecar is killed with the entries of both away.
func backAndForth(t *testing.T, c *lab.Cluster, n *lab.Node, foreign contents) {
	t.Helper()
	before, here := identityOf(t, n), entriesElsewhere(t, n)
	killedRollback(t, c, n, "swap.moved-out", true)
	back := wentBack(t, n, 5)
	before.unchanged(t, n)
	quarantined(t, n, before, back.ID)
	here.shelved(t, n, back.ID)
	foreign.untouched(t)
	noneLeft(t, n)
	there := entriesElsewhere(t, n)

	killedRollback(t, c, n, "swap.moved-in", true)
	forward := wentBack(t, n, 6)
	before.untouched(t, n)
	here.back(t, n)
	there.shelved(t, n, forward.ID)
	foreign.untouched(t)
	noneLeft(t, n)
	replicatesOn(t, n)
}

// upSplit is upOn with LayoutSplit.
func upSplit(t *testing.T, engine string, set map[string]string) *lab.Cluster {
	t.Helper()
	return upWith(t, lab.Options{Engine: engine, Layout: lab.LayoutSplit, Set: set})
}

// contents are the texts of files by path.
type contents map[string]string

// plantForeign puts files of others, with names much like the server's, and a
// link to one of them beside the server's.
func plantForeign(t *testing.T, n *lab.Node) contents {
	t.Helper()
	all := contents{filepath.Join(n.InnoDBDir(), "undo_notes.txt"): ""}
	for _, name := range []string{"log/binlog.000001.gz", "log/binlog.old.000002", "log/binlog2.index", "log/relay", "ib/ib_logfile.bak", "ib/ibdata1.bak", "ib/ibdata2", "ib/xundo_001", "ib/#ib_16384.dblwr"} {
		path := filepath.Join(filepath.Dir(n.Datadir), name)
		must(t, os.WriteFile(path, []byte(name), 0o644))
		all[path] = ""
	}
	must(t, os.Symlink(filepath.Join(n.InnoDBDir(), "undo_notes.txt"), filepath.Join(n.LogDir(), "binlog.link")))
	for path := range all {
		b, err := os.ReadFile(path)
		must(t, err)
		all[path] = string(b)
	}
	return all
}

func (c contents) untouched(t *testing.T) {
	t.Helper()
	for path, text := range c {
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s is %q, it was %q: %v", path, b, text, err)
		}
	}
}

// inodes are the server's entries outside its datadir, by path below home.
type inodes map[string]uint64

var serversOwn = regexp.MustCompile(`^(log/(binlog|relay)(\.\d{6}|\.index|\.state)|ib/(#innodb_redo|ib_logfile0|undo_?00\d|ibdata1|ib_buffer_pool|#ib_16384_\d+\.dblwr|aria_log_control|aria_log\.\d{8}))$`)

func entriesElsewhere(t *testing.T, n *lab.Node) inodes {
	t.Helper()
	return ownEntries(t, n, "")
}

// lastShelf are the entries that the last rebuild moved out.
func lastShelf(t *testing.T, n *lab.Node) inodes {
	t.Helper()
	shelves, err := filepath.Glob(filepath.Join(n.LogDir(), ".resilver", "old", "*"))
	must(t, err)
	return ownEntries(t, n, filepath.Join(".resilver", "old", filepath.Base(shelves[len(shelves)-1])))
}

func ownEntries(t *testing.T, n *lab.Node, below string) inodes {
	t.Helper()
	home, out := filepath.Dir(n.Datadir), inodes{}
	for _, dir := range []string{"log", "ib"} {
		entries, err := os.ReadDir(filepath.Join(home, dir, below))
		must(t, err)
		for _, e := range entries {
			if name := filepath.Join(dir, e.Name()); serversOwn.MatchString(name) {
				out[name] = identityOfDir(t, filepath.Join(home, dir, below, e.Name()))
			}
		}
	}
	if out["log/binlog.index"] == 0 || out["log/relay.index"] == 0 {
		t.Fatalf("no logs below %s: %v", below, out)
	}
	return out
}

// shelved checks that the entries that cannot have changed while the old
// server still ran were kept with the old datadir, and none is where it was.
func (old inodes) shelved(t *testing.T, n *lab.Node, rebuild string) {
	t.Helper()
	now, kept := entriesElsewhere(t, n), ownEntries(t, n, filepath.Join(".resilver", "old", rebuild))
	for name, ino := range old {
		if now[name] == ino {
			t.Errorf("%s: the old %s lies beside the new data", n.Name, name)
		}
		if strings.HasPrefix(name, "ib/") && kept[name] != ino {
			t.Errorf("%s: the old %s was not kept: %v", n.Name, name, kept)
		}
	}
	t.Logf("%s: %d entries kept, %d new ones", n.Name, len(kept), len(now))
	home := filepath.Dir(n.Datadir)
	for _, dir := range []string{"log", "ib"} {
		id := identityOf(t, n)
		for name := range now {
			if strings.HasPrefix(name, dir+"/") {
				owned(t, filepath.Join(home, name), id.uid, id.gid)
			}
		}
	}
}

// back checks that every entry is where it was.
func (old inodes) back(t *testing.T, n *lab.Node) {
	t.Helper()
	now := entriesElsewhere(t, n)
	for name, ino := range old {
		// The old server purges its relay logs, and makes a .state file, as it likes.
		if strings.HasPrefix(name, "ib/") || name == "log/binlog.000001" {
			if now[name] != ino {
				t.Errorf("%s: %s is inode %d, it was %d", n.Name, name, now[name], ino)
			}
		}
	}
}

// settled waits until a rebuild is: its outcome can be seen before.
func settled(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), time.Minute, n.Name+" to settle its rebuild", func(context.Context) (bool, string) {
		return !exists(filepath.Join(n.StateDir(), "journal.json")), "its journal is there"
	}))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// noneLeft checks that nothing of a copy is left outside the datadir.
func noneLeft(t *testing.T, n *lab.Node) {
	t.Helper()
	settled(t, n)
	for _, dir := range []string{n.LogDir(), n.InnoDBDir()} {
		entries, err := os.ReadDir(filepath.Join(dir, ".resilver", "new"))
		must(t, err)
		if len(entries) > 0 {
			t.Errorf("%s: %d entries are left in %s/.resilver/new", n.Name, len(entries), dir)
		}
	}
}

// replicatesOn checks that the rebuilt server writes its binary log at the old
// place, and on MariaDB knows in it what the copy brought.
func replicatesOn(t *testing.T, n *lab.Node) {
	t.Helper()
	rows, err := n.Rows(t.Context(), "SHOW BINARY LOGS")
	must(t, err)
	if len(rows) == 0 || entriesElsewhere(t, n)["log/"+rows[0]["Log_name"]] == 0 {
		t.Errorf("%s: binary logs %v", n.Name, rows)
	}
	if n.Engine() == lab.MariaDB {
		state, err := n.Value(t.Context(), "SELECT @@gtid_binlog_state")
		must(t, err)
		if !strings.Contains(state, "0-1-") {
			t.Errorf("%s: gtid_binlog_state is %q", n.Name, state)
		}
	}
}
