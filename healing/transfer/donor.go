package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// DonorOptions are what the donor's end of a tunnel needs.
type DonorOptions struct {
	// Check, Ahead and Limit are the fence's.
	Check func() error
	Ahead error
	Limit *rate.Limiter
	// Dial connects to mysqld; see DialAs.
	Dial func(ctx context.Context) (net.Conn, error)
	// Count is told of the bytes sent to the recipient; nil: nobody is.
	Count func(n int64)

	every, wait time.Duration // for tests
}

// Donor is an admitted tunnel: the token was good, and mysqld answered.
type Donor struct {
	opts   DonorOptions
	fence  *Fence
	mysqld net.Conn
}

// Admit checks the token, waiting up to 10 s for it to be applied here, and
// dials mysqld. The Donor must be served, which closes what was dialled.
func Admit(ctx context.Context, o DonorOptions) (*Donor, error) {
	if o.Dial == nil {
		return nil, errors.New("tunnel: want Dial")
	}
	fence, err := NewFence(ctx, FenceOptions{Check: o.Check, Ahead: o.Ahead, Limit: o.Limit, every: o.every, wait: o.wait})
	if err != nil {
		return nil, err
	}
	conn, err := o.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial mysqld for a tunnel: %w", err)
	}
	return &Donor{opts: o, fence: fence, mysqld: conn}, nil
}

// Serve joins conn to mysqld until both ended, and closes both. It ends at
// once when the token is no longer the one in force, and then returns Check's
// error.
func (d *Donor) Serve(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	over, end := context.WithCancel(ctx)
	defer end()
	wg.Go(func() {
		if err := d.fence.Watch(over); err != nil {
			cancel(err)
		}
	})
	return join(ctx, [2]flow{
		{dst: conn, src: d.mysqld, before: d.fence.Pace, count: d.opts.Count, chunk: chunkOf(d.opts.Limit)},
		{dst: d.mysqld, src: conn},
	})
}

// chunkOf keeps the silence between two writes far below the 30 s after which
// CLONE takes a line for dead.
func chunkOf(l *rate.Limiter) int {
	if l == nil || l.Limit() == rate.Inf {
		return 0
	}
	return int(max(4<<10, min(bufferSize, float64(l.Limit())/10)))
}
