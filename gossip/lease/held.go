package lease

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"resilver/watchdog"
)

// noDeadline is the deadline of a critical lease.
const noDeadline = time.Duration(math.MaxInt64)

// watchTick bounds how long a machine that slept goes on before it notices
// that its lease is gone: Go's timers stand still while it sleeps.
const watchTick = time.Second

// held is a lease in this node's hand. It implements watchdog.Lease.
type held struct {
	node  *Node
	id    string
	token uint64
	group string
	ttl   time.Duration

	ctx    context.Context
	cancel context.CancelCauseFunc

	change sync.Mutex // one change of phase at a time

	looping   context.Context // of the loops: ends with ctx, and with the lease's end
	stopLoops context.CancelFunc
	loops     sync.WaitGroup

	mu       sync.Mutex
	deadline time.Duration // by the node's clock
	critical bool
	lost     bool
	ending   bool
	closed   bool
}

var _ watchdog.Lease = (*held)(nil)

// hold starts the watch over a granted lease. sent is when its request was
// first sent.
func (n *Node) hold(h watchdog.Holding, group string, deadline time.Duration) *held {
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &held{
		node: n, id: h.ID, token: h.Token, group: group, ttl: h.TTL,
		cancel: cancel, deadline: deadline, critical: h.Phase == watchdog.PhaseCritical,
	}
	l.ctx = &authority{ctx, l}
	l.looping, l.stopLoops = context.WithCancel(l.ctx)
	l.loops.Go(l.watch)
	l.loops.Go(l.renew)
	return l
}

// authority is the lease's context. Asked for its error it looks at the clock,
// because a timer may be late.
type authority struct {
	context.Context
	lease *held
}

func (a *authority) Err() error {
	a.lease.alive()
	return a.Context.Err()
}

func (h *held) Token() uint64            { return h.token }
func (h *held) ClusterID() string        { return h.group }
func (h *held) Context() context.Context { return h.ctx }

// alive compares deadline and clock, and ends the authority where it is past.
func (h *held) alive() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.aliveLocked()
}

// usable says that the lease is alive, and nobody has begun to end it.
func (h *held) usable() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.aliveLocked() && !h.ending
}

func (h *held) isEnding() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ending
}

func (h *held) aliveLocked() bool {
	if !h.lost && h.node.opts.clock() >= h.deadline {
		h.loseLocked()
	}
	return !h.lost
}

func (h *held) loseLocked() {
	if !h.lost {
		h.lost = true
		h.cancel(watchdog.ErrLeaseLost)
	}
}

// left is the time to the deadline.
func (h *held) left() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deadline == noDeadline {
		return watchTick
	}
	return h.deadline - h.node.opts.clock()
}

// watch ends the authority at the deadline.
func (h *held) watch() {
	for h.alive() && sleep(h.looping, max(0, min(watchTick, h.left()))) {
	}
}

// renew asks for more time at a quarter of the lease's, while it is copying,
// and once at the start: with the entry that follows the grant the donor learns
// that the grant was committed, for which it would else wait in stage.
func (h *held) renew() {
	for {
		h.mu.Lock()
		skip := h.critical || h.ending
		h.mu.Unlock()
		if !skip {
			h.renewOnce(h.looping)
		}
		if !sleep(h.looping, h.ttl/4) {
			return
		}
	}
}

func (h *held) renewOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.ttl/4)
	defer cancel()
	sent := h.node.opts.clock()
	a, _, err := h.node.submit(ctx, command{Op: opRenew, Token: h.token})
	if err != nil {
		h.node.log.Debug("lease not renewed", "token", h.token, "err", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ending || h.critical || !h.aliveLocked():
	case a.Code != codeOK:
		h.loseLocked()
	default:
		h.deadline = max(h.deadline, sent+holderSpan(h.ttl))
	}
}

// EnterCritical implements watchdog.Lease.
func (h *held) EnterCritical(ctx context.Context) error {
	h.change.Lock()
	defer h.change.Unlock()
	if !h.alive() {
		return fmt.Errorf("enter critical phase: %w", watchdog.ErrLeaseLost)
	}
	h.mu.Lock()
	done := h.critical
	h.mu.Unlock()
	if done {
		return nil
	}
	ctx, cancel := h.within(ctx)
	defer cancel()
	a, _, err := h.node.submit(ctx, command{Op: opEnter, Token: h.token})
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.aliveLocked() {
		return fmt.Errorf("enter critical phase: %w", watchdog.ErrLeaseLost)
	}
	if err != nil {
		return fmt.Errorf("enter critical phase: %w", err)
	}
	if a.Code != codeOK {
		h.loseLocked()
		return fmt.Errorf("enter critical phase: %w", watchdog.ErrLeaseLost)
	}
	h.critical, h.deadline = true, noDeadline
	return nil
}

// within ends ctx also with the lease.
func (h *held) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.ctx, func() { cancel(watchdog.ErrLeaseLost) })
	return ctx, func() { stop(); cancel(nil) }
}

// Release implements watchdog.Lease. nil also means that the lease had ended
// before, by expiry or by a person's ack: that is known then. The request id
// is the token's, so a repeat after a restart is answered too.
func (h *held) Release(ctx context.Context, rec watchdog.Record) error {
	h.change.Lock()
	defer h.change.Unlock()
	h.mu.Lock()
	h.ending = true
	closed := h.closed
	h.mu.Unlock()
	if closed {
		return nil
	}
	a, _, err := h.node.release(ctx, h.token, rec)
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	if a.Code == codeStale {
		h.node.log.Warn("lease had ended before its release", "token", h.token, "rebuild", h.id)
	}
	h.close()
	h.node.forget(h)
	return nil
}

// close ends the authority and the loops.
func (h *held) close() { h.end(true) }

// abandon is called when the node stops: a lease that is copying is lost, one
// that is critical keeps its context, because what it protects must be
// finished and no clock runs against it.
func (h *held) abandon() { h.end(false) }

func (h *held) end(released bool) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = released
	if released || !h.critical {
		h.loseLocked()
	}
	h.mu.Unlock()
	h.stopLoops()
	h.loops.Wait()
}
