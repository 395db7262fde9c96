package watchdog

import "regexp"

// place is the thread that an error stands at. MySQL's coordinator and its
// workers are one place, the applier.
type place string

const (
	receiver place = "receiver"
	applier  place = "applier"
	server   place = "server"
)

// symptom is one error as a server words it, and what it means. The first
// that fits counts; an error that fits none is unknown.
type symptom struct {
	at     place
	errno  int
	text   string // the shortest part of the message that is stable
	class  Class
	reason string
}

// mysqlSymptoms are MySQL's replication errors. "seen" means that the fault
// was injected on MySQL 9.7.4 and this text read; "manual" that the number
// and text are those of MySQL's error reference, and the fault of the same
// kind as the seen ones beside it.
var mysqlSymptoms = []symptom{
	// The applier met data that is not the source's. START and a fresh relay
	// log only repeat these.
	{applier, 1032, "Error_code: 1032", ClassDivergent, ReasonRowMissing},                             // seen: DELETE or UPDATE of a row that is gone
	{applier, 1062, "Duplicate entry", ClassDivergent, ReasonDuplicateKey},                            // seen: INSERT of a row that is there
	{applier, 1146, "doesn't exist", ClassDivergent, ReasonTableMissing},                              // seen: row event, ALTER
	{applier, 1051, "Unknown table", ClassDivergent, ReasonTableMissing},                              // seen: DROP TABLE
	{applier, 1049, "Unknown database", ClassDivergent, ReasonDatabaseMissing},                        // seen: row event, CREATE TABLE
	{applier, 1008, "database doesn't exist", ClassDivergent, ReasonDatabaseMissing},                  // seen: DROP DATABASE
	{applier, 1007, "database exists", ClassDivergent, ReasonObjectExists},                            // seen: CREATE DATABASE
	{applier, 1050, "already exists", ClassDivergent, ReasonObjectExists},                             // seen: CREATE TABLE
	{applier, 1061, "Duplicate key name", ClassDivergent, ReasonObjectExists},                         // seen: CREATE INDEX
	{applier, 1060, "Duplicate column name", ClassDivergent, ReasonObjectExists},                      // seen: ADD COLUMN
	{applier, 1054, "Unknown column", ClassDivergent, ReasonSchemaMismatch},                           // seen: DDL on a column that is gone
	{applier, 1091, "check that column/key exists", ClassDivergent, ReasonSchemaMismatch},             // seen: DROP COLUMN, DROP INDEX
	{applier, 1824, "Failed to open the referenced table", ClassDivergent, ReasonSchemaMismatch},      // seen: foreign key to a table that is gone
	{applier, 13146, "cannot be converted from type", ClassDivergent, ReasonSchemaMismatch},           // seen: a column of another type
	{applier, 1452, "a foreign key constraint fails", ClassDivergent, ReasonRowMissing},               // seen: child of a row that is gone
	{applier, 1396, " USER failed for ", ClassDivergent, ReasonAccountMismatch},                       // seen: CREATE USER, DROP USER
	{applier, 1410, "not allowed to create a user with GRANT", ClassDivergent, ReasonAccountMismatch}, // seen: GRANT to an account that is gone

	// The applier stopped for a reason that passes, or that is not the data.
	{applier, 1205, "", ClassUnknown, ReasonLockWait},                         // seen: a local session holds the row; START heals
	{applier, 1213, "", ClassUnknown, ReasonLockWait},                         // manual: chosen as deadlock victim; START heals
	{applier, 1756, "", ClassStopped, ReasonApplierKilled},                    // seen: KILL of the coordinator or a worker; START heals
	{applier, 1114, "is full", ClassUnknown, ReasonResource},                  // seen: file system full
	{applier, 1812, "", ClassUnknown, ReasonTablespaceMissing},                // seen: file gone, or only not readable
	{applier, 13121, "Relay log read failure", ClassUnknown, ReasonRelayLog},  // seen: bytes overwritten, index gone
	{applier, 13117, "Could not open log file", ClassUnknown, ReasonRelayLog}, // seen: relay file gone
	{applier, 13117, "relay log", ClassUnknown, ReasonRelayLog},               // seen: relay index gone, after a restart of the threads
	{applier, 13124, "", ClassUnknown, ReasonRelayLog},                        // seen: applier metadata cannot be read
	{applier, 1872, "", ClassUnknown, ReasonRelayLog},                         // seen: the same, as the answer to START

	// What the source's dump thread said: 13114 is any of these, so the text
	// decides. (It quotes 1236, which is never the number on MySQL.)
	{receiver, 13114, "purged required binary logs", ClassPurged, ReasonPurged},                    // seen
	{receiver, 13114, "more GTIDs than the", ClassUnknown, ReasonErrant},                           // seen: this node is ahead, or the source lost logs
	{receiver, 13114, "could not find next log", ClassUnknown, ReasonSourceDamaged},                // seen: source's logs were reset under it
	{receiver, 13114, "Could not open log file", ClassUnknown, ReasonSourceDamaged},                // seen: file gone at the source
	{receiver, 13114, "truncated in the middle of event", ClassUnknown, ReasonSourceDamaged},       // seen
	{receiver, 13114, "bad magic number", ClassUnknown, ReasonSourceDamaged},                       // seen
	{receiver, 13122, "could not queue event", ClassUnknown, ReasonSourceDamaged},                  // seen: checksum or header broken in the source's file
	{receiver, 13114, "with the same server_uuid/server_id", ClassUnknown, ReasonConfiguration},    // seen: two replicas with one identity
	{receiver, 13114, "Cannot replicate anonymous transaction", ClassUnknown, ReasonConfiguration}, // seen: source's gtid_mode turned off
	{receiver, 13114, "Binary log is not open", ClassUnknown, ReasonConfiguration},                 // manual: source without binary log
	{receiver, 13117, "equal MySQL server ids", ClassUnknown, ReasonConfiguration},                 // seen
	{receiver, 13117, "equal MySQL server UUIDs", ClassUnknown, ReasonConfiguration},               // seen: copied auto.cnf
	{receiver, 13117, "GTID_MODE", ClassUnknown, ReasonConfiguration},                              // seen: source's gtid_mode is off
	{receiver, 13125, "max_allowed_packet", ClassUnknown, ReasonConfiguration},                     // seen: replica_max_allowed_packet too small

	// The source refuses the replication account.
	{receiver, 1045, "Access denied", ClassCredential, ReasonAccessDenied},             // seen: wrong password, account dropped, TLS required
	{receiver, 13120, "Access denied", ClassCredential, ReasonAccessDenied},            // seen: REPLICATION SLAVE revoked
	{receiver, 1130, "is not allowed to connect", ClassCredential, ReasonAccessDenied}, // manual: no account for this host
	{receiver, 1227, "Access denied", ClassCredential, ReasonAccessDenied},             // manual
	{receiver, 3118, "", ClassCredential, ReasonAccountLocked},                         // seen
	{receiver, 1862, "", ClassCredential, ReasonPasswordExpired},                       // seen
	{receiver, 2061, "", ClassCredential, ReasonAuthentication},                        // seen: caching_sha2 without TLS, key or warm cache
	{receiver, 2026, "", ClassCredential, ReasonTLS},                                   // seen: verification without a CA

	// The source cannot be reached now. After its retries MySQL gives up and
	// says No: that is the same fault.
	{receiver, 2003, "", ClassTransient, ReasonSourceUnreachable},  // seen: down, wrong port, no route
	{receiver, 2005, "", ClassTransient, ReasonSourceUnreachable},  // seen: name does not resolve
	{receiver, 2013, "", ClassTransient, ReasonSourceUnreachable},  // seen: lost while connecting, frozen source
	{receiver, 2006, "", ClassTransient, ReasonSourceUnreachable},  // manual: connection gone
	{receiver, 2002, "", ClassTransient, ReasonSourceUnreachable},  // manual: as 2003, for a socket
	{receiver, 1053, "", ClassTransient, ReasonSourceUnreachable},  // manual: source is shutting down
	{receiver, 1040, "", ClassTransient, ReasonTooManyConnections}, // seen
	{receiver, 13120, "", ClassTransient, ReasonRegistration},      // manual: registration failed for another reason
}

// Texts that come before every number: wrong ownership imitates corruption
// and a missing table, and a full disk imitates anything.
var (
	ownershipText = regexp.MustCompile(`(?i)permission denied|must be writable|os error: 81\b|` +
		`(errno|errcode|os errno|error)(:| number| -)? 13\b`)
	resourceText = regexp.MustCompile(`(?i)no space left on device|disk is full|waiting for disk space|waiting for someone to free space|` +
		`(errno|errcode|os errno|got error)(:| number| -)? 28\b`)
)

// recognise gives an error of a replication thread its meaning.
func recognise(flavor string, at place, errno int, message string) (Class, string) {
	if flavor == "mariadb" {
		message = withoutQuery(message)
	}
	switch {
	case ownershipText.MatchString(message):
		return ClassUnknown, ReasonOwnership
	case resourceText.MatchString(message):
		return ClassUnknown, ReasonResource
	}
	for _, s := range symptomsOf(flavor) {
		if s.at == at && s.errno == errno && containsFold(message, s.text) {
			return s.class, s.reason
		}
	}
	return ClassUnknown, ReasonUnrecognised
}
