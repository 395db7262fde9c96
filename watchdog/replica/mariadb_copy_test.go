package replica

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// mariaCopy is a copy of the stopped replica, with neither its binary logs nor
// its source, as mariadb-backup makes one.
func mariaCopy(t *testing.T, p *pair, lines ...string) *node {
	t.Helper()
	p.healthy(t)
	n := mariaNode(t, "copy", 4, lines...)
	p.replica.stop()
	err := copyTree(p.replica.datadir, n.datadir)
	if err := p.replica.start(); err != nil {
		t.Fatal(err)
	}
	p.replica.must(t, "SET GLOBAL read_only=ON")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"binlog.*", "relay.*", "relay-log.info", "master.info", "multi-master.info"} {
		names, err := filepath.Glob(filepath.Join(n.datadir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// TestMariaDBCopyRehearsedAndAttached goes the way of a rebuild: a private
// server sets a copy right, the copy starts, replicates, and feeds another
// from the very position it was made at.
func TestMariaDBCopyRehearsedAndAttached(t *testing.T) {
	p := mariaPair(t)
	ctx := t.Context()
	// Another server has written before this one; a stopped history that only
	// the source's own state still knows.
	p.source.must(t, "SET SESSION server_id=9", "INSERT INTO t.a VALUES (9000, 'by another')", "SET SESSION server_id=1", "INSERT INTO t.a VALUES (9001, 'x')")
	mariaEvents(t, p)
	n := mariaCopy(t, p, "read_only=ON")
	position, history := p.source.value(t, "SELECT @@gtid_binlog_pos"), p.source.own.Observe(ctx).Executed
	if !strings.Contains(history, "0-9-") || strings.Contains(position, ",") {
		t.Fatal(position, history)
	}
	want := mariaRehearse(t, n, position, history)
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Socket: n.socket, User: "resilver", Password: pw(ownPassword)})
	if got, err := s.Executed(ctx); err != nil || got != want {
		t.Errorf("executed %s, wanted %s, %v", got, want, err)
	}
	if obs := s.Observe(ctx); !obs.ReadOnly || obs.Purged != position || len(obs.Sources) != 0 || obs.Replicated != position || obs.ServerUUID != "server-id:4" {
		t.Errorf("%+v", obs)
	}
	c, err := p.replica.own.SourceConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Password = pw(replPassword)
	if err := s.Attach(ctx, c); err != nil {
		t.Fatal(err)
	}
	mariaFollows(t, p, n, s)
	mariaFeeds(t, n, want)
}

// mariaFollows waits until what the source writes has arrived.
func mariaFollows(t *testing.T, p *pair, n *node, s *Server) {
	t.Helper()
	id := time.Now().UnixMilli()
	p.source.must(t, fmt.Sprintf("INSERT INTO t.a VALUES (%d,'after the copy')", id))
	until(t, "the copy to replicate", func() bool { return n.value(t, fmt.Sprintf("SELECT COUNT(*) FROM t.a WHERE id=%d", id)) == "1" })
	obs, primary := s.Observe(t.Context()), p.source.own.Observe(t.Context())
	if d, _ := watchdog.Diagnose(watchdog.Memory{}, obs, watchdog.PrimaryFacts{}, time.Now(), watchdog.DiagnoseConfig{}); d.Class != watchdog.ClassHealthy {
		t.Errorf("%+v", d)
	}
	if rest, err := s.GTIDBeyond(t.Context(), obs.Executed, obs.ServerID, primary); err != nil || rest != "" || obs.Executed != primary.Executed {
		t.Errorf("the copy has %s, the source %s: beyond it %s, %v", obs.Executed, primary.Executed, rest, err)
	}
	if !strings.HasPrefix(obs.Sources[0].UUID, "server-id:1") {
		t.Errorf("%+v", obs.Sources[0])
	}
}

// mariaFeeds lets a replica connect to the copy at the position it was made at.
func mariaFeeds(t *testing.T, n *node, at string) {
	t.Helper()
	below := mariaNode(t, "below", 5)
	if err := below.fill(); err != nil {
		t.Fatal(err)
	}
	if err := below.start(); err != nil {
		t.Fatal(err)
	}
	g, err := parseGTIDs(at)
	if err != nil {
		t.Fatal(err)
	}
	below.must(t, "RESET MASTER", "CREATE DATABASE t", "CREATE TABLE t.a (id BIGINT PRIMARY KEY, v VARCHAR(100))", "RESET MASTER",
		"SET GLOBAL gtid_slave_pos="+literal(g.position().String()), mariaSource(n), "START SLAVE")
	until(t, "the copy to feed a replica", func() bool {
		src := sourceOf(t, below.own)
		if src.Receiver.Errno != 0 {
			t.Fatalf("%+v", src.Receiver)
		}
		return src.Receiver.Running == watchdog.ThreadRunning && below.value(t, "SELECT COUNT(*) FROM t.a") == "1"
	})
	if obs := n.own.Observe(t.Context()); len(obs.Attached) != 1 || obs.Attached[0] != "server-id:5" {
		t.Errorf("attached: %v", obs.Attached)
	}
}

func mariaRehearse(t *testing.T, n *node, position, history string) string {
	t.Helper()
	if err := n.start("--skip-networking", "--skip-slave-start", "--event-scheduler=OFF"); err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	s, ctx := open(t, Options{Socket: n.socket, User: "resilver", Password: pw(ownPassword)}), t.Context()
	if err := s.ResetSource(ctx); err != nil {
		t.Error(err)
	}
	// What the copy's own table says has lost the other writer.
	if got, err := s.Executed(ctx); err != nil || got != position {
		t.Errorf("booted with %s, wanted %s, %v", got, position, err)
	}
	want, err := s.GTIDPast(ctx, position, history)
	if err != nil || want != history {
		t.Errorf("past %s, wanted %s, %v", want, history, err)
	}
	for _, set := range []string{"0-1-3,0-7-9,2-2-2", position, want} {
		if err := s.RestoreGTIDs(ctx, set); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Executed(ctx); err != nil || got != set {
			t.Errorf("restored %s, got %s, %v", set, got, err)
		}
	}
	if err := s.RestoreGTIDs(ctx, "0-1-"); err == nil {
		t.Error("half a set was restored")
	}
	described := n.value(t, mariaDescribe)
	if count, err := s.DisableEvents(ctx); err != nil || count != 3 {
		t.Errorf("disabled %d events, wanted 3: %v", count, err)
	}
	if count, err := s.DisableEvents(ctx); err != nil || count != 0 {
		t.Errorf("disabled %d events the second time: %v", count, err)
	}
	if now := n.value(t, mariaDescribe); now != described {
		t.Errorf("the events were\n%s and are\n%s", described, now)
	}
	if got := n.value(t, "SELECT GROUP_CONCAT(STATUS ORDER BY EVENT_NAME) FROM information_schema.EVENTS"); got != "SLAVESIDE_DISABLED,SLAVESIDE_DISABLED,SLAVESIDE_DISABLED,DISABLED" {
		t.Errorf("events: %s", got)
	}
	if before, err := s.PersistClosed(ctx); err != nil || len(before) != 0 {
		t.Errorf("persisted: %v, %v", before, err)
	}
	if why, err := s.StartsReadOnly(ctx); err != nil || why != "" {
		t.Errorf("starts read-only: %q, %v", why, err)
	}
	if err := s.Clone(ctx, CloneOrder{Host: "127.0.0.1", Port: 1, User: "x", Dir: "/nowhere"}); !errors.Is(err, ErrVersion) {
		t.Errorf("cloned: %v", err)
	}
	if got, err := s.Executed(ctx); err != nil || got != want {
		t.Errorf("the rehearsal made transactions: %s, was %s, %v", got, want, err)
	}
	return want
}

// mariaEvents makes events of several owners, in other modes than ours, and
// has the replica's enabled, as those of a copied primary are.
func mariaEvents(t *testing.T, p *pair) {
	t.Helper()
	p.source.must(t, "CREATE DATABASE IF NOT EXISTS ev", "CREATE USER plain@'%', gone@'%'",
		"CREATE EVENT ev.a ON SCHEDULE EVERY 1 DAY DO INSERT INTO t.a VALUES (9000, 'an event ran')",
		"SET NAMES latin1", "SET SESSION time_zone='+05:00', sql_mode='ANSI_QUOTES'",
		"CREATE DEFINER=plain@'%' EVENT ev.b ON SCHEDULE EVERY 1 HOUR STARTS '2030-01-01 00:00:00' COMMENT 'x' DO SELECT 1",
		"SET NAMES utf8mb4", "SET SESSION time_zone=DEFAULT, sql_mode=DEFAULT",
		"CREATE DEFINER=gone@'%' EVENT ev.`c``d` ON SCHEDULE AT '2035-01-01 00:00:00' ON COMPLETION PRESERVE DO SELECT 2",
		"CREATE EVENT ev.off ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 4", "DROP USER gone@'%'")
	p.healthy(t)
	p.replica.locally(t, "UPDATE mysql.event SET status=IF(name='off','DISABLED','ENABLED')")
	t.Cleanup(func() {
		if err := execAll(p.source.root, "DROP DATABASE ev", "DROP USER plain@'%'"); err != nil {
			t.Error(err)
		}
	})
}

const mariaDescribe = `SELECT GROUP_CONCAT(CONCAT_WS('|', EVENT_SCHEMA, EVENT_NAME, DEFINER, TIME_ZONE, SQL_MODE, EVENT_DEFINITION,
	STARTS, ENDS, INTERVAL_VALUE, INTERVAL_FIELD, EXECUTE_AT, ON_COMPLETION, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION,
	LAST_ALTERED, EVENT_COMMENT) ORDER BY EVENT_NAME SEPARATOR '\n') FROM information_schema.EVENTS`

// A server that is run without a binary log has its position only.
func TestMariaDBRestoreWithoutBinaryLog(t *testing.T) {
	n := mariaNode(t, "nolog", 3, "skip_log_bin", "skip_networking=ON")
	if err := n.fill(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := n.own.RestoreGTIDs(ctx, "0-9-4,0-1-7,2-2-2"); err != nil {
		t.Fatal(err)
	}
	obs := n.own.Observe(ctx)
	if obs.Executed != "0-1-7,2-2-2" || obs.Purged != obs.Executed || obs.Replicated != obs.Executed || obs.LogBin {
		t.Errorf("%+v", obs)
	}
}

func TestMariaDBSetsOfServers(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	ctx := t.Context()
	executed, err := p.source.own.Executed(ctx)
	if err != nil || executed == "" {
		t.Fatal(executed, err)
	}
	if got := sourceOf(t, p.replica.own).Retrieved; got == "" || !p.contains(t, got, executed) {
		t.Error(got)
	}
	// On a server that others can reach, nothing is reset.
	if err := p.replica.own.RestoreGTIDs(ctx, executed); err == nil || !strings.Contains(err.Error(), "not private") {
		t.Error(err)
	}
	if err := p.replica.own.RestoreGTIDs(ctx, " \n"); err == nil {
		t.Error("an empty set was restored")
	}
	if _, err := p.replica.own.DisableEvents(ctx); !errors.Is(err, ErrNotPrivate) {
		t.Error(err)
	}
	// A stray write shows, after the next replicated one too, when the
	// server's position has forgotten it.
	p.replica.must(t, "SET GLOBAL gtid_strict_mode=OFF", "INSERT INTO t.a VALUES (7000,'stray')")
	p.source.must(t, "INSERT INTO t.a VALUES (7001,'x'),(7002,'x')", "INSERT INTO t.a VALUES (7003,'x')")
	obs := p.healthy(t)
	primary := p.source.own.Observe(ctx)
	rest, err := p.replica.own.GTIDBeyond(ctx, obs.Executed, obs.ServerID, primary)
	if err != nil || !strings.HasPrefix(rest, "0-2-") || strings.Contains(rest, ",") {
		t.Errorf("beyond the primary: %q, %v", rest, err)
	}
	if minus, err := p.replica.own.GTIDSubtract(ctx, obs.Executed, primary.Executed); err != nil || minus != rest {
		t.Errorf("subtracted: %q, %v", minus, err)
	}
	// Taken back as if it had never been.
	p.forget(t, "7000", primary.Executed)
	p.replica.must(t, "SET GLOBAL gtid_strict_mode=ON")
	if obs := p.healthy(t); obs.Executed != primary.Executed {
		t.Errorf("executed %s, the primary %s", obs.Executed, primary.Executed)
	}
}
