package watchdog

import (
	"fmt"
	"time"
)

// Thread is the state of a replication thread as the server words it.
type Thread string

// The states of a replication thread. MySQL's applier knows only yes and no.
const (
	ThreadRunning    Thread = "yes"
	ThreadStopped    Thread = "no"
	ThreadConnecting Thread = "connecting"
	ThreadUnknown    Thread = "unknown"
)

// ThreadStatus is one replication thread with the error it last stopped at.
type ThreadStatus struct {
	Running Thread
	State   string // the server's own words of what it is doing
	Errno   int    // 0: none
	Message string // the most detailed text: on MySQL that of the failing worker
	Since   Stamp  // the server's time of the error; absent on MariaDB
	// GTID is the transaction the thread failed at, where the server names it.
	GTID string
}

// SourceStatus is one replication channel of a replica.
type SourceStatus struct {
	Channel      string
	Host         string
	Port         int
	User         string
	UUID         string // the source's server_uuid, empty until it first connected
	Receiver     ThreadStatus
	Applier      ThreadStatus
	Retrieved    string        // GTIDs received by this channel
	Lag          Lag           // the server's own estimate
	Delay        time.Duration // configured SOURCE_DELAY
	AutoPosition bool
	Filters      string // replication filters in one line, empty: none
}

// Address is the source as this replica dials it, host:port.
func (s *SourceStatus) Address() string { return fmt.Sprintf("%s:%d", s.Host, s.Port) }

// Observation is what one probe saw of one mysqld. A field that could not be
// read makes the whole observation unreachable, with Err saying why: there is
// no half-known server.
type Observation struct {
	At        time.Time
	Reachable bool
	Err       string // why it is not reachable, in one line
	Trouble   Trouble

	Flavor        string // mysql | mariadb
	Version       string
	VersionNumber int // 9.7.4 is 90704
	ServerID      uint32
	ServerUUID    string // MariaDB has none: there it is server-id:<server_id>
	Address       string // host:port under which replicas find it, as far as it knows itself
	Datadir       string
	StartedAt     time.Time

	ReadOnly      bool // read_only
	SuperReadOnly bool // MariaDB has none: there it is read_only, which some accounts get past
	OfflineMode   bool // never on MariaDB
	LogBin        bool
	LogUpdates    bool // what is replicated is in its own binary log too
	GroupMember   bool // Group Replication or Galera is on

	Executed string
	Purged   string
	// Replicated is MariaDB's gtid_slave_pos: the last transaction of each
	// domain that came by replication, also where it comes from no more. Empty
	// on MySQL.
	Replicated string

	Sources  []SourceStatus // configured channels, empty: no source configuration
	Attached []string       // server_uuids of the replicas whose dump threads are connected now
	SemiSync SemiSync
	Bytes    int64 // size of data and indexes, a slow-moving estimate; 0: unknown
}

// SemiSync is the source's side of semi-synchronous replication.
type SemiSync struct {
	On      bool
	Clients int  // replicas that acknowledge now
	Wants   int  // rpl_semi_sync_source_wait_for_replica_count
	Replica bool // this server's own receiver acknowledges
}

// Writable says that ordinary clients can write here.
func (o *Observation) Writable() bool { return o.Reachable && !o.ReadOnly && !o.SuperReadOnly }

// Source is the only channel, nil where there is none or more than one.
func (o *Observation) Source() *SourceStatus {
	if len(o.Sources) != 1 {
		return nil
	}
	return &o.Sources[0]
}
