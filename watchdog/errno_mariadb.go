package watchdog

import "strings"

// mariadbSymptoms are MariaDB's replication errors: "seen" on 10.11.18, unless
// the manual is named. Its numbers are the classic ones, where MySQL has others
// for what the source's dump thread and the relay log say; and 1236 is any of
// these things, so that here too the text decides.
var mariadbSymptoms = []symptom{
	// The applier met data that is not the source's.
	{applier, 1032, "Error_code: 1032", ClassDivergent, ReasonRowMissing},                             // seen: DELETE or UPDATE of a row that is gone, row format
	{applier, 1062, "Duplicate entry", ClassDivergent, ReasonDuplicateKey},                            // seen: INSERT of a row that is there
	{applier, 1146, "doesn't exist", ClassDivergent, ReasonTableMissing},                              // seen: row event, ALTER; also where the database is gone
	{applier, 1051, "Unknown table", ClassDivergent, ReasonTableMissing},                              // seen: DROP TABLE with slave_ddl_exec_mode=STRICT
	{applier, 1049, "Unknown database", ClassDivergent, ReasonDatabaseMissing},                        // seen: CREATE TABLE
	{applier, 1008, "database doesn't exist", ClassDivergent, ReasonDatabaseMissing},                  // seen: DROP DATABASE, STRICT
	{applier, 1007, "database exists", ClassDivergent, ReasonObjectExists},                            // seen: CREATE DATABASE, STRICT
	{applier, 1050, "already exists", ClassDivergent, ReasonObjectExists},                             // seen: CREATE TABLE, STRICT
	{applier, 1061, "Duplicate key name", ClassDivergent, ReasonObjectExists},                         // seen: CREATE INDEX
	{applier, 1060, "Duplicate column name", ClassDivergent, ReasonObjectExists},                      // seen: ADD COLUMN
	{applier, 1054, "Unknown column", ClassDivergent, ReasonSchemaMismatch},                           // seen: DDL on a column that is gone
	{applier, 1091, "check that it exists", ClassDivergent, ReasonSchemaMismatch},                     // seen: DROP COLUMN, DROP INDEX
	{applier, 1136, "Column count doesn't match", ClassDivergent, ReasonSchemaMismatch},               // seen: a column is missing, statement format
	{applier, 1677, "cannot be converted from type", ClassDivergent, ReasonSchemaMismatch},            // seen: a column of another type
	{applier, 1005, "errno: 150", ClassDivergent, ReasonSchemaMismatch},                               // seen: foreign key to a table that is gone
	{applier, 1452, "a foreign key constraint fails", ClassDivergent, ReasonRowMissing},               // seen: child of a row that is gone
	{applier, 1396, " USER failed for ", ClassDivergent, ReasonAccountMismatch},                       // seen: CREATE USER, DROP USER
	{applier, 1133, "Can't find any matching row in the user", ClassDivergent, ReasonAccountMismatch}, // seen: GRANT to an account that is gone

	// The applier stopped for a reason that passes, or that is not the data.
	{applier, 1205, "", ClassUnknown, ReasonLockWait},                                // seen: a local session holds the row; START heals
	{applier, 1213, "", ClassUnknown, ReasonLockWait},                                // manual: chosen as deadlock victim; START heals
	{applier, 1927, "", ClassStopped, ReasonApplierKilled},                           // manual: connection killed (a KILL was seen to leave no error)
	{applier, 1950, "out-of-order sequence number", ClassUnknown, ReasonErrant},      // seen: strict mode, after a transaction of its own
	{applier, 1114, "is full", ClassUnknown, ReasonResource},                         // manual: as on MySQL
	{applier, 1021, "", ClassUnknown, ReasonResource},                                // manual: disk full
	{applier, 1877, "is corrupted", ClassUnknown, ReasonTableCorrupt},                // seen: page damaged, or only not readable
	{applier, 1812, "", ClassUnknown, ReasonTablespaceMissing},                       // manual: as on MySQL
	{applier, 1030, "Tablespace is missing", ClassUnknown, ReasonTablespaceMissing},  // seen: file gone, or only not readable; mysql.gtid_slave_pos too
	{applier, 1594, "Relay log read failure", ClassUnknown, ReasonRelayLog},          // seen: bytes overwritten
	{applier, 1872, "", ClassUnknown, ReasonRelayLog},                                // manual: relay log metadata
	{applier, 1201, "", ClassUnknown, ReasonRelayLog},                                // seen: metadata cannot be read, as the answer to START
	{receiver, 1201, "", ClassUnknown, ReasonRelayLog},                               // the same
	{receiver, 1030, "Tablespace is missing", ClassUnknown, ReasonTablespaceMissing}, // seen: mysql.gtid_slave_pos

	// What the source's dump thread said.
	{receiver, 1236, "Could not find GTID state requested by slave", ClassPurged, ReasonPurged},  // seen
	{receiver, 1236, "which is not in the master's binlog", ClassUnknown, ReasonErrant},          // seen: this node is ahead, or the source lost logs
	{receiver, 1236, "The binlog on the master is missing the GTID", ClassUnknown, ReasonErrant}, // seen: in a hole of the source's logs, strict mode
	{receiver, 1236, "could not find next log", ClassUnknown, ReasonSourceDamaged},               // seen: source's logs were reset under it
	{receiver, 1236, "Could not open log file", ClassUnknown, ReasonSourceDamaged},               // manual
	{receiver, 1236, "Could not read GTID list event", ClassUnknown, ReasonSourceDamaged},        // seen: event header broken in the source's file
	{receiver, 1236, "truncated in the middle of event", ClassUnknown, ReasonSourceDamaged},      // seen
	{receiver, 1236, "bad magic number", ClassUnknown, ReasonSourceDamaged},                      // seen
	{receiver, 1595, "could not queue event", ClassUnknown, ReasonSourceDamaged},                 // seen: checksum broken in the source's file; relay log not writable
	{receiver, 1236, "with the same server_uuid/server_id", ClassUnknown, ReasonConfiguration},   // manual: two replicas with one server_id
	{receiver, 1236, "Binary log is not open", ClassUnknown, ReasonConfiguration},                // seen: source without binary log
	{receiver, 1236, "max_allowed_packet", ClassUnknown, ReasonConfiguration},                    // manual: event too large
	{receiver, 1153, "max_allowed_packet", ClassUnknown, ReasonConfiguration},                    // manual: the same at this end
	{receiver, 1593, "equal MariaDB server ids", ClassUnknown, ReasonConfiguration},              // seen

	// The source refuses the replication account.
	{receiver, 1045, "Access denied", ClassCredential, ReasonAccessDenied},             // seen: wrong password, account dropped
	{receiver, 1597, "Access denied", ClassCredential, ReasonAccessDenied},             // seen: REPLICATION SLAVE revoked
	{receiver, 1698, "Access denied", ClassCredential, ReasonAccessDenied},             // manual: identified by unix_socket
	{receiver, 1130, "is not allowed to connect", ClassCredential, ReasonAccessDenied}, // manual: no account for this host
	{receiver, 1227, "Access denied", ClassCredential, ReasonAccessDenied},             // manual
	{receiver, 4151, "", ClassCredential, ReasonAccountLocked},                         // seen
	{receiver, 1820, "", ClassCredential, ReasonPasswordExpired},                       // manual
	{receiver, 1862, "", ClassCredential, ReasonPasswordExpired},                       // manual
	{receiver, 2026, "", ClassCredential, ReasonTLS},                                   // manual: TLS handshake

	// The source cannot be reached now.
	{receiver, 2003, "", ClassTransient, ReasonSourceUnreachable},  // seen: down, wrong port, no route
	{receiver, 2005, "", ClassTransient, ReasonSourceUnreachable},  // seen: name does not resolve
	{receiver, 2013, "", ClassTransient, ReasonSourceUnreachable},  // seen: lost while connecting, frozen source
	{receiver, 2006, "", ClassTransient, ReasonSourceUnreachable},  // manual: connection gone
	{receiver, 2002, "", ClassTransient, ReasonSourceUnreachable},  // manual: as 2003
	{receiver, 1053, "", ClassTransient, ReasonSourceUnreachable},  // manual: source is shutting down
	{receiver, 1040, "", ClassTransient, ReasonTooManyConnections}, // seen
	{receiver, 1203, "", ClassTransient, ReasonTooManyConnections}, // manual: max_user_connections
	{receiver, 1597, "", ClassTransient, ReasonRegistration},       // manual: registration failed for another reason
}

// symptomsOf are the errors of a flavour, nil where it is not known.
func symptomsOf(flavor string) []symptom {
	switch flavor {
	case "mysql":
		return mysqlSymptoms
	case "mariadb":
		return mariadbSymptoms
	}
	return nil
}

// withoutQuery cuts off the statement that MariaDB quotes behind an error of
// the applier: what people write into their data must not be read as the words
// of the server.
func withoutQuery(message string) string {
	head, _, _ := strings.Cut(message, " on query. Default database: ")
	return head
}
