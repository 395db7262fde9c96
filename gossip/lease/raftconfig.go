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
	// By it followers learn within twice as long what was committed where no
	// nudge tells them: after a change of leader or of membership. It costs an
	// idle leader a request to each, over and over.
	c.CommitTimeout = 2 * time.Second
	c.SnapshotThreshold = 1024
	c.SnapshotInterval = 10 * time.Minute
	c.TrailingLogs = 512
	// A leader that is removed must stay to be told so.
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(log)
	return c
}
