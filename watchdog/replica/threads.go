package replica

import (
	"context"
	"time"
)

// Deadlines of statements that are known to be slow. STOP REPLICA was seen
// to take 60.7 s where half a transaction is in the relay log.
const (
	slowLimit  = 30 * time.Second
	stopLimit  = 90 * time.Second
	closeLimit = 10 * time.Second // of each statement that closes or opens
)

// StartReplica starts both threads of all channels; that they started says
// nothing of whether they keep running. Started already is fine.
func (s *Server) StartReplica(ctx context.Context) error {
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	return ss.exec(ctx, slowLimit, "start replica", ss.version.words().startReplica)
}
