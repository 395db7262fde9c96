//go:build proof

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// TestFilteredDonorIsRefused: a replica that keeps something out counts the
// transactions as executed all the same. It is no donor, or what it lacks
// would be gone from the rebuilt node too.
func TestFilteredDonorIsRefused(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	db1, db2, db3 := c.Node(1), c.Node(2), c.Node(3)
	must(t, db3.SQL(t.Context(), "STOP REPLICA SQL_THREAD", "CHANGE REPLICATION FILTER REPLICATE_WILD_IGNORE_TABLE = ('kept.%')", "START REPLICA SQL_THREAD"))
	must(t, db1.SQL(t.Context(), "CREATE DATABASE kept", "CREATE TABLE kept.t (id INT PRIMARY KEY)", "INSERT INTO kept.t VALUES (1), (2), (3)"))
	must(t, db3.WaitReplicating(t.Context(), time.Minute))
	breakIt(t, c, db2, "row-missing")
	if r := healed(t, db2, 1); r.Donor != "db1" {
		t.Errorf("healed from %s, which keeps a schema out", r.Donor)
	}
	if v, err := db2.Value(t.Context(), "SELECT COUNT(*) FROM kept.t"); err != nil || v != "3" {
		t.Errorf("kept.t has %s rows, want 3, %v", v, err)
	}
}

// TestTrapP27OtherEnginesArriveEmpty: a table that a clone brings over empty
// is made after every guard has passed. The copy itself is asked, and refused;
// once the table is gone the replica heals.
func TestTrapP27OtherEnginesArriveEmpty(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	db1, n := c.Node(1), c.Node(2)
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stage.begin=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	must(t, db1.SQL(t.Context(), "CREATE TABLE lab.old (id INT PRIMARY KEY) ENGINE=MyISAM", "INSERT INTO lab.old VALUES (1), (2), (3)"))
	must(t, c.Node(3).WaitReplicating(t.Context(), time.Minute))
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, n, 1, 2*time.Minute)
	if r.Outcome != watchdog.Failed || !strings.Contains(r.Error, "lab.old (MyISAM)") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	before.untouched(t, n)
	refuses(t, n, "engines", time.Minute)
	must(t, db1.SQL(t.Context(), "DROP TABLE lab.old"))
	healed(t, n, 2)
	before.unchanged(t, n)
	equal(t, c)
}
