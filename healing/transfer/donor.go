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

// How often the token is checked while bytes flow, how long a donor waits for
// a token that its raft has not applied, and how often it looks meanwhile.
const (
	checkEvery = 5 * time.Second
	aheadWait  = 10 * time.Second
	aheadEvery = 50 * time.Millisecond
)

// DonorOptions are what the donor's end of a tunnel needs.
type DonorOptions struct {
	// Check says whether the lease's token is the one in force: nil is yes.
	// Every error means no and ends the stream; it must not block.
	Check func() error
	// Ahead is the error of Check that means: ask again, this node has not
	// heard of the token yet. Only at the start is it waited out.
	Ahead error
	// Dial connects to mysqld; see DialAs.
	Dial func(ctx context.Context) (net.Conn, error)
	// Limit is shared by all streams of a node; nil: as fast as they go.
	Limit *rate.Limiter
	// Count is told of the bytes sent to the recipient; nil: nobody is.
	Count func(n int64)

	every, wait time.Duration // for tests; 0: the constants above
}

func (o *DonorOptions) check() error {
	if o.Check == nil || o.Ahead == nil || o.Dial == nil {
		return errors.New("tunnel: want Check, Ahead and Dial")
	}
	if o.every == 0 {
		o.every = checkEvery
	}
	if o.wait == 0 {
		o.wait = aheadWait
	}
	return nil
}

// Donor is an admitted tunnel: the token was good, and mysqld answered.
type Donor struct {
	opts   DonorOptions
	mysqld net.Conn

	mu      sync.Mutex
	checked time.Time // when the token was last found good
}

// Admit checks the token, waiting up to 10 s for it to be applied here, and
// dials mysqld. The Donor must be served, which closes what was dialled.
func Admit(ctx context.Context, o DonorOptions) (*Donor, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	d := &Donor{opts: o}
	if err := d.waitForToken(ctx); err != nil {
		return nil, err
	}
	conn, err := o.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial mysqld for a tunnel: %w", err)
	}
	d.mysqld = conn
	return d, nil
}

func (d *Donor) waitForToken(ctx context.Context) error {
	deadline := time.Now().Add(d.opts.wait)
	for {
		err := d.verify(0)
		if err == nil || !errors.Is(err, d.opts.Ahead) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(aheadEvery):
		}
	}
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
		if err := d.watch(over); err != nil {
			cancel(err)
		}
	})
	return join(ctx, [2]flow{
		{dst: conn, src: d.mysqld, before: d.pace, count: d.opts.Count, chunk: chunkOf(d.opts.Limit)},
		{dst: d.mysqld, src: conn},
	})
}

// watch checks the token of a stream that may be idle.
func (d *Donor) watch(ctx context.Context) error {
	tick := time.NewTicker(d.opts.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := d.verify(0); err != nil {
				return err
			}
		}
	}
}

// pace holds a write back to the limit, and then has the token checked where
// that is overdue: a process that was frozen sends nothing on an old answer.
func (d *Donor) pace(ctx context.Context, n int) error {
	if l := d.opts.Limit; l != nil {
		for n > 0 {
			part := min(n, max(1, l.Burst()))
			if err := l.WaitN(ctx, part); err != nil {
				return fmt.Errorf("wait for the rate limit: %w", err)
			}
			n -= part
		}
	}
	return d.verify(d.opts.every)
}

// verify checks the token unless it was found good within age.
func (d *Donor) verify(age time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if age > 0 && since(d.checked) < age {
		return nil
	}
	now := time.Now()
	if err := d.opts.Check(); err != nil {
		return err
	}
	d.checked = now
	return nil
}

// chunkOf keeps the silence between two writes far below the 30 s after which
// CLONE takes a line for dead.
func chunkOf(l *rate.Limiter) int {
	if l == nil || l.Limit() == rate.Inf {
		return 0
	}
	return int(max(4<<10, min(bufferSize, float64(l.Limit())/10)))
}
