package lease

import (
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// raftConfig is raft's, for a handful of nodes with a write every few seconds.
func raftConfig(o *Options, id raft.ServerID, log *slog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = id
	c.HeartbeatTimeout = o.Heartbeat
	c.ElectionTimeout = o.Heartbeat
	c.LeaderLeaseTimeout = min(time.Second, o.Heartbeat)
	// It only delays the followers' copies, and dominates the cost of being idle.
	c.CommitTimeout = 500 * time.Millisecond
	c.SnapshotThreshold = 1024
	c.SnapshotInterval = 10 * time.Minute
	c.TrailingLogs = 512
	// A leader that is removed must stay to be told so.
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(log)
	return c
}
