package replica

import (
	"fmt"
	"testing"
	"time"

	"resilver/watchdog"
)

// mariaFaults are those that MariaDB words in its own way.
var mariaFaults = []fault{
	{"duplicate-key by statement", []string{"INSERT INTO t.f (id, v) VALUES (102,'local')"},
		[]string{"SET SESSION binlog_format=STATEMENT", "INSERT INTO t.f (id, v) VALUES (102,'Permission denied (13), disk is full')", "SET SESSION binlog_format=ROW"},
		watchdog.ClassDivergent, watchdog.ReasonDuplicateKey, 1062, []string{"DELETE FROM t.f WHERE id=102"}},
	{"schema-mismatch: column count", []string{"ALTER TABLE t.h DROP COLUMN v"},
		[]string{"SET SESSION binlog_format=STATEMENT", "INSERT INTO t.h VALUES (4,'x')", "SET SESSION binlog_format=ROW"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1136, []string{"ALTER TABLE t.h ADD COLUMN v VARCHAR(100)"}},
	{"schema-mismatch: foreign key", []string{"SET foreign_key_checks=0", "DROP TABLE t.p2", "SET foreign_key_checks=1"},
		[]string{"ALTER TABLE t.g ADD CONSTRAINT FOREIGN KEY (id) REFERENCES t.p2 (id)"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1005, []string{"CREATE TABLE t.p2 (id INT PRIMARY KEY)", "INSERT INTO t.p2 VALUES (1)"}},
	{"schema-mismatch: type", []string{"ALTER TABLE t.h DROP COLUMN v, ADD COLUMN v DATETIME"}, []string{"INSERT INTO t.h VALUES (5,'x')"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1677, []string{"ALTER TABLE t.h DROP COLUMN v, ADD COLUMN v VARCHAR(100)"}},
	{"account-mismatch: gone", []string{"DROP USER u1"}, []string{"GRANT SELECT ON t.* TO u1"},
		watchdog.ClassDivergent, watchdog.ReasonAccountMismatch, 1133, []string{"CREATE USER u1"}},
}

func TestMariaDBApplierFaults(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	// Where DDL is IDEMPOTENT, as by default, objects that exist or are gone
	// go unnoticed.
	p.replica.must(t, "SET GLOBAL slave_ddl_exec_mode=STRICT")
	p.applierFaults(t, mariaFaults)
	p.replica.must(t, "SET GLOBAL slave_ddl_exec_mode=DEFAULT")
	p.source.must(t, "DROP USER u1")
	p.healthy(t)
}

func TestMariaDBLockWaitIsNotDivergence(t *testing.T) {
	mariaPair(t).lockWait(t, "slave_transaction_retries")
}

// A killed applier looks like one that was stopped.
func TestMariaDBStoppedThreads(t *testing.T) {
	mariaPair(t).stoppedThreads(t, "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND='Slave_SQL'", watchdog.ReasonApplierStopped)
}

func TestMariaDBWrongPassword(t *testing.T) { mariaPair(t).wrongPassword(t, 1597, func() {}) }

func TestMariaDBSourceDown(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	p.source.end()
	if d := p.diagnosed(t, watchdog.ClassTransient, watchdog.ReasonSourceUnreachable); d.Evidence.Thread != "receiver" {
		t.Errorf("%+v", d)
	}
	if src := sourceOf(t, p.replica.own); src.UUID != "server-id:1" {
		t.Errorf("%+v", src)
	}
	if obs := p.source.own.Observe(t.Context()); obs.Trouble != watchdog.TroubleDown {
		t.Errorf("the source itself: %q, %s", obs.Trouble, obs.Err)
	}
	if err := p.source.start(); err != nil {
		t.Fatal(err)
	}
	p.healthy(t) // by itself
}

func TestMariaDBPurged(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	p.replica.must(t, "STOP SLAVE")
	before := p.replica.value(t, "SELECT @@gtid_slave_pos")
	row := fmt.Sprintf("INSERT INTO t.a VALUES (%d,'purged')", time.Now().UnixMilli())
	p.source.must(t, row)
	gone := p.source.value(t, "SELECT @@gtid_binlog_pos")
	p.source.must(t, "FLUSH BINARY LOGS", "INSERT INTO t.a VALUES (8000,'after')", "FLUSH BINARY LOGS")
	var logs []string
	rows, err := p.source.root.Query("SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, size string
		if err := rows.Scan(&name, &size); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "the logs to be purged", func() bool {
		p.source.must(t, "PURGE BINARY LOGS TO '"+logs[len(logs)-2]+"'")
		return p.source.value(t, "SELECT BINLOG_GTID_POS('"+logs[len(logs)-3]+"', 4)") == ""
	})
	if obs := p.source.own.Observe(t.Context()); obs.Purged != gone {
		t.Errorf("purged %q, wanted %q", obs.Purged, gone)
	}
	p.replica.must(t, "START SLAVE")
	if d := p.diagnosed(t, watchdog.ClassPurged, watchdog.ReasonPurged); d.Evidence.Errno != 1236 || d.Evidence.Thread != "receiver" {
		t.Errorf("%+v", d)
	}
	if src := sourceOf(t, p.replica.own); src.UUID != "server-id:1" {
		t.Errorf("%+v", src)
	}
	p.replica.locally(t, row)
	p.replica.must(t, "STOP SLAVE", "SET GLOBAL gtid_slave_pos="+literal(gone), "START SLAVE")
	if before == gone {
		t.Error("nothing was written")
	}
	p.healthy(t)
}

func TestMariaDBMoreGTIDsThanTheSource(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	pos := p.replica.value(t, "SELECT @@gtid_slave_pos")
	p.replica.must(t, "STOP SLAVE", "SET GLOBAL gtid_slave_pos='0-1-4000000'", "START SLAVE")
	if d := p.diagnosed(t, watchdog.ClassUnknown, watchdog.ReasonErrant); d.Evidence.Errno != 1236 {
		t.Errorf("%+v", d)
	}
	p.replica.must(t, "STOP SLAVE", "SET GLOBAL gtid_slave_pos="+literal(pos), "START SLAVE")
	// In strict mode a stray write stops the applier at the next transaction.
	before := p.healthy(t).Executed
	p.replica.must(t, "INSERT INTO t.a VALUES (7100,'stray')")
	p.source.must(t, "INSERT INTO t.a VALUES (7101,'x')")
	if d := p.diagnosed(t, watchdog.ClassUnknown, watchdog.ReasonErrant); d.Evidence.Errno != 1950 || d.Evidence.Thread != "applier" {
		t.Errorf("%+v", d)
	}
	p.forget(t, "7100", before)
}

// forget takes back a stray row of the replica and its transaction, as if it
// had never been: the server knows what it knew before.
func (p *pair) forget(t *testing.T, id, knew string) {
	t.Helper()
	g, err := parseGTIDs(knew)
	if err != nil {
		t.Fatal(err)
	}
	p.replica.must(t, "STOP SLAVE", "SET sql_log_bin=0", "DELETE FROM t.a WHERE id="+id, "SET sql_log_bin=1",
		"SET @pos=@@GLOBAL.gtid_slave_pos", "RESET MASTER", "SET GLOBAL gtid_slave_pos=@pos", "SET GLOBAL gtid_binlog_state="+literal(g.state()), "START SLAVE")
	p.healthy(t)
}

func TestMariaDBIdentityClash(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	p.replica.must(t, "STOP SLAVE", "SET GLOBAL server_id=1", "START SLAVE")
	if d := p.diagnosed(t, watchdog.ClassUnknown, watchdog.ReasonConfiguration); d.Evidence.Errno != 1593 {
		t.Errorf("%+v", d)
	}
	p.replica.must(t, "STOP SLAVE", "SET GLOBAL server_id=2", "START SLAVE")
	p.healthy(t)
}

// A server that stands still is not down.
func TestMariaDBObserveOfAFrozenServer(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s := open(t, Options{Socket: p.replica.socket, User: "resilver", Password: pw(ownPassword), Timeout: 300 * time.Millisecond})
	freeze(t, p.replica, func() {
		if obs := s.Observe(t.Context()); obs.Reachable || obs.Trouble != watchdog.TroubleHung {
			t.Errorf("trouble %q: %s", obs.Trouble, obs.Err)
		}
	})
	until(t, "the thawed server to answer", func() bool { obs := s.Observe(t.Context()); return obs.Reachable })
	p.healthy(t)
}
