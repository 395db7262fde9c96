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

// StopReceiver stops fetching from all sources; the applier goes on.
func (s *Server) StopReceiver(ctx context.Context) error {
	return s.act(ctx, slowLimit, "stop receiver", func(w words) string { return w.stopReceiver })
}

// StopReplica stops both threads of all channels. Stopped already is fine.
func (s *Server) StopReplica(ctx context.Context) error {
	return s.act(ctx, stopLimit, "stop replica", func(w words) string { return w.stopReplica })
}

// StartReplica starts both threads of all channels; that they started says
// nothing of whether they keep running. Started already is fine.
func (s *Server) StartReplica(ctx context.Context) error {
	return s.act(ctx, slowLimit, "start replica", func(w words) string { return w.startReplica })
}

// act runs one statement that changes something in a session of its own.
func (s *Server) act(ctx context.Context, limit time.Duration, what string, text func(words) string) error {
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	return ss.exec(ctx, limit, what, text(ss.version.words()))
}
