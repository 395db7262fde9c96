package watchdog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// seen builds the observation of a healthy replica, changed by each change.
func seen(changes ...func(*Observation)) Observation {
	o := Observation{Reachable: true, Flavor: "mysql", Version: "9.7.4", ReadOnly: true, SuperReadOnly: true, Executed: "u:1-10",
		Sources: []SourceStatus{{Host: "db1", Port: 3306, AutoPosition: true, Lag: Lag{Known: true},
			Receiver: ThreadStatus{Running: ThreadRunning, State: "Waiting for source to send event"},
			Applier:  ThreadStatus{Running: ThreadRunning, State: "Replica has read all relay log; waiting for more updates"}}}}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func onReceiver(running Thread, errno int, message string) func(*Observation) {
	return func(o *Observation) {
		o.Sources[0].Receiver = ThreadStatus{Running: running, Errno: errno, Message: message}
		o.Sources[0].Lag = Lag{}
	}
}

func onApplier(errno int, message string) func(*Observation) {
	return func(o *Observation) {
		o.Sources[0].Applier = ThreadStatus{Running: ThreadStopped, Errno: errno, Message: message, GTID: "u:11"}
		o.Sources[0].Lag = Lag{}
	}
}

func executed(set string) func(*Observation) { return func(o *Observation) { o.Executed = set } }

func down(o *Observation) { *o = Observation{Trouble: TroubleDown, Err: "connection refused"} }

// worker is how MySQL words a worker's error.
func worker(text string) string {
	return "Worker 1 failed executing transaction 'u:11' at source log , end_log_pos 442; " + text
}

// dump is how MySQL words the last word of the source's dump thread.
func dump(text string) string {
	return "Got fatal error 1236 from source when reading data from binary log: '" + text + "'"
}

func connecting(text string) string {
	return "Error connecting to source 'repl@db1:3306'. This was attempt 3/10, with a delay of 1 seconds between attempts. Message: " + text
}

const generic = "Coordinator stopped because there were error(s) in the worker(s). The most recent failure being: Worker 1 failed executing transaction 'u:11'"

func TestDiagnoseOneObservation(t *testing.T) {
	none := func(*Observation) {}
	for _, c := range []struct {
		name   string
		change func(*Observation)
		class  Class
		reason string
	}{
		{"healthy", none, ClassHealthy, ""},
		{"a primary", func(o *Observation) { o.Sources, o.ReadOnly, o.SuperReadOnly = nil, false, false }, ClassHealthy, ""},
		{"read-only without a source", func(o *Observation) { o.Sources = nil }, ClassUnknown, ReasonNoSource},
		{"two sources", func(o *Observation) { o.Sources = append(o.Sources, o.Sources[0]) }, ClassUnknown, ReasonManySources},
		{"group member", func(o *Observation) { o.GroupMember = true }, ClassUnknown, ReasonGroupMember},
		{"another flavour", func(o *Observation) { o.Flavor = "other" }, ClassUnknown, ReasonUnsupported},
		{"lag", func(o *Observation) { o.Sources[0].Lag.Behind = time.Minute }, ClassLagging, ReasonLag},
		{"lag within the delay", func(o *Observation) { o.Sources[0].Lag.Behind, o.Sources[0].Delay = time.Hour, time.Hour }, ClassHealthy, ""},

		// §0, §10: what the watchdog itself could not see.
		{"down", down, ClassUnreachable, ReasonServerDown},
		{"hung", func(o *Observation) { *o = Observation{Trouble: TroubleHung} }, ClassUnknown, ReasonNoAnswer},
		{"own account refused", func(o *Observation) { *o = Observation{Trouble: TroubleDenied} }, ClassUnknown, ReasonOwnAccount},
		{"other trouble", func(o *Observation) { *o = Observation{Trouble: TroubleOther} }, ClassUnknown, ReasonNotObserved},

		// §1: applier faults.
		{"row missing, DELETE", onApplier(1032, worker("Could not execute Delete_rows event on table t.a; Can't find record in 'a', Error_code: 1032; handler error HA_ERR_KEY_NOT_FOUND")), ClassDivergent, ReasonRowMissing},
		{"row missing, UPDATE", onApplier(1032, worker("Could not execute Update_rows event on table t.a; Can't find record in 'a', Error_code: 1032; handler error HA_ERR_END_OF_FILE")), ClassDivergent, ReasonRowMissing},
		{"duplicate key", onApplier(1062, worker("Could not execute Write_rows event on table t.a; Duplicate entry '100' for key 'a.PRIMARY', Error_code: 1062; handler error HA_ERR_FOUND_DUPP_KEY")), ClassDivergent, ReasonDuplicateKey},
		{"table missing, row", onApplier(1146, worker("Error executing row event: 'Table 't.a' doesn't exist'")), ClassDivergent, ReasonTableMissing},
		{"table missing, ALTER", onApplier(1146, worker("Error 'Table 't.a' doesn't exist' on query. Default database: ''. Query: 'alter table t.a'")), ClassDivergent, ReasonTableMissing},
		{"table missing, DROP", onApplier(1051, worker("Error 'Unknown table 't.a'' on query")), ClassDivergent, ReasonTableMissing},
		{"database missing, row", onApplier(1049, worker("Error executing row event: 'Unknown database 't''")), ClassDivergent, ReasonDatabaseMissing},
		{"database missing, CREATE", onApplier(1049, worker("Error 'Unknown database 't'' on query")), ClassDivergent, ReasonDatabaseMissing},
		{"database missing, DROP", onApplier(1008, worker("Error 'Can't drop database 't'; database doesn't exist' on query")), ClassDivergent, ReasonDatabaseMissing},
		{"column missing", onApplier(1054, worker("Error 'Unknown column 'v' in 'a'' on query")), ClassDivergent, ReasonSchemaMismatch},
		{"column type", onApplier(13146, worker("Column 2 (counting the first column as number 1) of table 't.b' cannot be converted from type 'varchar(800(bytes))' to type 'datetime'")), ClassDivergent, ReasonSchemaMismatch},
		{"table exists", onApplier(1050, worker("Error 'Table 'q' already exists' on query")), ClassDivergent, ReasonObjectExists},
		{"index exists", onApplier(1061, worker("Error 'Duplicate key name 'i'' on query")), ClassDivergent, ReasonObjectExists},
		{"foreign key's parent missing", onApplier(1824, worker("Error 'Failed to open the referenced table 'p'' on query")), ClassDivergent, ReasonSchemaMismatch},
		{"user exists", onApplier(1396, worker("Error 'Operation CREATE USER failed for 'u1'@'%' (User account already exists)' on query")), ClassDivergent, ReasonAccountMismatch},
		{"user missing, DROP", onApplier(1396, worker("Error 'Operation DROP USER failed for 'u1'@'%' (User account does not exist)' on query")), ClassDivergent, ReasonAccountMismatch},
		{"user missing, GRANT", onApplier(1410, worker("Error 'You are not allowed to create a user with GRANT' on query")), ClassDivergent, ReasonAccountMismatch},
		{"lock wait", onApplier(1205, worker("Lock wait timeout exceeded; try restarting transaction")), ClassUnknown, ReasonLockWait},
		{"deadlock", onApplier(1213, worker("Deadlock found when trying to get lock")), ClassUnknown, ReasonLockWait},
		{"packet too big", onReceiver(ThreadStopped, 13125, "Got a packet bigger than 'replica_max_allowed_packet' bytes"), ClassUnknown, ReasonConfiguration},
		{"number without its text", onApplier(1032, generic), ClassUnknown, ReasonUnrecognised},
		{"text at the wrong thread", onReceiver(ThreadStopped, 1032, "Error_code: 1032"), ClassUnknown, ReasonUnrecognised},
		{"never heard of", onApplier(4711, worker("something else")), ClassUnknown, ReasonUnrecognised},

		// §2: source, network, account.
		{"source down", onReceiver(ThreadConnecting, 2003, connecting("Can't connect to MySQL server on 'db1:3306' (111)")), ClassTransient, ReasonSourceUnreachable},
		{"source down, given up", onReceiver(ThreadStopped, 2003, connecting("Can't connect to MySQL server on 'db1:3306' (113)")), ClassTransient, ReasonSourceUnreachable},
		{"first moment", onReceiver(ThreadConnecting, 2013, connecting("Lost connection to MySQL server at 'reading initial communication packet', system error: 104")), ClassTransient, ReasonSourceUnreachable},
		{"frozen source", onReceiver(ThreadConnecting, 2013, connecting("Lost connection to MySQL server at 'waiting for initial communication packet', system error: 110")), ClassTransient, ReasonSourceUnreachable},
		{"name unknown", onReceiver(ThreadConnecting, 2005, connecting("Unknown MySQL server host 'h' (-2)")), ClassTransient, ReasonSourceUnreachable},
		{"no error yet", onReceiver(ThreadConnecting, 0, ""), ClassTransient, ReasonConnecting},
		{"too many connections, given up", onReceiver(ThreadStopped, 1040, connecting("Too many connections")), ClassTransient, ReasonTooManyConnections},
		{"wrong password", onReceiver(ThreadConnecting, 1045, connecting("Access denied for user 'repl'@'db2' (using password: YES)")), ClassCredential, ReasonAccessDenied},
		{"wrong password, given up", onReceiver(ThreadStopped, 1045, connecting("Access denied for user 'repl'@'db2' (using password: YES)")), ClassCredential, ReasonAccessDenied},
		{"no REPLICATION SLAVE", onReceiver(ThreadConnecting, 13120, "Source command COM_REGISTER_REPLICA failed: Access denied for user 'repl'@'%' (using password: YES) (Errno: 1045)"), ClassCredential, ReasonAccessDenied},
		{"registration lost", onReceiver(ThreadConnecting, 13120, "Source command COM_REGISTER_REPLICA failed: Lost connection (Errno: 2013)"), ClassTransient, ReasonRegistration},
		{"caching_sha2 without TLS", onReceiver(ThreadConnecting, 2061, connecting("Authentication plugin 'caching_sha2_password' reported error: Authentication requires secure connection.")), ClassCredential, ReasonAuthentication},
		{"no CA", onReceiver(ThreadConnecting, 2026, connecting("SSL connection error: CA certificate is required if ssl-mode is VERIFY_CA or VERIFY_IDENTITY")), ClassCredential, ReasonTLS},
		{"account locked", onReceiver(ThreadConnecting, 3118, connecting("Access denied for user 'repl'@'db2'. Account is locked.")), ClassCredential, ReasonAccountLocked},
		{"password expired", onReceiver(ThreadConnecting, 1862, connecting("Your password has expired. To log in you must change it")), ClassCredential, ReasonPasswordExpired},

		// §3: the source's logs.
		{"purged", onReceiver(ThreadStopped, 13114, dump("Cannot replicate because the source purged required binary logs. Replicate the missing transactions from elsewhere")), ClassPurged, ReasonPurged},
		{"more GTIDs than the source", onReceiver(ThreadStopped, 13114, dump("Replica has more GTIDs than the source has, using the source's SERVER_UUID. This may indicate that the the last binary log file was truncated or lost")), ClassUnknown, ReasonErrant},
		{"logs reset", onReceiver(ThreadStopped, 13114, dump("could not find next log; the first event '' at 4, the last event read from 'b.000001' at 9")), ClassUnknown, ReasonSourceDamaged},
		{"log file gone", onReceiver(ThreadStopped, 13114, dump("Could not open log file")), ClassUnknown, ReasonSourceDamaged},
		{"bytes flipped", onReceiver(ThreadStopped, 13122, "Relay log write failure: could not queue event from source"), ClassUnknown, ReasonSourceDamaged},
		{"truncated", onReceiver(ThreadStopped, 13114, dump("binlog truncated in the middle of event; consider out of disk space on source; the first event '' at 4")), ClassUnknown, ReasonSourceDamaged},
		{"bad magic", onReceiver(ThreadStopped, 13114, dump("Binlog has bad magic number;  It's not a binary log file that can be used by this version of MySQL")), ClassUnknown, ReasonSourceDamaged},
		{"anonymous", onReceiver(ThreadStopped, 13114, dump("Cannot replicate anonymous transaction when AUTO_POSITION = 1, at file b.1, position 4.; ")), ClassUnknown, ReasonConfiguration},
		{"gtid_mode off", onReceiver(ThreadStopped, 13117, "The replication receiver thread cannot start because the source has GTID_MODE = OFF and this server has GTID_MODE = ON."), ClassUnknown, ReasonConfiguration},
		{"no binary log", onReceiver(ThreadStopped, 13114, dump("Binary log is not open")), ClassUnknown, ReasonConfiguration},
		{"another last word", onReceiver(ThreadStopped, 13114, dump("something new")), ClassUnknown, ReasonUnrecognised},

		// §4: relay logs.
		{"relay log overwritten", onApplier(13121, "Relay log read failure: Could not parse relay log event entry. The possible reasons are: the source's binary log is corrupted"), ClassUnknown, ReasonRelayLog},
		{"relay file gone", onApplier(13117, "Fatal error: Could not open log file"), ClassUnknown, ReasonRelayLog},
		{"metadata unreadable", onApplier(13124, "Replica failed to initialize applier metadata structure from the repository"), ClassUnknown, ReasonRelayLog},
		{"metadata unreadable, by START", onApplier(1872, "Replica failed to initialize applier metadata structure from the repository"), ClassUnknown, ReasonRelayLog},

		// §5: stopped and killed.
		{"STOP REPLICA", func(o *Observation) { onReceiver(ThreadStopped, 0, "")(o); onApplier(0, "")(o) }, ClassStopped, ReasonThreadsStopped},
		{"STOP IO_THREAD", onReceiver(ThreadStopped, 0, ""), ClassStopped, ReasonReceiverStopped},
		{"STOP SQL_THREAD", onApplier(0, ""), ClassStopped, ReasonApplierStopped},
		{"applier killed", onApplier(1756, "... The replica coordinator and worker threads are stopped, possibly leaving data in inconsistent state."), ClassStopped, ReasonApplierKilled},

		// §6: identities.
		{"same server id", onReceiver(ThreadStopped, 13117, "Fatal error: The replica I/O thread stops because source and replica have equal MySQL server ids; these ids must be different"), ClassUnknown, ReasonConfiguration},
		{"same uuid", onReceiver(ThreadStopped, 13117, "Fatal error: The replica I/O thread stops because source and replica have equal MySQL server UUIDs; these UUIDs must be different for replication to work."), ClassUnknown, ReasonConfiguration},
		{"same identity as another replica", onReceiver(ThreadStopped, 13114, dump("A replica with the same server_uuid/server_id as this replica has connected to the source; the first event '' at 4")), ClassUnknown, ReasonConfiguration},

		// §7: disk full.
		{"relay disk full", func(o *Observation) { o.Sources[0].Receiver.State = "Waiting for disk space" }, ClassUnknown, ReasonResource},
		{"table full", onApplier(1114, worker("Could not execute Write_rows event on table t.big; The table 'big' is full, Error_code: 1114; handler error HA_ERR_RECORD_FILE_FULL")), ClassUnknown, ReasonResource},
		{"no space", onApplier(1030, worker("Got error 28 - 'No space left on device' from storage engine")), ClassUnknown, ReasonResource},

		// §8, rule 12: ownership imitates everything else, so it comes first.
		{"unreadable table", onApplier(1146, worker("Table 't.a' doesn't exist (OS errno 13 - Permission denied)")), ClassUnknown, ReasonOwnership},
		{"unreadable file", onApplier(1032, worker("Error_code: 1032; OS error: 81")), ClassUnknown, ReasonOwnership},
		{"errno 13", onApplier(1062, worker("Duplicate entry; error 13 from the operating system")), ClassUnknown, ReasonOwnership},
		{"tablespace gone, or unreadable", onApplier(1812, worker("Tablespace is missing for table `t`.`a`.")), ClassUnknown, ReasonTablespaceMissing},

		// Two faults at once: what forbids a rebuild counts, then what needs one.
		{"divergent while the source is down", func(o *Observation) {
			onReceiver(ThreadConnecting, 2003, "")(o)
			onApplier(1062, worker("Duplicate entry"))(o)
		}, ClassDivergent, ReasonDuplicateKey},
		{"divergent after a stop of the receiver", func(o *Observation) {
			onReceiver(ThreadStopped, 0, "")(o)
			onApplier(1062, worker("Duplicate entry"))(o)
		}, ClassDivergent, ReasonDuplicateKey},
		{"divergent and ahead of the source", func(o *Observation) {
			onReceiver(ThreadStopped, 13114, dump("Replica has more GTIDs than the source has"))(o)
			onApplier(1062, worker("Duplicate entry"))(o)
		}, ClassUnknown, ReasonErrant},
		{"divergent from a damaged source", func(o *Observation) {
			onReceiver(ThreadStopped, 13114, dump("Could not open log file"))(o)
			onApplier(1032, worker("Error_code: 1032"))(o)
		}, ClassUnknown, ReasonSourceDamaged},
		{"killed behind a broken event", func(o *Observation) {
			onReceiver(ThreadStopped, 13122, "could not queue event from source")(o)
			onApplier(1756, "")(o)
		}, ClassUnknown, ReasonSourceDamaged},
		{"purged on a full disk", func(o *Observation) {
			onReceiver(ThreadStopped, 13114, dump("purged required binary logs"))(o)
			onApplier(1114, worker("The table 'a' is full"))(o)
		}, ClassUnknown, ReasonResource},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := Diagnose(Memory{}, seen(c.change), PrimaryFacts{}, clock(0), DiagnoseConfig{MaxLag: 30 * time.Second})
			if d.Class != c.class || d.Reason != c.reason {
				t.Errorf("%s/%s, wanted %s/%s: %s", d.Class, d.Reason, c.class, c.reason, d.Detail)
			}
			if d.Since != StampOf(clock(0)) || strings.Contains(d.Detail, "\n") || (d.Detail == "" && d.Class != ClassUnknown) {
				t.Errorf("since %s, detail %q", d.Since, d.Detail)
			}
			if d.Class.Curable() && (d.Evidence.Errno == 0 || d.Evidence.Message == "") {
				t.Errorf("curable without evidence: %+v", d.Evidence)
			}
			if d.Reason != "" && !slices.Contains(reasons(), d.Reason) || !slices.Contains(Classes(), d.Class) {
				t.Errorf("%s/%s is not in the closed sets", d.Class, d.Reason)
			}
		})
	}
}

func clock(seconds int) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

// A step of a story: what is seen at a second, and what is made of it.
type scene struct {
	at      int
	seen    Observation
	primary string
	class   Class
	reason  string
	since   int
}

func TestDiagnoseOverTime(t *testing.T) {
	cfg := DiagnoseConfig{MaxLag: 30 * time.Second, Stable: 10 * time.Second}
	diverged := onApplier(1062, worker("Duplicate entry '1'"))
	sourceDown := onReceiver(ThreadConnecting, 2003, "")
	hung := Observation{Trouble: TroubleHung}
	for name, story := range map[string][]scene{
		"a restart of the threads does not begin the fault anew": {
			{0, seen(), "", ClassHealthy, "", 0},
			{5, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 5},
			{6, seen(), "", ClassUnknown, ReasonRecovering, 5}, // START: running for a second
			{7, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 5},
			{8, seen(executed("u:1-11")), "", ClassUnknown, ReasonRecovering, 5}, // workers got a little further
			{9, seen(executed("u:1-11:13"), diverged), "", ClassDivergent, ReasonDuplicateKey, 5},
		},
		"errors that alternate are one fault": {
			{0, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 0},
			{1, seen(onApplier(1032, worker("Error_code: 1032"))), "", ClassDivergent, ReasonRowMissing, 0},
			{2, seen(sourceDown), "", ClassTransient, ReasonSourceUnreachable, 0},
			{3, seen(onApplier(0, "")), "", ClassStopped, ReasonApplierStopped, 0},
			{4, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 0},
			{5, seen(onReceiver(ThreadStopped, 13114, dump("purged required binary logs"))), "", ClassPurged, ReasonPurged, 0},
		},
		"an hour without a source does not age the divergence after it": {
			{0, seen(sourceDown), "", ClassTransient, ReasonSourceUnreachable, 0},
			{3600, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 3600},
			{3601, seen(sourceDown), "", ClassTransient, ReasonSourceUnreachable, 0},
			{3602, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 3600},
		},
		"proven progress ends a fault": {
			{0, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 0},
			{1, seen(), "", ClassUnknown, ReasonRecovering, 0},
			{2, seen(executed("u:1-11")), "", ClassUnknown, ReasonRecovering, 0},
			{3, seen(executed("u:1-12")), "", ClassHealthy, "", 3},
			{4, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 4},
		},
		"a stable time ends a fault of an idle source": {
			{0, seen(sourceDown), "", ClassTransient, ReasonSourceUnreachable, 0},
			{1, seen(), "", ClassUnknown, ReasonRecovering, 0},
			{10, seen(), "", ClassUnknown, ReasonRecovering, 0},
			{11, seen(), "", ClassHealthy, "", 11},
			{12, seen(sourceDown), "", ClassTransient, ReasonSourceUnreachable, 12},
		},
		"a receiver that had only to connect is proven sooner, but not one that failed as well": {
			{0, seen(onReceiver(ThreadConnecting, 0, "")), "", ClassTransient, ReasonConnecting, 0},
			{1, seen(), "", ClassUnknown, ReasonRecovering, 0},
			{4, seen(), "", ClassHealthy, "", 4},
			{5, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 5},
			{6, seen(onReceiver(ThreadConnecting, 0, "")), "", ClassTransient, ReasonConnecting, 5},
			{7, seen(), "", ClassUnknown, ReasonRecovering, 5},
			{16, seen(), "", ClassUnknown, ReasonRecovering, 5},
			{17, seen(), "", ClassHealthy, "", 17},
		},
		"a restart of the server does not end a fault, and a hang proves nothing": {
			{0, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 0},
			{1, seen(down), "", ClassUnreachable, ReasonServerDown, 1},
			{2, seen(), "", ClassUnknown, ReasonRecovering, 0},
			{11, hung, "", ClassUnknown, ReasonNoAnswer, 2},
			{13, seen(), "", ClassUnknown, ReasonRecovering, 0},
			{14, seen(diverged), "", ClassDivergent, ReasonDuplicateKey, 0},
		},
		"one hang makes no fault of a healthy replica": {
			{0, seen(), "", ClassHealthy, "", 0},
			{1, hung, "", ClassUnknown, ReasonNoAnswer, 1},
			{2, seen(), "", ClassHealthy, "", 2},
		},
		"silence is not health: the primary goes on and this one does not": {
			{0, seen(), "u:1-10", ClassHealthy, "", 0},
			{10, seen(), "u:1-20", ClassHealthy, "", 0},
			{30, seen(), "u:1-30", ClassHealthy, "", 0},
			{41, seen(), "u:1-40", ClassLagging, ReasonNoProgress, 41},
			{42, seen(), "u:1-40", ClassLagging, ReasonNoProgress, 41},
			{43, seen(executed("u:1-11")), "u:1-41", ClassHealthy, "", 43},
		},
		"an idle primary, and one whose report comes late": {
			{0, seen(), "u:1-9", ClassHealthy, "", 0},
			{3, seen(), "u:1-10", ClassHealthy, "", 0},
			{3600, seen(), "u:1-10", ClassHealthy, "", 0},
			{3601, seen(executed("u:1-11,errant:1")), "u:1-10", ClassHealthy, "", 0},
			{3602, seen(executed("u:1-11,errant:1")), "u:1-11", ClassHealthy, "", 0},
			{9999, seen(executed("u:1-11,errant:1")), "u:1-11", ClassHealthy, "", 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var m Memory
			for _, s := range story {
				var d Diagnosis
				d, m = Diagnose(m, s.seen, PrimaryFacts{Node: "db1", Executed: s.primary}, clock(s.at), cfg)
				if d.Class != s.class || d.Reason != s.reason || d.Since != StampOf(clock(s.since)) {
					t.Errorf("second %d: %s/%s since %s, wanted %s/%s since second %d", s.at, d.Class, d.Reason, d.Since, s.class, s.reason, s.since)
				}
			}
		})
	}
}

func TestDiagnoseCountsMoves(t *testing.T) {
	var m Memory
	var d Diagnosis
	cfg := DiagnoseConfig{Stable: time.Second}
	for i, o := range []struct {
		seen  Observation
		moves int
	}{
		{seen(executed("u:1")), 0}, {seen(executed("u:1-2")), 1}, {seen(executed("u:1-2")), 1},
		{seen(executed("u:1-3"), onApplier(1062, worker("Duplicate entry"))), 0}, {seen(down), 0},
		{seen(executed("u:1-4"), onApplier(1062, worker("Duplicate entry"))), 1}, {seen(executed("u:1-4")), 1}, {seen(executed("u:1-4")), 0},
	} {
		d, m = Diagnose(m, o.seen, PrimaryFacts{}, clock(i), cfg)
		if d.Moves != o.moves {
			t.Errorf("observation %d: %d moves, wanted %d", i, d.Moves, o.moves)
		}
	}
}

// Only what §1 and the purged text of §3 say may ever lead to a rebuild.
func TestOnlyDivergenceAndPurgeAreCurable(t *testing.T) {
	for flavor, symptoms := range map[string][]symptom{"mysql": mysqlSymptoms, "mariadb": mariadbSymptoms} {
		t.Run(flavor, func(t *testing.T) { checkCurable(t, symptoms) })
	}
}

func checkCurable(t *testing.T, symptoms []symptom) {
	texts := map[string]bool{}
	for _, s := range symptoms {
		if s.class.Curable() {
			if s.text == "" {
				t.Errorf("%d at the %s is curable whatever its text", s.errno, s.at)
			}
			if s.at == receiver && s.reason != ReasonPurged {
				t.Errorf("%d at the receiver is curable: %s", s.errno, s.text)
			}
		}
		if !slices.Contains(reasons(), s.reason) || !slices.Contains(Classes(), s.class) {
			t.Errorf("%d: %s/%s is not in the closed sets", s.errno, s.class, s.reason)
		}
		key := fmt.Sprint(s.at, s.errno, s.text)
		if texts[key] {
			t.Errorf("%d at the %s, %q, is there twice", s.errno, s.at, s.text)
		}
		texts[key] = true
	}
	for i, r := range reasons() {
		if slices.Index(reasons(), r) != i {
			t.Errorf("reason %s is there twice", r)
		}
	}
}

func TestDetailIsOneShortLine(t *testing.T) {
	d, _ := Diagnose(Memory{}, seen(onApplier(1062, worker("Duplicate entry 'é\n"+strings.Repeat("é", 5000)+"'"))), PrimaryFacts{}, clock(0), DiagnoseConfig{})
	if len(d.Detail) > maxDetail+10 || strings.ContainsAny(d.Detail, "\n\r") || !strings.HasSuffix(d.Detail, "…") || strings.ContainsRune(d.Detail, '\uFFFD') {
		t.Errorf("%d bytes: %q", len(d.Detail), d.Detail)
	}
}

// reasons are all reasons. A healthy replica has none.
func reasons() []string {
	return []string{ReasonRowMissing, ReasonDuplicateKey, ReasonTableMissing, ReasonDatabaseMissing,
		ReasonObjectExists, ReasonSchemaMismatch, ReasonAccountMismatch, ReasonPurged,
		ReasonAccessDenied, ReasonAccountLocked, ReasonPasswordExpired, ReasonAuthentication, ReasonTLS,
		ReasonSourceUnreachable, ReasonTooManyConnections, ReasonConnecting, ReasonRegistration,
		ReasonThreadsStopped, ReasonReceiverStopped, ReasonApplierStopped, ReasonApplierKilled,
		ReasonLag, ReasonNoProgress, ReasonServerDown,
		ReasonOwnership, ReasonResource, ReasonErrant, ReasonSourceDamaged, ReasonConfiguration,
		ReasonRelayLog, ReasonLockWait, ReasonTablespaceMissing, ReasonTableCorrupt,
		ReasonNoAnswer, ReasonOwnAccount, ReasonNotObserved, ReasonNoSource, ReasonManySources,
		ReasonGroupMember, ReasonUnsupported, ReasonRecovering, ReasonUnrecognised}
}

// TestRefused: what the receiver shows now counts, whatever else is broken.
func TestRefused(t *testing.T) {
	denied := connecting("Access denied for user 'repl'@'db2' (using password: YES)")
	for _, c := range []struct {
		name    string
		at      Thread
		errno   int
		message string
		refused bool
	}{
		{"refused", ThreadConnecting, 1045, denied, true},
		{"given up", ThreadStopped, 1045, denied, true},
		{"let in since", ThreadRunning, 1045, denied, false},
		{"purged", ThreadStopped, 13114, "the source has purged required binary logs", false},
		{"source down", ThreadConnecting, 2003, "Can't connect", false},
		{"stopped", ThreadStopped, 0, "", false},
	} {
		obs := Observation{Reachable: true, Flavor: "mysql", Sources: []SourceStatus{{
			Receiver: ThreadStatus{Running: c.at, Errno: c.errno, Message: c.message},
			Applier:  ThreadStatus{Running: ThreadStopped, Errno: 1032, Message: "Error_code: 1032"},
		}}}
		if got := Refused(obs); (got != "") != c.refused {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	if Refused(Observation{}) != "" {
		t.Error("no source, and refused")
	}
}
