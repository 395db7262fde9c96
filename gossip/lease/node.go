package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

// Node is this sidecar's place in the group. It implements watchdog.Leases.
type Node struct {
	opts Options
	log  *slog.Logger
	inc  string
	id   raft.ServerID

	gate *gate

	mu      sync.Mutex
	inst    *instance // nil while raft is down
	last    *machine  // of the last instance, for display while raft is down
	held    map[uint64]*held
	spoiled map[uint64]bool // grants that were given back unused
	yielded yielding
	started bool
	stopped bool
	life    context.Context // ends with Stop
	cancel  context.CancelFunc

	restarts counter
	wg       sync.WaitGroup
	done     chan struct{} // closed when everything has ended
}

var _ watchdog.Leases = (*Node)(nil)

// New checks the options and reads this node's identity, or makes it.
func New(opts Options) (*Node, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	opts.fill()
	if err := os.MkdirAll(opts.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make raft directory: %w", err)
	}
	inc, err := incarnation(opts.StateDir)
	if err != nil {
		return nil, err
	}
	n := &Node{
		opts: opts, log: opts.Logger, inc: inc, id: raftID(opts.Name, inc),
		last: newMachine(), held: map[uint64]*held{}, done: make(chan struct{}),
	}
	if opts.Registerer != nil {
		if err := n.register(opts.Registerer); err != nil {
			return nil, fmt.Errorf("register lease metrics: %w", err)
		}
	}
	return n, nil
}

// RaftID is this node's name and incarnation, for gossip to carry.
func (n *Node) RaftID() string { return string(n.id) }

// Start opens the store, starts raft and the loops around it. It returns when
// raft runs, which does not mean that the group has a leader.
func (n *Node) Start(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return errors.New("start lease: it was stopped")
	}
	if n.started {
		return nil
	}
	n.gate = newGate(n.opts.Stream, n.log)
	inst, err := n.newInstance()
	if err != nil {
		return fmt.Errorf("start lease: %w", errors.Join(err, n.gate.Close()))
	}
	n.started = true
	n.inst, n.last = inst, inst.machine
	n.life, n.cancel = context.WithCancel(context.Background())
	n.wg.Go(func() { n.supervise(n.life, inst) })
	return nil
}

// Stop ends the loops, then raft, then its connections and its store. A lease
// that is copying is lost with it. It returns early, with an error, when ctx
// ends before a hanging disk lets go.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	if !n.started {
		n.stopped = true
		n.mu.Unlock()
		_ = n.opts.Stream.Close() // a second time after a start that failed
		return nil
	}
	first := !n.stopped
	n.stopped = true
	held := n.takeHeld()
	n.mu.Unlock()
	if first {
		for _, h := range held {
			h.abandon()
		}
		n.cancel()
		go func() {
			defer close(n.done)
			n.wg.Wait()
			if err := n.gate.Close(); err != nil {
				n.log.Debug("raft stream closed", "err", err)
			}
		}()
	}
	select {
	case <-n.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop lease: %w", context.Cause(ctx))
	}
}

// takeHeld empties the list of leases in this node's hand.
func (n *Node) takeHeld() []*held {
	var all []*held
	for _, h := range n.held {
		all = append(all, h)
	}
	n.held = map[uint64]*held{}
	return all
}

// supervise runs the instance, and makes a new one when it fails.
func (n *Node) supervise(ctx context.Context, inst *instance) {
	for {
		n.serve(ctx, inst)
		n.mu.Lock()
		n.inst = nil
		n.mu.Unlock()
		n.gate.set(nil)
		if err := inst.close(); err != nil {
			n.log.Warn("raft closed with an error", "err", err)
		}
		if ctx.Err() != nil {
			return
		}
		inst = n.reopen(ctx)
		if inst == nil {
			return
		}
		n.restarts.Inc()
		n.mu.Lock()
		n.inst, n.last = inst, inst.machine
		n.mu.Unlock()
		n.log.Info("raft restarted")
	}
}

// serve runs the loops of one instance until it fails or the node stops.
func (n *Node) serve(ctx context.Context, inst *instance) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops sync.WaitGroup
	loops.Go(func() { n.lead(ctx, inst) })
	loops.Go(func() { n.join(ctx, inst) })
	select {
	case <-ctx.Done():
	case <-inst.failed:
		n.log.Error("raft fenced, it takes no part in the group until it works again", "err", inst.reason)
	}
	cancel()
	loops.Wait()
}

// reopen waits until the disk takes writes again, and starts raft on it; nil
// when the node stops first.
func (n *Node) reopen(ctx context.Context) *instance {
	for {
		if !sleep(ctx, diskRetry) {
			return nil
		}
		if err := tryDisk(n.opts.StateDir); err != nil {
			n.log.Warn("raft directory cannot be written yet", "err", err)
			continue
		}
		inst, err := n.newInstance()
		if err == nil {
			return inst
		}
		n.log.Error("raft restart failed", "err", err)
	}
}

// instance is the present one with a claim on it that done gives back; nil
// while raft is down.
func (n *Node) instance() (inst *instance, done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inst == nil || n.stopped {
		return nil, func() {}
	}
	n.inst.calls.Add(1)
	return n.inst, n.inst.calls.Done
}

// resolveMember is the present address of a member by gossip, so that a node
// that moved is found; empty where gossip does not know that incarnation.
func (n *Node) resolveMember(id raft.ServerID) string {
	for _, m := range n.opts.Members() {
		if m.RaftID == string(id) {
			return m.PeerAddress
		}
	}
	return ""
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
