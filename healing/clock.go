package healing

import (
	"context"
	"fmt"
	"time"
)

// clock is a step's deadline, which may stand still for a while: for what ends
// by a rule of progress of its own.
type clock struct {
	timer *time.Timer
	since time.Time
	left  time.Duration // when it began to run last
}

// start returns a context that ends when the clock has run for so long.
func (c *clock) start(ctx context.Context, limit time.Duration) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.since, c.left = time.Now(), limit
	c.timer = time.AfterFunc(limit, func() { cancel(fmt.Errorf("not done within %s", limit)) })
	return ctx, func() { c.timer.Stop(); cancel(nil) }
}

func (c *clock) pause() {
	c.timer.Stop()
	c.left -= time.Since(c.since)
}

// resume lets it run for what was left.
func (c *clock) resume() {
	c.since = time.Now()
	c.timer.Reset(max(c.left, 0))
}
