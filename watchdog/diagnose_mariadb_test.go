package watchdog

import (
	"testing"
	"time"
)

// onMariaDB makes the observation one of MariaDB, changed by change.
func onMariaDB(change func(*Observation)) func(*Observation) {
	return func(o *Observation) {
		o.Flavor, o.Version, o.Executed = "mariadb", "10.11.18-MariaDB", "0-1-10"
		o.Sources[0].Receiver.State = "Waiting for master to send event"
		o.Sources[0].Applier.State = "Slave has read all relay log; waiting for more updates"
		change(o)
	}
}

// mariaDump is how MariaDB words the last word of the source's dump thread.
func mariaDump(text string) func(*Observation) {
	return onReceiver(ThreadStopped, 1236, "Got fatal error 1236 from master when reading data from binary log: '"+text+"'")
}

func mariaConnecting(errno int, text string) func(*Observation) {
	return onReceiver(ThreadConnecting, errno, "error connecting to master 'repl@db1:3306' - retry-time: 1  maximum-retries: 100000  message: "+text)
}

func onQuery(errno int, text string) func(*Observation) {
	return onApplier(errno, "Error '"+text+"' on query. Default database: ''. Query: 'insert into t.a values (1, \"x\")'")
}

// TestDiagnoseMariaDB holds the texts of MariaDB 10.11, as they were seen.
func TestDiagnoseMariaDB(t *testing.T) {
	const rowEvent = "; the event's master log binlog.000002, end_log_pos 442"
	for _, c := range []struct {
		name   string
		change func(*Observation)
		class  Class
		reason string
	}{
		{"healthy", func(*Observation) {}, ClassHealthy, ""},
		{"a primary", func(o *Observation) { o.Sources, o.ReadOnly, o.SuperReadOnly = nil, false, false }, ClassHealthy, ""},
		{"read-only without a source", func(o *Observation) { o.Sources = nil }, ClassUnknown, ReasonNoSource},
		{"Galera", func(o *Observation) { o.GroupMember = true }, ClassUnknown, ReasonGroupMember},

		// §1: applier faults.
		{"row missing, DELETE", onApplier(1032, "Could not execute Delete_rows_v1 event on table t.a; Can't find record in 'a', Error_code: 1032; handler error HA_ERR_KEY_NOT_FOUND"+rowEvent), ClassDivergent, ReasonRowMissing},
		{"row missing, UPDATE", onApplier(1032, "Could not execute Update_rows_v1 event on table t.a; Can't find record in 'a', Error_code: 1032; handler error HA_ERR_END_OF_FILE"+rowEvent), ClassDivergent, ReasonRowMissing},
		{"duplicate key, row", onApplier(1062, "Could not execute Write_rows_v1 event on table t.a; Duplicate entry '100' for key 'PRIMARY', Error_code: 1062; handler error HA_ERR_FOUND_DUPP_KEY"+rowEvent), ClassDivergent, ReasonDuplicateKey},
		{"duplicate key, statement", onQuery(1062, "Duplicate entry '100' for key 'PRIMARY'"), ClassDivergent, ReasonDuplicateKey},
		{"table missing, row", onApplier(1146, "Error executing row event: 'Table 't.a' doesn't exist'"), ClassDivergent, ReasonTableMissing},
		{"table missing, statement", onQuery(1146, "Table 't.a' doesn't exist"), ClassDivergent, ReasonTableMissing},
		{"database missing", onQuery(1049, "Unknown database 't'"), ClassDivergent, ReasonDatabaseMissing},
		{"column missing, statement", onQuery(1136, "Column count doesn't match value count at row 1"), ClassDivergent, ReasonSchemaMismatch},
		{"column missing, DDL", onQuery(1054, "Unknown column 'v' in 'a'"), ClassDivergent, ReasonSchemaMismatch},
		{"column type", onApplier(1677, "Column 1 of table 't.b' cannot be converted from type 'varchar(200 octets)' to type 'datetime'"), ClassDivergent, ReasonSchemaMismatch},
		{"user exists", onQuery(1396, "Operation CREATE USER failed for 'u1'@'%'"), ClassDivergent, ReasonAccountMismatch},
		{"user missing, GRANT", onQuery(1133, "Can't find any matching row in the user table"), ClassDivergent, ReasonAccountMismatch},
		{"index exists", onQuery(1061, "Duplicate key name 'i'"), ClassDivergent, ReasonObjectExists},
		{"foreign key's parent missing", onQuery(1005, `Can't create table `+"`t`.`q`"+` (errno: 150 "Foreign key constraint is incorrectly formed")`), ClassDivergent, ReasonSchemaMismatch},
		{"another failure to create", onQuery(1005, `Can't create table `+"`t`.`q`"+` (errno: 135 "No more room in record file")`), ClassUnknown, ReasonUnrecognised},
		{"lock wait", onQuery(1205, "Lock wait timeout exceeded; try restarting transaction"), ClassUnknown, ReasonLockWait},
		{"strict mode after a stray write", onApplier(1950, "An attempt was made to binlog GTID 0-1-8 which would create an out-of-order sequence number with existing GTID 0-2-8, and gtid strict mode is enabled"), ClassUnknown, ReasonErrant},
		{"page corrupt", onQuery(1877, "Table `t`.`a` is corrupted. Please drop the table and recreate."), ClassUnknown, ReasonTableCorrupt},
		{"number without its text", onApplier(1032, "something"), ClassUnknown, ReasonUnrecognised},
		{"MySQL's number", onApplier(13146, "Column 2 of table 't.b' cannot be converted from type 'x' to type 'y'"), ClassUnknown, ReasonUnrecognised},
		{"text of the data", onApplier(1062, "Error 'Duplicate entry '1' for key 'PRIMARY'' on query. Default database: 't'. Query: 'insert into t values ('No space left on device, Permission denied')'"), ClassDivergent, ReasonDuplicateKey},
		{"text of the data, other way round", onApplier(1062, "Error 'something' on query. Default database: 't'. Query: 'insert into t values ('Duplicate entry')'"), ClassUnknown, ReasonUnrecognised},

		// §2: source, network, account.
		{"source down", mariaConnecting(2003, `Can't connect to server on 'db1' (111 "Connection refused")`), ClassTransient, ReasonSourceUnreachable},
		{"no route", mariaConnecting(2003, `Can't connect to server on 'db1' (113 "No route to host")`), ClassTransient, ReasonSourceUnreachable},
		{"wrong password", mariaConnecting(1045, "Access denied for user 'repl'@'db2' (using password: YES)"), ClassCredential, ReasonAccessDenied},
		{"right taken away", onReceiver(ThreadConnecting, 1597, "Master command COM_REGISTER_SLAVE failed: Access denied for user 'repl'@'%' (using password: YES) (Errno: 1045)"), ClassCredential, ReasonAccessDenied},
		{"not registered", onReceiver(ThreadConnecting, 1597, "Master command COM_REGISTER_SLAVE failed: Lost connection (Errno: 2013)"), ClassTransient, ReasonRegistration},
		{"account locked", mariaConnecting(4151, "Access denied, this account is locked"), ClassCredential, ReasonAccountLocked},
		{"no room", mariaConnecting(1040, "Too many connections"), ClassTransient, ReasonTooManyConnections},
		{"connecting for ever", onReceiver(ThreadConnecting, 0, ""), ClassTransient, ReasonConnecting},

		// §3: the source's logs: all 1236 but what its file breaks.
		{"purged", mariaDump("Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required binlog files have been purged."), ClassPurged, ReasonPurged},
		{"ahead of the source", mariaDump("Error: connecting slave requested to start from GTID 0-2-10, which is not in the master's binlog"), ClassUnknown, ReasonErrant},
		{"diverged from the source", mariaDump("Error: connecting slave requested to start from GTID 0-2-10, which is not in the master's binlog. Since the master's binlog contains GTIDs with higher sequence numbers, it probably means that the slave has diverged due to executing extra erroneous transactions"), ClassUnknown, ReasonErrant},
		{"in a hole of the source", mariaDump("The binlog on the master is missing the GTID 0-1-7 requested by the slave (even though a subsequent sequence number does exist), and GTID strict mode is enabled"), ClassUnknown, ReasonErrant},
		{"logs reset", mariaDump("could not find next log; the first event '.' at 4, the last event read from 'b.000001' at 9"), ClassUnknown, ReasonSourceDamaged},
		{"header garbled", mariaDump("Could not read GTID list event while looking for GTID position in binlog"), ClassUnknown, ReasonSourceDamaged},
		{"truncated", mariaDump("binlog truncated in the middle of event; consider out of disk space on master; the first event '.' at 4"), ClassUnknown, ReasonSourceDamaged},
		{"bad magic", mariaDump("Binlog has bad magic number;  It's not a binary log file that can be used by this version of MariaDB"), ClassUnknown, ReasonSourceDamaged},
		{"bytes flipped", onReceiver(ThreadStopped, 1595, "Relay log write failure: could not queue event from master"), ClassUnknown, ReasonSourceDamaged},
		{"no binary log", mariaDump("Binary log is not open"), ClassUnknown, ReasonConfiguration},
		{"another last word", mariaDump("something new"), ClassUnknown, ReasonUnrecognised},

		// §4 to §8.
		{"relay log overwritten", onApplier(1594, "Relay log read failure: Could not parse relay log event entry. The possible reasons are: the master's binary log is corrupted"), ClassUnknown, ReasonRelayLog},
		{"STOP SLAVE", func(o *Observation) { onReceiver(ThreadStopped, 0, "")(o); onApplier(0, "")(o) }, ClassStopped, ReasonThreadsStopped},
		{"same server id", onReceiver(ThreadStopped, 1593, "Fatal error: The slave I/O thread stops because master and slave have equal MariaDB server ids; these ids must be different for replication to work"), ClassUnknown, ReasonConfiguration},
		{"positions unreadable", func(o *Observation) {
			const text = "Unable to load replication GTID slave state from mysql.gtid_slave_pos: Got error 194 \"Tablespace is missing for a table\" from storage engine InnoDB"
			onReceiver(ThreadStopped, 1030, text)(o)
			onApplier(1030, text)(o)
		}, ClassUnknown, ReasonTablespaceMissing},
		{"applier waits for disk space", func(o *Observation) { o.Sources[0].Applier.State = "Waiting for someone to free space" }, ClassUnknown, ReasonResource},
		{"receiver waits for disk space", func(o *Observation) { o.Sources[0].Receiver.State = "Waiting for someone to free space" }, ClassUnknown, ReasonResource},
		{"files taken away while it runs", func(o *Observation) {
			onReceiver(ThreadStopped, 1595, "Relay log write failure: could not queue event from master")(o)
			onQuery(1146, "Table 't.a' doesn't exist")(o)
		}, ClassUnknown, ReasonSourceDamaged},
		{"unreadable file", onQuery(1030, `Got error 13 "Permission denied" from storage engine InnoDB`), ClassUnknown, ReasonOwnership},
		{"divergent while the source is down", func(o *Observation) {
			mariaConnecting(2003, "")(o)
			onQuery(1062, "Duplicate entry")(o)
		}, ClassDivergent, ReasonDuplicateKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := Diagnose(Memory{}, seen(onMariaDB(c.change)), PrimaryFacts{}, clock(0), DiagnoseConfig{MaxLag: 30 * time.Second})
			if d.Class != c.class || d.Reason != c.reason {
				t.Errorf("%s/%s, wanted %s/%s: %s", d.Class, d.Reason, c.class, c.reason, d.Detail)
			}
		})
	}
}
