//go:build proof

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestInvariant9ErrantIsArchived: by policy a broken replica with transactions
// of its own heals, and these are kept: replayed into another server they give
// the rows. One that is made while the copy is, is found in stop. The rebuilt
// server never numbers others by their ids.
func TestInvariant9ErrantIsArchived(t *testing.T) { onEngines(t, errantIsArchived) }

func errantIsArchived(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.errant": "archive"})
	n, ctx := c.Node(2), t.Context()
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stage.begin=wait:"+gate)
	together(t, c)
	cli(t, n, 0, "pause", "--reason", "to be broken twice")
	breakIt(t, c, n, "row-missing")
	must(t, n.SQL(ctx, onReplica(n, "CREATE TABLE lab.only_here (id INT PRIMARY KEY, note VARCHAR(40))",
		"INSERT INTO lab.only_here VALUES (1, 'nobody else'), (2, 'has these')", "FLUSH BINARY LOGS", "UPDATE lab.only_here SET note='has this' WHERE id=2")...))
	must(t, n.SQL(ctx, onReplica(n, "SET sql_log_bin=0", "CREATE TABLE lab.made_here (id INT PRIMARY KEY)", "CREATE USER walter@'10.%' IDENTIFIED BY 'white'", "SET sql_log_bin=1")...))
	cli(t, n, 0, "resume")
	reached(t, gate)
	must(t, n.SQL(ctx, onReplica(n, "INSERT INTO lab.only_here VALUES (3, 'made while the copy is')")...))
	want, err := n.Rows(ctx, "SELECT * FROM lab.only_here ORDER BY id")
	must(t, err)
	must(t, os.WriteFile(gate, nil, 0o644))
	r := healed(t, n, 1)
	stopLoad()
	if r.Archive == nil || r.Archive.Transactions != 4 || filepath.Base(r.Archive.Path) != r.ID+".archive" {
		t.Fatalf("the history does not name the archive: %+v", r.Archive)
	}
	for _, g := range r.Guards {
		if g.ID == "local-objects" && (g.Verdict != watchdog.Pass || g.Value != "account walter@10.%, table lab.made_here (InnoDB), table lab.only_here (InnoDB)") {
			t.Errorf("the guard does not name what was made here: %+v", g)
		}
		if g.ID == "errant" && (g.Verdict != watchdog.Pass || !strings.Contains(g.Value, strings.TrimSuffix(ownGTID(before), "1"))) {
			t.Errorf("the guard does not name the transactions: %+v", g)
		}
	}
	madeHere(t, n, r)
	quarantined(t, n, before, r.ID)
	before.renewed(t, n)
	equal(t, c)

	scratch := bare(t, engine, 1).Node(1)
	replay(t, r.Archive.Path, scratch, 0)
	have, err := scratch.Rows(ctx, "SELECT * FROM lab.only_here ORDER BY id")
	must(t, err)
	if len(have) != 3 || fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("replayed it is %v, want %v", have, want)
	}
}

// renewed checks that the rebuilt node is who it was, but for a server_uuid that
// the archived transactions have.
func (id identity) renewed(t *testing.T, n *lab.Node) {
	t.Helper()
	if n.Engine() == lab.MySQL {
		uuid, err := n.Value(t.Context(), "SELECT @@server_uuid")
		must(t, err)
		if uuid == id.uuid {
			t.Errorf("%s has the server_uuid of the archived transactions", n.Name)
		}
		id.uuid = uuid
	}
	id.unchanged(t, n)
}

// madeHere: what was made without a trace in the binary log is listed, and how
// it was made is kept, the account's password in no log.
func madeHere(t *testing.T, n *lab.Node, r watchdog.Record) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.Archive.Path, "objects.sql"))
	must(t, err)
	for _, part := range []string{"CREATE TABLE `made_here`", "walter", "IDENTIFIED"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("objects.sql has no %s: %s", part, text)
		}
	}
	log, err := os.ReadFile(n.SidecarLog())
	must(t, err)
	if strings.Contains(string(log), "IDENTIFIED") || !strings.Contains(string(log), "lab.made_here") {
		t.Error("the log shows an account's definition, or does not name the table")
	}
}
