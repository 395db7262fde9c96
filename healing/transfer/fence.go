package transfer

import (
	"context"
	"errors"
	"fmt"
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

// FenceOptions are a lease's token and the limit of a donor.
type FenceOptions struct {
	// Check says whether the lease's token is the one in force: nil is yes.
	// Every error means no and ends the stream; it must not block.
	Check func() error
	// Ahead is the error of Check that means: ask again, this node has not
	// heard of the token yet. Only at the start is it waited out.
	Ahead error
	// Limit is shared by all streams of a node; nil: as fast as they go.
	Limit *rate.Limiter

	every, wait time.Duration // for tests; 0: the constants above
}

// Fence lets a stream flow for as long as its token is the one in force, and
// no faster than the limit.
type Fence struct {
	o FenceOptions

	mu      sync.Mutex
	checked time.Time // when the token was last found good
}

// NewFence checks the token, waiting up to 10 s for it to be applied here.
func NewFence(ctx context.Context, o FenceOptions) (*Fence, error) {
	if o.Check == nil || o.Ahead == nil {
		return nil, errors.New("fence: want Check and Ahead")
	}
	if o.every == 0 {
		o.every = checkEvery
	}
	if o.wait == 0 {
		o.wait = aheadWait
	}
	f := &Fence{o: o}
	return f, f.waitForToken(ctx)
}

func (f *Fence) waitForToken(ctx context.Context) error {
	deadline := time.Now().Add(f.o.wait)
	for {
		err := f.verify(0)
		if err == nil || !errors.Is(err, f.o.Ahead) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(aheadEvery):
		}
	}
}

// Watch checks the token of a stream that may be idle, and returns Check's
// error once it is no longer the one in force; nil when ctx ends.
func (f *Fence) Watch(ctx context.Context) error {
	tick := time.NewTicker(f.o.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := f.verify(0); err != nil {
				return err
			}
		}
	}
}

// Pace holds a write of n bytes back to the limit, and then has the token
// checked where that is overdue: a process that was frozen sends nothing on an
// old answer.
func (f *Fence) Pace(ctx context.Context, n int) error {
	if l := f.o.Limit; l != nil {
		for n > 0 {
			part := min(n, max(1, l.Burst()))
			if err := l.WaitN(ctx, part); err != nil {
				return fmt.Errorf("wait for the rate limit: %w", err)
			}
			n -= part
		}
	}
	return f.verify(f.o.every)
}

// verify checks the token unless it was found good within age.
func (f *Fence) verify(age time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if age > 0 && since(f.checked) < age {
		return nil
	}
	now := time.Now()
	if err := f.o.Check(); err != nil {
		return err
	}
	f.checked = now
	return nil
}
