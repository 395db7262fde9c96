package healing

import (
	"context"
	"errors"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// fewer are bounds on the rows of a chunk, for tables whose rows take long; 0:
// as many as the primary sees fit.
var fewer = []int{0, 1000, 100, 10, 1}

// growAt is how many chunks along one table a batch has, in seconds, where the
// next larger ones are read in time as well.
const growAt = 20

// ask asks the primary until it answers. What it cannot read in time it is
// asked for in smaller chunks; any other error says nothing about them.
func (c *comparison) ask(ctx context.Context, order watchdog.ChecksumOrder) (watchdog.Checksums, error) {
	r := c.r
	order.ClusterID, order.Token = r.j.ClusterID, r.j.Token
	deadline := time.Now().Add(c.patience)
	for {
		primary := c.primary
		if primary == "" {
			primary = watchdog.RoleOf(r.h.o.Cluster.View(), r.h.o.Node, r.h.o.Policy.Fresh).Primary
		}
		order.Rows = fewer[c.small]
		out, err := r.h.o.Checksums(ctx, primary, order)
		if err == nil || errors.Is(err, watchdog.ErrTokenStale) || time.Now().After(deadline) {
			return out, err
		}
		r.log.Debug("no checksums", "error", err, "rows", order.Rows)
		if errors.Is(err, watchdog.ErrTooSlow) && len(order.Walks) > 0 && !order.Walks[0].Single {
			c.small = min(c.small+1, len(fewer)-1)
		}
		if err := wait(ctx, time.Second); err != nil {
			return out, err
		}
	}
}

// grow goes back to larger chunks: at once where the table that was slow is
// through, and along it bit by bit, since it may have been a slow spell only.
func (c *comparison) grow(batch watchdog.Checksums) {
	switch {
	case batch.Ended > 0:
		c.small = 0
	case len(batch.Chunks) >= growAt:
		c.small = max(c.small-1, 0)
	}
}

// silent says that the copy did not answer in time, or did not get on: that says
// nothing against it.
func silent(err error) bool {
	return errors.Is(err, replica.ErrHung) || errors.Is(err, replica.ErrDown) || errors.Is(err, replica.ErrStalled)
}

// passing says that a later batch may not meet with the same.
func passing(err error) bool {
	return errors.Is(err, replica.ErrPosition) || errors.Is(err, replica.ErrHung) || errors.Is(err, replica.ErrDown)
}
