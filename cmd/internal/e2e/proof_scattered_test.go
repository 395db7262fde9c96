//go:build proof

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resilver/cmd/internal/lab"
)

// TestScattered: a node whose tables have directories of their own, at paths
// that are the same on every node, is healed with them, also where its sidecar
// is killed in the middle of the swap. What was there goes with the old
// datadir, files of others stay, and afterwards such tables come and go by
// replication.
func TestScattered(t *testing.T) { onEngines(t, scatteredTables) }

func scatteredTables(t *testing.T, engine string) {
	c := upWith(t, lab.Options{Engine: engine, Layout: lab.LayoutScattered, Set: map[string]string{"policy.cooldown": "1s"}})
	n, ext := c.Node(2), c.ExtDir()
	scatterTables(t, c, ext)
	equal(t, c)
	// One that only this node has, and in its schema's directory a file of
	// somebody else's.
	sneakSQL(t, n, "CREATE TABLE lab.mine (id INT PRIMARY KEY) DATA DIRECTORY='"+ext+"'")
	foreign := contents{filepath.Join(n.TablesDir(), "lab", "farther.ibd"): "somebody else's", filepath.Join(n.TablesDir(), "notes.ibd"): "notes"}
	for path, text := range foreign {
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	stopLoad := underLoad(t, c)
	for i, point := range []string{"", "swap.moved-in"} {
		before, old := identityOf(t, n), tablesOf(t, n, "")
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
		}
		r := healed(t, n, i+1)
		settled(t, n)
		before.unchanged(t, n)
		quarantined(t, n, before, r.ID)
		now, kept := tablesOf(t, n, ""), tablesOf(t, n, r.ID)
		for path, ino := range old {
			if kept[path] != ino {
				t.Errorf("%s: the old %s was not kept: %v", n.Name, path, kept)
			}
			if now[path] == ino {
				t.Errorf("%s: the old %s is still in its place", n.Name, path)
			}
		}
		for path := range tablesOf(t, c.Node(1), "") {
			if now[path] == 0 {
				t.Errorf("%s: %s is not in its place: %v", n.Name, path, now)
			} else {
				owned(t, filepath.Join(n.TablesDir(), path), before.uid, before.gid)
			}
			if left := filepath.Join(n.TablesDir(), filepath.Dir(path), ".resilver", "new", filepath.Base(path)); exists(left) {
				t.Errorf("%s is left", left)
			}
		}
		if now["lab/mine.ibd"] != 0 {
			t.Errorf("%s: a table that the copy has not is there", n.Name)
		}
		foreign.untouched(t)
		for _, table := range []string{"far", "parts"} {
			rows, err := n.Rows(t.Context(), "SHOW CREATE TABLE lab."+table)
			must(t, err)
			if !strings.Contains(rows[0]["Create Table"], ext) {
				t.Errorf("%s: %v", n.Name, rows)
			}
		}
	}
	must(t, c.Node(1).SQL(t.Context(), "DROP TABLE lab.far", "CREATE TABLE lab.far2 (id INT PRIMARY KEY) DATA DIRECTORY='"+ext+"'",
		"CREATE TABLE lab.mine (id INT PRIMARY KEY) DATA DIRECTORY='"+ext+"'", "INSERT INTO lab.mine VALUES (1)"))
	equal(t, c)
	if now := tablesOf(t, n, ""); now["lab/far.ibd"] != 0 || now["lab/far2.ibd"] == 0 || now["lab/mine.ibd"] == 0 {
		t.Errorf("%s: after replication %v", n.Name, now)
	}
	refusesRollback(t, n, "paths of their own")
	stopLoad()
}

// scatterTables makes tables at paths of their own on every node.
func scatterTables(t *testing.T, c *lab.Cluster, ext string) {
	t.Helper()
	statements := []string{
		"CREATE TABLE lab.far (id INT PRIMARY KEY, body VARCHAR(200)) DATA DIRECTORY='" + ext + "'",
		"INSERT INTO lab.far VALUES (1, REPEAT('a', 200)), (2, REPEAT('b', 200))",
		"CREATE TABLE lab.parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10) DATA DIRECTORY='" + ext +
			"', PARTITION p1 VALUES LESS THAN (20))",
		"INSERT INTO lab.parts VALUES (1), (11)",
	}
	if c.Engine() == lab.MySQL {
		statements = append(statements, "CREATE TABLESPACE general ADD DATAFILE '"+ext+"/general.ibd'",
			"CREATE TABLE lab.ingeneral (id INT PRIMARY KEY) TABLESPACE general", "INSERT INTO lab.ingeneral VALUES (7)")
	}
	must(t, c.Node(1).SQL(t.Context(), statements...))
}

// tablesOf are the inodes of a node's tables at paths of their own, or of
// those that were kept by a rebuild; but for the files of others.
func tablesOf(t *testing.T, n *lab.Node, rebuild string) inodes {
	t.Helper()
	out := inodes{}
	for _, dir := range []string{"", "lab"} {
		at := filepath.Join(n.TablesDir(), dir)
		if rebuild != "" {
			at = filepath.Join(at, ".resilver", "old", rebuild)
		}
		found, err := filepath.Glob(filepath.Join(at, "*.ibd"))
		must(t, err)
		for _, path := range found {
			if name := filepath.Base(path); name != "farther.ibd" && name != "notes.ibd" {
				out[filepath.Join(dir, name)] = identityOfDir(t, path)
			}
		}
	}
	return out
}
