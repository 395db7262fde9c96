package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// mariaFaults are those of MySQL that MariaDB words in its own way; where it
// has another number, that of MySQL is not here.
var mariaFaults = []fault{
	{"row-missing by DELETE", []string{"DELETE FROM t.f WHERE id=1"}, []string{"DELETE FROM t.f WHERE id=1"},
		watchdog.ClassDivergent, watchdog.ReasonRowMissing, 1032, []string{"INSERT INTO t.f VALUES (1,'x')"}},
	{"row-missing by UPDATE", []string{"DELETE FROM t.f WHERE id=2"}, []string{"UPDATE t.f SET v='z' WHERE id=2"},
		watchdog.ClassDivergent, watchdog.ReasonRowMissing, 1032, []string{"INSERT INTO t.f VALUES (2,'x')"}},
	{"row-missing under a foreign key", []string{"SET foreign_key_checks=0", "DELETE FROM t.p WHERE id=1", "SET foreign_key_checks=1"},
		[]string{"INSERT INTO t.c VALUES (1,1)"}, watchdog.ClassDivergent, watchdog.ReasonRowMissing, 1452, []string{"INSERT INTO t.p VALUES (1)"}},
	{"duplicate-key", []string{"INSERT INTO t.f VALUES (100,'local')"}, []string{"INSERT INTO t.f VALUES (100,'x')"},
		watchdog.ClassDivergent, watchdog.ReasonDuplicateKey, 1062, []string{"DELETE FROM t.f WHERE id=100"}},
	{"duplicate-key by statement", []string{"INSERT INTO t.f VALUES (102,'local')"},
		[]string{"SET SESSION binlog_format=STATEMENT", "INSERT INTO t.f VALUES (102,'Permission denied (13), disk is full')", "SET SESSION binlog_format=ROW"},
		watchdog.ClassDivergent, watchdog.ReasonDuplicateKey, 1062, []string{"DELETE FROM t.f WHERE id=102"}},
	{"table-missing by row", []string{"RENAME TABLE t.f TO t.gone"}, []string{"INSERT INTO t.f VALUES (101,'x')"},
		watchdog.ClassDivergent, watchdog.ReasonTableMissing, 1146, []string{"RENAME TABLE t.gone TO t.f"}},
	{"table-missing by ALTER", []string{"RENAME TABLE t.f TO t.gone"}, []string{"ALTER TABLE t.f ADD COLUMN w INT"},
		watchdog.ClassDivergent, watchdog.ReasonTableMissing, 1146, []string{"RENAME TABLE t.gone TO t.f"}},
	{"table-missing by DROP", []string{"DROP TABLE t.d1"}, []string{"DROP TABLE t.d1"},
		watchdog.ClassDivergent, watchdog.ReasonTableMissing, 1051, []string{"CREATE TABLE t.d1 (id INT PRIMARY KEY)"}},
	{"database-missing", []string{"DROP DATABASE u"}, []string{"CREATE TABLE u.x (id INT PRIMARY KEY)"},
		watchdog.ClassDivergent, watchdog.ReasonDatabaseMissing, 1049, []string{"CREATE DATABASE u"}},
	{"database-missing by DROP", []string{"DROP DATABASE u"}, []string{"DROP DATABASE u"},
		watchdog.ClassDivergent, watchdog.ReasonDatabaseMissing, 1008, []string{"CREATE DATABASE u"}},
	{"object-exists: database", []string{"CREATE DATABASE n"}, []string{"CREATE DATABASE n"},
		watchdog.ClassDivergent, watchdog.ReasonObjectExists, 1007, []string{"DROP DATABASE n"}},
	{"object-exists: table", []string{"CREATE TABLE t.q (id INT)"}, []string{"CREATE TABLE t.q (id INT)"},
		watchdog.ClassDivergent, watchdog.ReasonObjectExists, 1050, []string{"DROP TABLE t.q"}},
	{"object-exists: column", []string{"ALTER TABLE t.g ADD COLUMN w INT"}, []string{"ALTER TABLE t.g ADD COLUMN w INT"},
		watchdog.ClassDivergent, watchdog.ReasonObjectExists, 1060, []string{"ALTER TABLE t.g DROP COLUMN w"}},
	{"object-exists: index", []string{"CREATE INDEX i ON t.g (v)"}, []string{"CREATE INDEX i ON t.g (v)"},
		watchdog.ClassDivergent, watchdog.ReasonObjectExists, 1061, []string{"DROP INDEX i ON t.g"}},
	{"schema-mismatch: column of DDL", []string{"ALTER TABLE t.g RENAME COLUMN w TO y"}, []string{"ALTER TABLE t.g RENAME COLUMN w TO ww"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1054, []string{"ALTER TABLE t.g RENAME COLUMN y TO w"}},
	{"schema-mismatch: dropped column", []string{"ALTER TABLE t.g DROP COLUMN ww"}, []string{"ALTER TABLE t.g DROP COLUMN ww"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1091, []string{"ALTER TABLE t.g ADD COLUMN ww INT"}},
	{"schema-mismatch: column count", []string{"ALTER TABLE t.h DROP COLUMN v"},
		[]string{"SET SESSION binlog_format=STATEMENT", "INSERT INTO t.h VALUES (4,'x')", "SET SESSION binlog_format=ROW"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1136, []string{"ALTER TABLE t.h ADD COLUMN v VARCHAR(100)"}},
	{"schema-mismatch: foreign key", []string{"SET foreign_key_checks=0", "DROP TABLE t.p2", "SET foreign_key_checks=1"},
		[]string{"ALTER TABLE t.g ADD CONSTRAINT FOREIGN KEY (id) REFERENCES t.p2 (id)"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1005, []string{"CREATE TABLE t.p2 (id INT PRIMARY KEY)", "INSERT INTO t.p2 VALUES (1)"}},
	{"schema-mismatch: type", []string{"ALTER TABLE t.h DROP COLUMN v, ADD COLUMN v DATETIME"}, []string{"INSERT INTO t.h VALUES (5,'x')"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1677, []string{"ALTER TABLE t.h DROP COLUMN v, ADD COLUMN v VARCHAR(100)"}},
	{"account-mismatch: exists", []string{"CREATE USER u1"}, []string{"CREATE USER u1"},
		watchdog.ClassDivergent, watchdog.ReasonAccountMismatch, 1396, []string{"DROP USER u1"}},
	{"account-mismatch: gone", []string{"DROP USER u1"}, []string{"GRANT SELECT ON t.* TO u1"},
		watchdog.ClassDivergent, watchdog.ReasonAccountMismatch, 1133, []string{"CREATE USER u1"}},
}

func TestMariaDBApplierFaults(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	// Where DDL is IDEMPOTENT, as by default, objects that exist or are gone
	// go unnoticed.
	p.replica.must(t, "SET GLOBAL slave_ddl_exec_mode=STRICT")
	p.source.must(t, "CREATE TABLE t.f (id INT PRIMARY KEY, v VARCHAR(100))", "INSERT INTO t.f VALUES (1,'x'),(2,'x'),(3,'x')",
		"CREATE TABLE t.g (id INT PRIMARY KEY, v INT)", "INSERT INTO t.g VALUES (1,1)", "CREATE TABLE t.h (id INT PRIMARY KEY, v VARCHAR(100))",
		"CREATE TABLE t.d1 (id INT PRIMARY KEY)", "CREATE TABLE t.p (id INT PRIMARY KEY)", "INSERT INTO t.p VALUES (1)",
		"CREATE TABLE t.c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES t.p (id))",
		"CREATE TABLE t.p2 (id INT PRIMARY KEY)", "INSERT INTO t.p2 VALUES (1)", "CREATE DATABASE u")
	p.healthy(t)
	for _, f := range mariaFaults {
		t.Run(f.name, func(t *testing.T) {
			p.replica.locally(t, f.replica...)
			before, err := p.source.own.Executed(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.source.must(t, f.source...)
			last, err := p.source.own.Executed(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			d := p.diagnosed(t, f.class, f.reason)
			if d.Evidence.Errno != f.errno || d.Evidence.Thread != "applier" {
				t.Errorf("evidence %+v, want errno %d", d.Evidence, f.errno)
			}
			if d.Evidence.GTID == "" || !p.contains(t, d.Evidence.GTID, last) || p.contains(t, d.Evidence.GTID, before) {
				t.Errorf("gtid %q is not between %s and %s", d.Evidence.GTID, before, last)
			}
			// START only repeats it.
			p.replica.must(t, "STOP SLAVE", "START SLAVE")
			p.diagnosed(t, f.class, f.reason)
			p.replica.locally(t, f.heal...)
			p.replica.must(t, "START SLAVE")
			p.healthy(t)
		})
	}
	p.replica.must(t, "SET GLOBAL slave_ddl_exec_mode=DEFAULT")
	p.source.must(t, "DROP USER u1")
	p.healthy(t)
}

func TestMariaDBLockWaitIsNotDivergence(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	p.replica.must(t, "SET GLOBAL innodb_lock_wait_timeout=1", "SET GLOBAL slave_transaction_retries=0", "STOP SLAVE", "START SLAVE")
	tx, err := p.replica.root.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("SELECT * FROM t.a WHERE id=1 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	p.source.must(t, "UPDATE t.a SET v=UUID() WHERE id=1")
	if d := p.diagnosed(t, watchdog.ClassUnknown, watchdog.ReasonLockWait); d.Evidence.Errno != 1205 {
		t.Errorf("%+v", d)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	p.replica.must(t, "SET GLOBAL innodb_lock_wait_timeout=50", "SET GLOBAL slave_transaction_retries=10", "STOP SLAVE", "START SLAVE")
	p.healthy(t)
}

func TestMariaDBStoppedThreads(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	p.replica.must(t, "STOP SLAVE IO_THREAD")
	p.diagnosed(t, watchdog.ClassStopped, watchdog.ReasonReceiverStopped)
	p.replica.must(t, "STOP SLAVE")
	p.diagnosed(t, watchdog.ClassStopped, watchdog.ReasonThreadsStopped)
	p.replica.must(t, "START SLAVE IO_THREAD")
	p.diagnosed(t, watchdog.ClassStopped, watchdog.ReasonApplierStopped)
	for range 2 {
		if err := s.StartReplica(ctx); err != nil {
			t.Fatal(err)
		}
	}
	p.healthy(t)
	// A killed applier looks like one that was stopped.
	p.replica.must(t, "KILL "+p.replica.value(t, "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND='Slave_SQL'"))
	p.diagnosed(t, watchdog.ClassStopped, watchdog.ReasonApplierStopped)
	if err := s.StartReplica(ctx); err != nil {
		t.Fatal(err)
	}
	p.healthy(t)
}

func TestMariaDBWrongPassword(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	again := []string{"STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"}
	p.source.must(t, "ALTER USER repl@'%' IDENTIFIED BY 'other'")
	p.replica.must(t, again...)
	if d := p.diagnosed(t, watchdog.ClassCredential, watchdog.ReasonAccessDenied); d.Evidence.Errno != 1045 || strings.Contains(fmt.Sprint(d), replPassword) {
		t.Errorf("%+v", d)
	}
	p.source.must(t, "ALTER USER repl@'%' IDENTIFIED BY "+literal(replPassword), "ALTER USER repl@'%' ACCOUNT LOCK")
	p.replica.must(t, again...)
	p.diagnosed(t, watchdog.ClassCredential, watchdog.ReasonAccountLocked)
	p.source.must(t, "ALTER USER repl@'%' ACCOUNT UNLOCK", "REVOKE REPLICATION SLAVE ON *.* FROM repl@'%'")
	p.replica.must(t, again...)
	if d := p.diagnosed(t, watchdog.ClassCredential, watchdog.ReasonAccessDenied); d.Evidence.Errno != 1597 && d.Evidence.Errno != 1045 {
		t.Errorf("%+v", d)
	}
	p.source.must(t, "GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
	p.replica.must(t, again...)
	p.healthy(t)
}

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
