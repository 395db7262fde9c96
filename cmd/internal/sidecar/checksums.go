package sidecar

import (
	"context"
	"errors"

	"resilver/healing/transfer"
	"resilver/watchdog"
)

// errComparing means that an earlier question for checksums is still answered.
var errComparing = errors.New("tables are being read for an earlier question")

// peerChecksums reads this node's tables for the lease's holder, and for nobody
// else, one question at a time. It needs the right to, which is there only
// where somebody has given it.
func (s *Sidecar) peerChecksums(ctx context.Context, caller string, order watchdog.ChecksumOrder) (watchdog.Checksums, error) {
	_, err := transfer.NewFence(ctx, transfer.FenceOptions{
		Check: func() error { return s.leases.CheckHolder(order.ClusterID, order.Token, caller) }, Ahead: watchdog.ErrTokenAhead,
	})
	if err != nil {
		return watchdog.Checksums{}, err
	}
	if !s.comparing.TryLock() {
		return watchdog.Checksums{}, errComparing
	}
	defer s.comparing.Unlock()
	if order.Tables {
		tables, out, err := s.server.ComparableTables(ctx)
		return watchdog.Checksums{Tables: tables, LeftOut: out}, err
	}
	return s.server.Checksums(ctx, order.Walks, order.Rows)
}
