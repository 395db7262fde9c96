package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/healing/archive"
	"resilver/healing/binlog"
	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// bare starts servers that replicate, without sidecars.
func bare(t *testing.T, engine string, nodes int) *lab.Cluster {
	t.Helper()
	dir, err := lab.NewDir("bare")
	must(t, err)
	release, err := lab.Tether(dir)
	must(t, err)
	c, err := lab.Up(t.Context(), lab.Options{Engine: engine, Dir: dir, Nodes: nodes, PoolMB: 16, Out: logWriter{t}})
	if err != nil {
		t.Fatal(errors.Join(err, release()))
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), release()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// connected is a lab's server, as its root.
func connected(t *testing.T, n *lab.Node) *replica.Server {
	t.Helper()
	s, err := replica.Open(replica.Options{Socket: n.Socket, User: rootOf(t, n), Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { _ = s.Disconnect() })
	return s
}

func rootOf(t *testing.T, n *lab.Node) string {
	t.Helper()
	if n.Engine() == lab.MySQL {
		return "root"
	}
	u, err := user.Current()
	must(t, err)
	return u.Username
}

// errantCase is a replica, db2, and what stands for the primary, db3: a server
// that lacks what is to be found in db2's logs.
type errantCase struct {
	*testing.T
	c             *lab.Cluster
	db1, db2, db3 *lab.Node
	own, other    *replica.Server
	paths         map[string]string
	program       []string
	place         datadir.Place
	kept          string // what was archived so far
}

func newErrantCase(t *testing.T, engine string) *errantCase {
	c := bare(t, engine, 3)
	e := &errantCase{T: t, c: c, db1: c.Node(1), db2: c.Node(2), db3: c.Node(3)}
	e.own, e.other = connected(t, e.db2), connected(t, e.db3)
	var err error
	e.paths, err = e.own.Paths(t.Context())
	must(t, err)
	mysqld, _, _ := c.Mysqld()
	e.program = []string{mysqld}
	e.place, err = datadir.PlaceFor(e.db2.Datadir, "")
	must(t, err)
	_, err = e.place.Prepare()
	must(t, err)
	gtids, err := e.db1.Executed(t.Context())
	must(t, err)
	must(t, e.db3.WaitExecuted(t.Context(), gtids, time.Minute))
	must(t, e.db3.SQL(t.Context(), "STOP REPLICA"))
	if engine == lab.MySQL {
		must(t, e.db3.SQL(t.Context(), "SET GLOBAL super_read_only=0", "SET GLOBAL read_only=0"))
	}
	return e
}

// trail is that of db2, with self as what it is.
func (e *errantCase) trail(self watchdog.Observation, sets archive.Sets) (*archive.Trail, string) {
	e.Helper()
	primary := e.other.Observe(e.Context())
	if !primary.Reachable {
		e.Fatal(primary.Err)
	}
	held, err := sets.GTIDUnion(e.Context(), self.Executed, self.Source().Retrieved)
	must(e.T, err)
	set, err := sets.GTIDBeyond(e.Context(), held, self.ServerID, primary)
	must(e.T, err)
	set, err = sets.GTIDSubtract(e.Context(), set, e.kept)
	must(e.T, err)
	return &archive.Trail{Datadir: e.db2.Datadir, Paths: e.paths, Program: e.program, Self: self, Primary: primary, Sets: sets}, set
}

func (e *errantCase) live() (*archive.Trail, string) {
	e.Helper()
	self := e.own.Observe(e.Context())
	if !self.Reachable {
		e.Fatal(self.Err)
	}
	return e.trail(self, e.own)
}

// archived archives set, and replays the archive into db3, each transaction
// under its own id where the engine can.
func (e *errantCase) archived(id string, t *archive.Trail, set string) archive.Manifest {
	e.Helper()
	found, err := t.Find(e.Context(), set, e.kept)
	must(e.T, err)
	dir, err := e.place.Archive(id)
	must(e.T, err)
	m, err := found.Keep(e.Context(), dir, archive.Manifest{Rebuild: id, Node: "db2"})
	must(e.T, err)
	if m.Transactions != found.Transactions() || m.Bytes < found.Bytes() {
		e.Errorf("%s: found %d transactions of %d bytes, archived %+v", id, found.Transactions(), found.Bytes(), m)
	}
	for _, f := range m.Files {
		b, err := os.ReadFile(filepath.Join(dir.Ref.Path, f.Name))
		must(e.T, err)
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(b)) != f.Bytes {
			e.Errorf("%s: it is not the file of the manifest", f.Name)
		}
	}
	replay(e.T, dir.Ref.Path, e.db3, len(m.Replay)-1)
	e.kept, err = t.Sets.GTIDUnion(e.Context(), e.kept, m.GTIDs)
	must(e.T, err)
	e.Logf("%s: %s, %d transactions in %d files", id, m.GTIDs, m.Transactions, len(m.Files))
	return m
}

// rows are those of every table of the schemas that the case writes to.
func (e *errantCase) rows(n *lab.Node) string {
	e.Helper()
	out := ""
	tables, err := n.Rows(e.Context(), "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) AS t FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ('lab', 'mine') AND TABLE_TYPE = 'BASE TABLE' ORDER BY 1")
	must(e.T, err)
	for _, table := range tables {
		rows, err := n.Rows(e.Context(), "SELECT * FROM "+table["t"]+" ORDER BY 1")
		must(e.T, err)
		out += fmt.Sprintln(table["t"], rows)
	}
	return out
}

func (e *errantCase) same(want, have string) {
	e.Helper()
	if want != have {
		e.Errorf("replayed it is\n%s\nwant\n%s", have, want)
	}
}

// TestArchive: what only a replica has is archived from its relay logs, from
// its binary logs while it runs, and once it is dead; replayed into another
// server it gives the same rows. Logs that are damaged, encrypted, purged or
// cut off give none.
func TestArchive(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		e := newErrantCase(t, engine)
		e.receivedOnly()
		e.executed()
		e.dead()
	})
}

// receivedOnly: db2 has received what db3 never will.
func (e *errantCase) receivedOnly() {
	ctx := e.Context()
	must(e.T, e.db2.SQL(ctx, map[string]string{lab.MySQL: "STOP REPLICA SQL_THREAD", lab.MariaDB: "STOP SLAVE SQL_THREAD"}[e.db2.Engine()]))
	must(e.T, e.db1.SQL(ctx, "CREATE DATABASE mine", "CREATE TABLE mine.t (id INT PRIMARY KEY, body BLOB)", "INSERT INTO mine.t VALUES (1, 'received'), (2, x'00ff0a27')",
		"FLUSH BINARY LOGS", "INSERT INTO lab.faults (note) VALUES ('received')"))
	gtids, err := e.db1.Executed(ctx)
	must(e.T, err)
	must(e.T, e.db2.WaitReceived(ctx, gtids))
	must(e.T, e.db2.SQL(ctx, "FLUSH LOCAL RELAY LOGS"))
	must(e.T, e.db1.SQL(ctx, "UPDATE mine.t SET body='received later' WHERE id=1"))
	gtids, err = e.db1.Executed(ctx)
	must(e.T, err)
	must(e.T, e.db2.WaitReceived(ctx, gtids))
	t, set := e.live()
	m := e.archived("received", t, set)
	if m.Transactions != 5 {
		e.Errorf("%d transactions were received, want 5", m.Transactions)
	}
	e.same(e.rows(e.db1), e.rows(e.db3))
	must(e.T, e.db2.SQL(ctx, map[string]string{lab.MySQL: "START REPLICA SQL_THREAD", lab.MariaDB: "START SLAVE SQL_THREAD"}[e.db2.Engine()]))
	must(e.T, e.db2.WaitExecuted(ctx, gtids, time.Minute))
	must(e.T, e.db2.SQL(ctx, "STOP REPLICA"))
}

// stray are transactions of db2's own, of every kind that ends in a way of its
// own in a log.
func (e *errantCase) stray(from int) []string {
	list := []string{
		fmt.Sprintf("CREATE TABLE mine.t%d (id INT PRIMARY KEY, note VARCHAR(64)) ENGINE=InnoDB", from),
		fmt.Sprintf("INSERT INTO mine.t%d VALUES (1, 'BEGIN'), (2, 'COMMIT')", from),
		fmt.Sprintf("CREATE TABLE mine.c%[1]d AS SELECT * FROM mine.t%[1]d", from),
		"FLUSH BINARY LOGS",
		"BEGIN", fmt.Sprintf("UPDATE mine.t%d SET note='x' WHERE id=1", from), "SAVEPOINT s",
		fmt.Sprintf("DELETE FROM mine.t%d WHERE id=2", from), "ROLLBACK TO s", "COMMIT",
		"SET SESSION binlog_format='STATEMENT'", "SET @note='by statement'", fmt.Sprintf("INSERT INTO mine.t%d VALUES (3, @note)", from), "SET SESSION binlog_format='ROW'",
		"XA START 'x'", fmt.Sprintf("INSERT INTO mine.t%d VALUES (4, 'in two phases')", from), "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'",
	}
	if e.db2.Engine() == lab.MySQL {
		list = append(list, "SET gtid_next='AUTOMATIC:mine'", fmt.Sprintf("INSERT INTO mine.t%d VALUES (5, 'tagged')", from), "SET gtid_next='AUTOMATIC'",
			"SET SESSION binlog_transaction_compression=1", fmt.Sprintf("INSERT INTO mine.t%d VALUES (6, REPEAT('compressed', 6))", from))
		return slices.Concat([]string{"SET GLOBAL super_read_only=0", "SET GLOBAL read_only=0"}, list)
	}
	return list
}

func (e *errantCase) executed() {
	must(e.T, e.db2.SQL(e.Context(), e.stray(10)...))
	t, set := e.live()
	e.refusesSpoiled(t, set)
	e.archived("executed", t, set)
	e.same(e.rows(e.db2), e.rows(e.db3))
}

func (e *errantCase) dead() {
	must(e.T, e.db2.SQL(e.Context(), e.stray(20)...))
	self, want := e.own.Observe(e.Context()), e.rows(e.db2)
	must(e.T, e.db2.Kill(e.Context(), lab.Mysqld))
	t, set := e.trail(self, e.other)
	e.archived("dead", t, set)
	e.same(want, e.rows(e.db3))
}

// refusesSpoiled: of copies of the logs.
func (e *errantCase) refusesSpoiled(t *archive.Trail, set string) {
	first := func(t *archive.Trail) string { return logFiles(e.T, t)[0] }
	last := func(t *archive.Trail) string { files := logFiles(e.T, t); return files[len(files)-1] }
	for name, c := range map[string]struct {
		spoil func(t *archive.Trail)
		never bool
	}{
		"encrypted": {func(t *archive.Trail) { overwrite(e.T, last(t), 0, []byte{0xfd}) }, true},
		"damaged":   {func(t *archive.Trail) { overwrite(e.T, last(t), -40, []byte("damaged")) }, false},
		"purged": {func(t *archive.Trail) {
			for _, path := range logFiles(e.T, t)[:len(logFiles(e.T, t))-1] {
				must(e.T, os.Remove(path))
			}
			must(e.T, os.WriteFile(t.Paths["log_bin_index"], []byte(last(t)+"\n"), 0o644))
		}, true},
		"lost":    {func(t *archive.Trail) { must(e.T, os.Remove(last(t))) }, false},
		"cut off": {func(t *archive.Trail) { must(e.T, os.Truncate(last(t), size(e.T, last(t))-31)) }, true},
		"cut off in the middle": {func(t *archive.Trail) {
			must(e.T, os.Truncate(first(t), size(e.T, first(t))-3))
			overwrite(e.T, last(t), 0, []byte{0xfd})
		}, true},
		"not logged": {func(t *archive.Trail) { t.Self.LogBin = false }, true},
	} {
		spoiled := e.copied(t)
		if _, err := spoiled.Find(e.Context(), set, e.kept); err != nil {
			e.Errorf("as they are: %v", err)
		}
		c.spoil(spoiled)
		_, err := spoiled.Find(e.Context(), set, e.kept)
		var never *archive.ImpossibleError
		if err == nil || errors.As(err, &never) != c.never {
			e.Errorf("%s: %v", name, err)
		}
		e.Logf("%s: %v", name, err)
	}
}

// copied is the trail in a copy of the logs.
func (e *errantCase) copied(t *archive.Trail) *archive.Trail {
	dir, err := os.MkdirTemp(e.c.Dir, "copy-")
	must(e.T, err)
	must(e.T, os.Chmod(dir, 0o755))
	for _, name := range []string{"ibdata1", "mysql.ibd", "aria_log_control"} { // a datadir by its looks
		must(e.T, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	paths := map[string]string{}
	for _, kind := range []string{"log_bin", "relay_log"} {
		index := filepath.Join(dir, kind+".index")
		paths[kind+"_basename"], paths[kind+"_index"] = filepath.Join(dir, filepath.Base(t.Paths[kind+"_basename"])), index
		text := ""
		for _, path := range filesOf(e.T, binlog.LogsOf(t.Datadir, t.Paths, kind, kind == "relay_log")) {
			b, err := os.ReadFile(path)
			must(e.T, err)
			to := filepath.Join(dir, filepath.Base(path))
			must(e.T, os.WriteFile(to, b, 0o644))
			text += to + "\n"
		}
		must(e.T, os.WriteFile(index, []byte(text), 0o644))
	}
	spoiled := *t
	spoiled.Datadir, spoiled.Paths = dir, paths
	return &spoiled
}

func logFiles(t *testing.T, tr *archive.Trail) []string {
	t.Helper()
	return filesOf(t, binlog.LogsOf(tr.Datadir, tr.Paths, "log_bin", false))
}

func filesOf(t *testing.T, l binlog.Logs) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.Datadir, filepath.Base(l.Index)))
	must(t, err)
	var out []string
	for line := range strings.FieldsSeq(string(text)) {
		if !filepath.IsAbs(line) {
			line = filepath.Join(l.Datadir, line)
		}
		out = append(out, line)
	}
	return out
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	if at < 0 {
		at += size(t, path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Close()))
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}

// replay runs one of the archive's own commands for another server.
func replay(t *testing.T, archive string, into *lab.Node, which int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(archive, "manifest.json"))
	must(t, err)
	var manifest struct{ Replay []string }
	must(t, json.Unmarshal(text, &manifest))
	server, err := lab.Servers(t.Context(), into.Engine(), logWriter{t})
	must(t, err)
	command := fmt.Sprintf("%s -u %s -S '%s'", manifest.Replay[which], rootOf(t, into), into.Socket)
	sh := exec.CommandContext(t.Context(), "/bin/bash", "-o", "pipefail", "-c", command)
	sh.Dir, sh.Env = archive, []string{"PATH=" + filepath.Dir(server.Mysqld) + ":/usr/bin:/bin"}
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}
