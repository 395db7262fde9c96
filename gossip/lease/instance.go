package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	rpcTimeout     = 1500 * time.Millisecond
	enqueueTimeout = time.Second
	rpcPool        = 3
)

// errUnknownOutcome marks an attempt whose command may have been committed.
var errUnknownOutcome = errors.New("outcome unknown")

// instance is one life of raft in this process. It ends with the node, or when
// its disk fails or raft is wedged; then another one is made.
type instance struct {
	raft    *raft.Raft
	trans   *raft.NetworkTransport
	layer   *layer
	store   *guardedStore
	machine *machine

	// leads is the term whose barrier this node has passed as leader, else 0.
	leads atomic.Uint64

	failOnce sync.Once
	failed   chan struct{} // closed when the instance must be replaced
	closing  chan struct{} // closed when nobody should wait for raft any more
	reason   error         // why; set before failed is closed
	calls    sync.WaitGroup
	config   sync.Mutex // one change of membership at a time
}

// newInstance opens the store and starts raft on it.
func (n *Node) newInstance() (_ *instance, err error) {
	o := &n.opts
	if err := layBallast(o.StateDir); err != nil {
		return nil, err
	}
	back, err := o.open(o.StateDir)
	if err != nil {
		return nil, err
	}
	i := &instance{machine: newMachine(), failed: make(chan struct{}), closing: make(chan struct{})}
	i.store = &guardedStore{backend: back, dir: o.StateDir, fence: i.fail}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.abandon())
		}
	}()
	if err := claim(back, o.StateDir, n.inc); err != nil {
		return nil, err
	}
	logger := newRaftLogger(n.log)
	snaps, err := raft.NewFileSnapshotStoreWithLogger(o.StateDir, 2, logger)
	if err != nil {
		return nil, fmt.Errorf("open raft snapshots: %w", err)
	}
	i.layer = newLayer(n.id, o.PeerAddress, o.Stream, n.resolveMember)
	i.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: i.layer, MaxPool: rpcPool, MaxRPCsInFlight: 1, Timeout: rpcTimeout, Logger: logger,
	})
	i.raft, err = newRaft(raftConfig(o, n.id, n.log), i, snaps, o.StateDir)
	if err != nil {
		return nil, err
	}
	n.gate.set(i.layer)
	return i, nil
}

// newRaft starts raft in a goroutine of its own, because the store ends the
// goroutine whose write fails; it turns a panic over a log with holes into an
// error.
func newRaft(c *raft.Config, i *instance, snaps raft.SnapshotStore, dir string) (r *raft.Raft, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r, err = nil, damaged(dir, fmt.Errorf("%v", p))
			}
		}()
		if r, err = raft.NewRaft(c, i.machine, i.store, i.store, snaps, i.trans); err != nil {
			err = damaged(dir, err)
		}
	}()
	<-done
	if r == nil && err == nil {
		err = i.reason
	}
	return r, err
}

// fail fences the instance: its connections close at once, and its owner
// replaces it.
func (i *instance) fail(err error) {
	i.failOnce.Do(func() {
		i.reason = err
		i.leads.Store(0)
		if i.layer != nil {
			_ = i.layer.Close()
		}
		close(i.failed)
	})
}

// abandon undoes a start that did not come to its end.
func (i *instance) abandon() error {
	var errs []error
	if i.trans != nil {
		errs = append(errs, i.trans.Close())
	}
	return errors.Join(append(errs, i.store.Close())...)
}

// close takes raft down, in the order that never closes the store under it.
// It waits for a disk that hangs.
func (i *instance) close() error {
	i.leads.Store(0)
	close(i.closing)
	i.calls.Wait() // no new ones come: the node has let go of the instance
	stopped := i.raft.Shutdown()
	errs := []error{i.trans.Close(), i.layer.Close()}
	i.trans.CloseStreams()
	errs = append(errs, stopped.Error(), i.store.Close())
	return errors.Join(errs...)
}

// apply proposes a command here, and waits until it is committed and applied,
// or its outcome is unknown. The leader's wall time is added.
func (i *instance) apply(ctx context.Context, c command) (answer, error) {
	c.At = time.Now().UnixMilli()
	b, err := json.Marshal(c)
	if err != nil {
		return answer{}, fmt.Errorf("write command: %w", err)
	}
	f := i.raft.Apply(b, enqueueTimeout)
	if err := i.await(ctx, f); err != nil {
		return answer{}, err
	}
	i.nudge()
	a, ok := f.Response().(answer)
	if !ok {
		return answer{}, fmt.Errorf("%w: no answer of the machine", errUnknownOutcome)
	}
	return a, nil
}

// nudge lets the followers apply what was just committed: they learn of it with
// the next entry, and this one does nothing else. Nobody waits for it; where it
// is lost, raft's commit time-out tells them.
func (i *instance) nudge() {
	i.calls.Add(1) // close waits for the caller first
	go func() {
		defer i.calls.Done()
		_ = i.raft.Barrier(enqueueTimeout)
	}()
}

// await waits for a future of raft's, which by itself has no time-out and is
// not always answered.
func (i *instance) await(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return classify(err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnknownOutcome, context.Cause(ctx))
	case <-i.failed:
		return fmt.Errorf("%w: raft is being restarted", errUnknownOutcome)
	case <-i.closing:
		return fmt.Errorf("%w: raft is being stopped", errUnknownOutcome)
	}
}

// classify marks what may have been committed in spite of the error.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return err
	}
	return fmt.Errorf("%w: %w", errUnknownOutcome, err)
}

// servers is the group's membership as this node knows it.
func (i *instance) servers() []raft.Server {
	f := i.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// empty says that this node has never been a member of a group.
func (i *instance) empty() bool { return i.raft.LastIndex() == 0 && len(i.servers()) == 0 }
