//go:build proof

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// The datadirs of these proofs are mount points (P32).

func TestMySQLMount(t *testing.T) { mounted(t, lab.MySQL) }

func TestMariaDBMount(t *testing.T) { mounted(t, lab.MariaDB) }

// mounted: a node of that layout is healed under load, by a donor of the same
// layout, and is then itself the donor of another one, with a quarantine in its
// datadir. It is healed when its sidecar is killed in the middle of the swap;
// and where somebody starts a server by hand then, past every guard, none comes
// up, and the old one is back with every entry that it had.
func mounted(t *testing.T, engine string) {
	t.Parallel()
	c := upWith(t, lab.Options{Engine: engine, Layout: lab.LayoutMount, Set: map[string]string{"policy.cooldown": "1s", "policy.systemic_window": "3s", "rebuild.deadlines": "{start: 1m}"}})
	n := c.Node(2)
	stopLoad := underLoad(t, c)
	for i, on := range []*lab.Node{n, c.Node(3)} {
		before := identityOf(t, on)
		breakIt(t, c, on, "row-missing")
		healedInPlace(t, on, before, healed(t, on, 1))
		if i == 0 {
			noneTaken(t, n)
		}
	}

	before := identityOf(t, n)
	restartWith(t, n, "swap.moved-out=kill")
	together(t, c)
	breakIt(t, c, n, "row-missing")
	died(t, n)
	notRunning(t, n)
	if data := dataAtTop(t, n); len(data) > 0 {
		t.Errorf("%s: %v are in the datadir in the middle of the swap", n.Name, data)
	}
	n.Env()
	must(t, n.StartSidecar())
	healedInPlace(t, n, before, healed(t, n, 2))
	stopLoad()
	equal(t, c)

	together(t, c)
	refusesRollback(t, n, "mount point")
	startedByHand(t, c, n)
}

// healedInPlace checks that new entries have taken the place of the old ones,
// which are kept, and that what is nobody's data is where it was.
func healedInPlace(t *testing.T, n *lab.Node, before identity, r watchdog.Record) {
	t.Helper()
	settled(t, n)
	before.unchanged(t, n)
	quarantined(t, n, before, r.ID)
	if _, err := os.Stat(filepath.Join(n.Datadir, "lost+found")); err != nil {
		t.Error(err)
	}
	if now, err := os.Stat(n.Datadir); err != nil || now.Mode() != before.mode {
		t.Errorf("%s: mode %v, was %v: %v", n.Datadir, now.Mode(), before.mode, err)
	}
}

// noneTaken checks that a server takes nothing in the area for its own.
func noneTaken(t *testing.T, n *lab.Node) {
	t.Helper()
	rows, err := n.Rows(t.Context(), "SHOW DATABASES")
	must(t, err)
	for _, row := range rows {
		if strings.Contains(row["Database"], "resilver") {
			t.Errorf("%s: %v is a schema", n.Name, row)
		}
	}
	if len(rows) < 5 {
		t.Errorf("schemas: %v", rows)
	}
}

// dataAtTop are the entries of a node's datadir that come and go with the data.
func dataAtTop(t *testing.T, n *lab.Node) []string {
	t.Helper()
	entries, err := os.ReadDir(n.Datadir)
	must(t, err)
	var out []string
	for _, e := range entries {
		if name := e.Name(); name != "lost+found" && name != ".resilver" && name != "resilver.no-start" {
			out = append(out, name)
		}
	}
	return out
}

// startedByHand: past every guard a server finds no data, and comes up on none.
// What it leaves makes the swap fail, and then every old entry is back.
func startedByHand(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "swap.moved-out=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.Program(), "--defaults-file="+n.OptionFile())
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Errorf("%s: a server started by hand in the middle of the swap did not give up: %v: %s", n.Name, err, out)
	}
	left := dataAtTop(t, n)
	t.Logf("%s: a server started by hand has left %v", n.Name, left)
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, n, 3, 4*time.Minute)
	if r.Outcome != watchdog.RolledBack {
		t.Fatalf("outcome %s, want rolled-back: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	settled(t, n)
	before.untouched(t, n)
	if _, err := n.Value(t.Context(), "SELECT COUNT(*) FROM lab.bulk"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(n.Datadir, ".resilver", "new")); err == nil {
		t.Error("a staging directory was left behind")
	}
}
