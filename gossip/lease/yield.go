package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// yieldPatience is how long after a transfer of leadership, of which there is
// one a term, this node still counts on the other to take over.
const yieldPatience = 10 * time.Second

// yielding is the last transfer that was tried.
type yielding struct {
	term uint64
	at   time.Time
}

// YieldLeadership implements watchdog.Leases. A second transfer in a term can
// wedge raft, so there is only one; where its target has not taken over ten
// seconds later, nobody could, and the answer is nil.
func (n *Node) YieldLeadership(ctx context.Context) error {
	inst, done := n.instance()
	defer done()
	if inst == nil || inst.raft.State() != raft.Leader {
		return nil
	}
	term := inst.raft.CurrentTerm()
	n.mu.Lock()
	last := n.yielded
	n.mu.Unlock()
	if last.term == term {
		if time.Since(last.at) >= yieldPatience {
			return nil
		}
		return errors.New("yield leadership: the voter asked has not taken over yet")
	}
	to, ok := n.successor(ctx, inst)
	if !ok {
		return nil
	}
	n.mu.Lock()
	n.yielded = yielding{term, time.Now()}
	n.mu.Unlock()
	n.log.Info("leadership handed over", "to", to.ID)
	if err := inst.await(ctx, inst.raft.LeadershipTransferToServer(to.ID, to.Address)); err != nil {
		return fmt.Errorf("yield leadership to %s: %w", nameOf(to.ID), err)
	}
	return n.awaitLeader(ctx, inst)
}

// successor is a healthy voter that has caught up by its own word.
func (n *Node) successor(ctx context.Context, inst *instance) (raft.Server, bool) {
	for _, s := range inst.servers() {
		if s.Suffrage != raft.Voter || s.ID == n.id {
			continue
		}
		for _, m := range n.opts.Members() {
			if m.RaftID == string(s.ID) && m.Alive && m.Healthy && n.caughtUp(ctx, inst, s.ID) {
				return s, true
			}
		}
	}
	return raft.Server{}, false
}

// awaitLeader waits until another node leads.
func (n *Node) awaitLeader(ctx context.Context, inst *instance) error {
	ctx, cancel := context.WithTimeout(ctx, yieldPatience)
	defer cancel()
	for {
		if _, id := inst.raft.LeaderWithID(); id != "" && id != n.id && inst.raft.State() != raft.Leader {
			return nil
		}
		select {
		case <-inst.closing:
			return nil // raft is down here: it does not lead
		default:
		}
		if !sleep(ctx, retryMin) {
			return fmt.Errorf("yield leadership: no other leader yet: %w", context.Cause(ctx))
		}
	}
}
