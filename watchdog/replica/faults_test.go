package replica

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// fault is one thing that breaks a replica, injected for real.
type fault struct {
	name    string
	replica []string // run on the replica alone, before
	source  []string // what then happens on the source
	class   watchdog.Class
	reason  string
	errno   int
	heal    []string // run on the replica alone, after
}

// applierFaults are those that both engines word alike, each with the tables
// as the one before left them.
var applierFaults = []fault{
	{"row-missing by DELETE", []string{"DELETE FROM t.f WHERE id=1"}, []string{"DELETE FROM t.f WHERE id=1"},
		watchdog.ClassDivergent, watchdog.ReasonRowMissing, 1032, []string{"INSERT INTO t.f VALUES (1,'x')"}},
	{"row-missing by UPDATE", []string{"DELETE FROM t.f WHERE id=2"}, []string{"UPDATE t.f SET v='z' WHERE id=2"},
		watchdog.ClassDivergent, watchdog.ReasonRowMissing, 1032, []string{"INSERT INTO t.f VALUES (2,'x')"}},
	{"row-missing under a foreign key", []string{"SET foreign_key_checks=0", "DELETE FROM t.p WHERE id=1", "SET foreign_key_checks=1"},
		[]string{"INSERT INTO t.c VALUES (1,1)"}, watchdog.ClassDivergent, watchdog.ReasonRowMissing, 1452, []string{"INSERT INTO t.p VALUES (1)"}},
	{"duplicate-key", []string{"INSERT INTO t.f VALUES (100,'local')"}, []string{"INSERT INTO t.f VALUES (100,'x')"},
		watchdog.ClassDivergent, watchdog.ReasonDuplicateKey, 1062, []string{"DELETE FROM t.f WHERE id=100"}},
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
	{"account-mismatch: exists", []string{"CREATE USER u1"}, []string{"CREATE USER u1"},
		watchdog.ClassDivergent, watchdog.ReasonAccountMismatch, 1396, []string{"DROP USER u1"}},
}

// mysqlFaults are those that MySQL words in its own way.
var mysqlFaults = []fault{
	{"schema-mismatch: foreign key", []string{"SET foreign_key_checks=0", "DROP TABLE t.p2", "SET foreign_key_checks=1"},
		[]string{"ALTER TABLE t.g ADD CONSTRAINT FOREIGN KEY (id) REFERENCES t.p2 (id)"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 1824, []string{"CREATE TABLE t.p2 (id INT PRIMARY KEY)", "INSERT INTO t.p2 VALUES (1)"}},
	{"schema-mismatch: type", []string{"ALTER TABLE t.h MODIFY v INT"}, []string{"INSERT INTO t.h VALUES (5,'x')"},
		watchdog.ClassDivergent, watchdog.ReasonSchemaMismatch, 13146, []string{"ALTER TABLE t.h MODIFY v VARCHAR(100)"}},
	{"account-mismatch: gone", []string{"DROP USER u1"}, []string{"GRANT SELECT ON t.* TO u1"},
		watchdog.ClassDivergent, watchdog.ReasonAccountMismatch, 1410, []string{"CREATE USER u1"}},
}

func TestApplierFaults(t *testing.T) { lab.applierFaults(t, mysqlFaults) }

// applierFaults injects one fault after the other, those of both engines first.
func (p *pair) applierFaults(t *testing.T, own []fault) {
	p.healthy(t)
	p.source.must(t, "DROP TABLE IF EXISTS t.f, t.g, t.h, t.d1, t.c, t.p, t.p2, t.q", "DROP DATABASE IF EXISTS u",
		"DROP DATABASE IF EXISTS n", "DROP USER IF EXISTS u1",
		"CREATE TABLE t.f (id INT PRIMARY KEY, v VARCHAR(100))", "INSERT INTO t.f VALUES (1,'x'),(2,'x'),(3,'x')",
		"CREATE TABLE t.g (id INT PRIMARY KEY, v INT)", "INSERT INTO t.g VALUES (1,1)", "CREATE TABLE t.h (id INT PRIMARY KEY, v VARCHAR(100))",
		"CREATE TABLE t.d1 (id INT PRIMARY KEY)", "CREATE TABLE t.p (id INT PRIMARY KEY)", "INSERT INTO t.p VALUES (1)",
		"CREATE TABLE t.c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES t.p (id))",
		"CREATE TABLE t.p2 (id INT PRIMARY KEY)", "INSERT INTO t.p2 VALUES (1)", "CREATE DATABASE u")
	p.healthy(t)
	for _, f := range slices.Concat(applierFaults, own) {
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
			p.replica.must(t, "STOP REPLICA", "START REPLICA")
			p.diagnosed(t, f.class, f.reason)
			p.replica.locally(t, f.heal...)
			p.replica.must(t, "START REPLICA")
			p.healthy(t)
		})
	}
}

// diagnosed waits for a diagnosis.
func diagnosed(t *testing.T, class watchdog.Class, reason string) watchdog.Diagnosis {
	t.Helper()
	return lab.diagnosed(t, class, reason)
}

func (p *pair) diagnosed(t *testing.T, class watchdog.Class, reason string) watchdog.Diagnosis {
	t.Helper()
	var d watchdog.Diagnosis
	var m watchdog.Memory
	deadline := time.Now().Add(30 * time.Second)
	for {
		obs := p.replica.own.Observe(t.Context())
		d, m = watchdog.Diagnose(m, obs, watchdog.PrimaryFacts{}, time.Now(), watchdog.DiagnoseConfig{MaxLag: time.Minute})
		if d.Class == class && d.Reason == reason {
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s/%s, last %s/%s: %s", class, reason, d.Class, d.Reason, d.Detail)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestLockWaitIsNotDivergence(t *testing.T) { lab.lockWait(t, "replica_transaction_retries") }

// lockWait has a session of the replica hold a row for longer than the
// applier waits and tries again; retries is the variable for that.
func (p *pair) lockWait(t *testing.T, retries string) {
	p.healthy(t)
	p.replica.must(t, "SET GLOBAL innodb_lock_wait_timeout=1", "SET GLOBAL "+retries+"=0", "STOP REPLICA", "START REPLICA")
	if !p.replica.maria {
		p.replica.must(t, "SET GLOBAL super_read_only=OFF")
	}
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
	if !p.replica.maria {
		p.replica.must(t, "SET GLOBAL super_read_only=ON")
	}
	p.replica.must(t, "SET GLOBAL innodb_lock_wait_timeout=50", "SET GLOBAL "+retries+"=10", "STOP REPLICA", "START REPLICA")
	p.healthy(t)
}

func TestStoppedThreads(t *testing.T) {
	lab.stoppedThreads(t, "SELECT PROCESSLIST_ID FROM performance_schema.threads WHERE NAME='thread/sql/replica_sql'", watchdog.ReasonApplierKilled)
}

// stoppedThreads stops the threads in every way; applier asks for the id of
// that thread, killed is the reason once it was killed.
func (p *pair) stoppedThreads(t *testing.T, applier, killed string) {
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	p.replica.must(t, "STOP REPLICA IO_THREAD")
	p.diagnosed(t, watchdog.ClassStopped, watchdog.ReasonReceiverStopped)
	p.replica.must(t, "STOP REPLICA")
	p.diagnosed(t, watchdog.ClassStopped, watchdog.ReasonThreadsStopped)
	p.replica.must(t, "START REPLICA IO_THREAD")
	p.diagnosed(t, watchdog.ClassStopped, watchdog.ReasonApplierStopped)
	for range 2 {
		if err := s.StartReplica(ctx); err != nil {
			t.Fatal(err)
		}
	}
	p.healthy(t)
	p.replica.must(t, "KILL "+p.replica.value(t, applier))
	p.diagnosed(t, watchdog.ClassStopped, killed)
	if err := s.StartReplica(ctx); err != nil {
		t.Fatal(err)
	}
	p.healthy(t)
}

func TestWrongPassword(t *testing.T) {
	lab.wrongPassword(t, 13120, func() {
		// After its retries MySQL gives up; the fault is the same.
		until(t, "the receiver to give up", func() bool {
			obs := lab.replica.own.Observe(t.Context())
			return obs.Reachable && obs.Sources[0].Receiver.Running == watchdog.ThreadStopped
		})
		lab.diagnosed(t, watchdog.ClassCredential, watchdog.ReasonAccessDenied)
	})
}

// wrongPassword takes everything from the account that it needs; noRight is
// the server's number for a missing privilege.
func (p *pair) wrongPassword(t *testing.T, noRight int, then func()) {
	p.healthy(t)
	again := func() { p.replica.must(t, "STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD") }
	p.source.must(t, "ALTER USER repl@'%' IDENTIFIED BY 'other'")
	again()
	d := p.diagnosed(t, watchdog.ClassCredential, watchdog.ReasonAccessDenied)
	if d.Evidence.Errno != 1045 || strings.Contains(fmt.Sprint(d), replPassword) {
		t.Errorf("%+v", d)
	}
	then()
	p.source.must(t, "ALTER USER repl@'%' IDENTIFIED BY "+literal(replPassword), "ALTER USER repl@'%' ACCOUNT LOCK")
	again()
	p.diagnosed(t, watchdog.ClassCredential, watchdog.ReasonAccountLocked)
	p.source.must(t, "ALTER USER repl@'%' ACCOUNT UNLOCK", "REVOKE REPLICATION SLAVE ON *.* FROM repl@'%'")
	again()
	if d := p.diagnosed(t, watchdog.ClassCredential, watchdog.ReasonAccessDenied); d.Evidence.Errno != noRight && d.Evidence.Errno != 1045 {
		t.Errorf("%+v", d)
	}
	p.source.must(t, "GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
	again()
	p.healthy(t)
}

func TestSourceDown(t *testing.T) {
	healthy(t)
	lab.source.end()
	if d := diagnosed(t, watchdog.ClassTransient, watchdog.ReasonSourceUnreachable); d.Evidence.Thread != "receiver" {
		t.Errorf("%+v", d)
	}
	if obs := lab.source.own.Observe(t.Context()); obs.Trouble != watchdog.TroubleDown {
		t.Errorf("the source itself: %q, %s", obs.Trouble, obs.Err)
	}
	until(t, "the receiver to give up", func() bool {
		obs := lab.replica.own.Observe(t.Context())
		return obs.Reachable && obs.Sources[0].Receiver.Running == watchdog.ThreadStopped
	})
	diagnosed(t, watchdog.ClassTransient, watchdog.ReasonSourceUnreachable)
	if err := lab.source.start(); err != nil {
		t.Fatal(err)
	}
	if err := lab.replica.own.StartReplica(t.Context()); err != nil {
		t.Fatal(err)
	}
	healthy(t)
}

func TestPurged(t *testing.T) {
	healthy(t)
	lab.replica.must(t, "STOP REPLICA")
	before, err := lab.source.own.Executed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row := fmt.Sprintf("INSERT INTO t.a VALUES (%d,'purged')", time.Now().Unix())
	lab.source.must(t, row, "FLUSH BINARY LOGS")
	after, err := lab.source.own.Executed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lab.source.must(t, "PURGE BINARY LOGS TO '"+lab.source.value(t, "SELECT LOCAL->>'$.binary_log_file' FROM performance_schema.log_status")+"'")
	lab.replica.must(t, "START REPLICA")
	if d := diagnosed(t, watchdog.ClassPurged, watchdog.ReasonPurged); d.Evidence.Errno != 13114 || d.Evidence.Thread != "receiver" {
		t.Errorf("%+v", d)
	}
	if purged := lab.source.own.Observe(t.Context()).Purged; !lab.contains(t, after, purged) {
		t.Errorf("purged %q", purged)
	}
	missing, err := lab.replica.own.GTIDSubtract(t.Context(), after, before)
	if err != nil || !isGTID(missing) {
		t.Fatal(missing, err)
	}
	lab.replica.must(t, "SET GLOBAL super_read_only=OFF", "SET GTID_NEXT='"+missing+"'", row,
		"SET GTID_NEXT=AUTOMATIC", "SET GLOBAL super_read_only=ON", "START REPLICA")
	healthy(t)
}

func TestMoreGTIDsThanTheSource(t *testing.T) {
	healthy(t)
	// A transaction of the source that the source has not made yet.
	ahead := fmt.Sprintf("SET GTID_NEXT='%s:%d'", lab.source.value(t, "SELECT @@server_uuid"), time.Now().UnixNano())
	lab.replica.must(t, "STOP REPLICA", "SET GLOBAL super_read_only=OFF", ahead, "BEGIN", "COMMIT",
		"SET GTID_NEXT=AUTOMATIC", "SET GLOBAL super_read_only=ON", "START REPLICA")
	if d := diagnosed(t, watchdog.ClassUnknown, watchdog.ReasonErrant); d.Evidence.Errno != 13114 {
		t.Errorf("%+v", d)
	}
	lab.source.must(t, ahead, "BEGIN", "COMMIT", "SET GTID_NEXT=AUTOMATIC")
	lab.replica.must(t, "START REPLICA")
	healthy(t)
}

// A server that stands still is not down: its statements hang, the answer is
// unknown, and however often it is asked no sessions pile up in it.
func TestObserveOfAFrozenServer(t *testing.T) {
	healthy(t)
	s := open(t, Options{Socket: lab.replica.socket, User: "resilver", Timeout: 300 * time.Millisecond})
	if obs := s.Observe(t.Context()); !obs.Reachable {
		t.Fatal(obs.Err)
	}
	const connected = "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME='Connections'"
	began, err := strconv.Atoi(lab.replica.value(t, connected))
	if err != nil {
		t.Fatal(err)
	}
	freeze(t, lab.replica, func() {
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			start := time.Now()
			obs := s.Observe(ctx)
			cancel()
			if obs.Reachable || obs.Trouble != watchdog.TroubleHung {
				t.Errorf("trouble %q: %s", obs.Trouble, obs.Err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %s", took)
			}
		}
	})
	until(t, "the thawed server to answer", func() bool { obs := s.Observe(t.Context()); return obs.Reachable })
	// The pool's places, one that kills, and the observations since.
	if n, err := strconv.Atoi(lab.replica.value(t, connected)); err != nil || n > began+maxSessions+4 {
		t.Errorf("%d connections were made while it stood still", n-began)
	}
	healthy(t)
}
