package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

const (
	// personTime bounds what a person asks for where the asker sets no deadline.
	personTime = 30 * time.Second
	// contactMax is how long a donor trusts its copy without a word from a
	// leader. It outlasts an election.
	contactMax = 10 * time.Second
	// maxRecordBytes is what a record may take in the log; guards go first.
	maxRecordBytes = 64 << 10
)

// Acquire implements watchdog.Leases. It gives up after a third of the ttl,
// because the deadline counts from its first sending. A lease that was granted
// after it gave up is released in the background.
func (n *Node) Acquire(ctx context.Context, req watchdog.Request) (watchdog.Lease, error) {
	if req.ID == "" {
		return nil, errors.New("acquire lease: no rebuild id")
	}
	if (req.Donor == "" || req.Donor == n.opts.Name) && req.Trigger != watchdog.TriggerRollback {
		return nil, &watchdog.Refusal{Guard: "donor", Reason: "the donor must be another node"}
	}
	if h := n.holding(req.ID); h != nil && h.usable() {
		return h, nil
	}
	tryCtx, cancel := context.WithTimeout(ctx, n.opts.TTL/3)
	defer cancel()
	c := command{Op: opAcquire, Req: "acquire/" + randomHex(8), TTL: n.opts.TTL, Request: &req}
	sent := n.opts.clock()
	a, unsure, err := n.submit(tryCtx, c)
	if err != nil {
		if unsure {
			n.giveBack(c)
		}
		return nil, fmt.Errorf("acquire lease: %w", err)
	}
	if a.Code == codeRefused {
		return nil, a.Refusal
	}
	if a.Code != codeOK || a.Lease == nil {
		return nil, fmt.Errorf("acquire lease: answer %q", a.Code)
	}
	deadline := sent + holderSpan(a.Lease.TTL)
	if n.opts.clock() >= deadline {
		n.giveBack(c)
		return nil, fmt.Errorf("acquire lease: the answer came too late: %w", watchdog.ErrLeaseLost)
	}
	return n.keep(*a.Lease, a.ClusterID, deadline)
}

// keep takes a lease into the list of those held, unless this node has begun
// to give it back: then its end may be committed at any moment.
func (n *Node) keep(l watchdog.Holding, group string, deadline time.Duration) (watchdog.Lease, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped || !n.started {
		return nil, fmt.Errorf("acquire lease: %w: the node is stopped", watchdog.ErrLeaseLost)
	}
	old := n.held[l.Token]
	if old != nil && old.usable() {
		return old, nil
	}
	if n.spoiled[l.Token] || old != nil && old.isEnding() {
		return nil, fmt.Errorf("acquire lease: %w: the grant is being given back", watchdog.ErrLeaseLost)
	}
	h := n.hold(l, group, deadline)
	n.held[l.Token] = h
	return h, nil
}

func (n *Node) holding(id string) *held {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.held {
		if h.id == id {
			return h
		}
	}
	return nil
}

func (n *Node) forget(h *held) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[h.token] == h {
		delete(n.held, h.token)
	}
}

// giveBack finds out in the background what became of an acquire whose answer
// never came, and releases a grant that nobody will use. It ends at the latest
// when the lease would have expired.
func (n *Node) giveBack(c command) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped || !n.started {
		return
	}
	n.wg.Go(func() {
		ctx, cancel := n.lifetime(n.opts.TTL)
		defer cancel()
		a, _, err := n.submit(ctx, c)
		if err != nil || a.Code != codeOK || a.Lease == nil || !n.spoil(a.Lease.Token) {
			return
		}
		rec := watchdog.Record{Outcome: watchdog.Cancelled, Error: "the grant was not heard in time", Untouched: true}
		_, _, _ = n.release(ctx, a.Lease.Token, rec) // else it expires
	})
}

// spoil marks a grant that will be released unused; false if it is in use.
func (n *Node) spoil(token uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[token] != nil {
		return false
	}
	if n.spoiled == nil {
		n.spoiled = map[uint64]bool{}
	}
	n.spoiled[token] = true
	return true
}

// lifetime is a context that ends after d, or when the node stops.
func (n *Node) lifetime(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(n.life, d)
}

func (n *Node) release(ctx context.Context, token uint64, rec watchdog.Record) (answer, bool, error) {
	c := command{Op: opRelease, Req: fmt.Sprintf("release/%d", token), Token: token, Record: fitRecord(rec)}
	return n.submit(ctx, c)
}

// Adopt implements watchdog.Leases. A lease that was still copying ends as
// cancelled, with its charge kept.
func (n *Node) Adopt(ctx context.Context, id string, token uint64) (watchdog.Lease, error) {
	if h := n.holding(id); h != nil && h.token == token && h.usable() {
		return h, nil
	}
	a, _, err := n.submit(ctx, command{Op: opAdopt, ID: id, Token: token})
	if err != nil {
		return nil, fmt.Errorf("adopt lease: %w", err)
	}
	if a.Code != codeOK || a.Lease == nil {
		return nil, fmt.Errorf("adopt lease: %w", watchdog.ErrLeaseLost)
	}
	return n.keep(*a.Lease, a.ClusterID, noDeadline)
}

// Check implements watchdog.Leases. It also says ErrTokenAhead while no leader
// has been heard of for ten seconds: this node's copy may be old then.
func (n *Node) Check(clusterID string, token uint64, holder string) error {
	inst, done := n.instance()
	defer done()
	if inst == nil || !inst.inTouch() {
		return watchdog.ErrTokenAhead
	}
	return inst.machine.check(n.opts.Name, clusterID, token, holder)
}

// CheckHolder is Check by a node that need not be the donor.
func (n *Node) CheckHolder(clusterID string, token uint64, holder string) error {
	inst, done := n.instance()
	defer done()
	if inst == nil || !inst.inTouch() {
		return watchdog.ErrTokenAhead
	}
	return inst.machine.check("", clusterID, token, holder)
}

// inTouch says that this node's copy follows a leader, or is the leader's.
func (i *instance) inTouch() bool {
	if i.raft.State() == raft.Leader {
		return i.leads.Load() == i.raft.CurrentTerm()
	}
	return time.Since(i.raft.LastContact()) <= contactMax
}

// State implements watchdog.Leases.
func (n *Node) State() watchdog.LeaseState {
	inst, done := n.instance()
	defer done()
	if inst == nil {
		n.mu.Lock()
		last := n.last
		n.mu.Unlock()
		return last.view()
	}
	v := inst.machine.view()
	_, leader := inst.raft.LeaderWithID()
	v.Leader = nameOf(leader)
	v.IsLeader = inst.raft.State() == raft.Leader
	v.Quorum = leader != "" && (!v.IsLeader || inst.leads.Load() == inst.raft.CurrentTerm())
	v.Applied = inst.raft.AppliedIndex()
	for _, s := range inst.servers() {
		if s.Suffrage == raft.Voter {
			v.Voters = append(v.Voters, nameOf(s.ID))
		}
	}
	slices.Sort(v.Voters)
	return v
}

// Pause implements watchdog.Leases.
func (n *Node) Pause(ctx context.Context, p watchdog.Pause) error {
	return n.person(ctx, "pause", command{Op: opPause, Pause: &p})
}

// Resume implements watchdog.Leases.
func (n *Node) Resume(ctx context.Context, node string) error {
	return n.person(ctx, "resume", command{Op: opResume, ID: node})
}

// Ack implements watchdog.Leases. A critical lease ends by it only once it is
// overdue: until then its holder may be alive between stop and verify.
func (n *Node) Ack(ctx context.Context, by string) error {
	return n.person(ctx, "ack", command{Op: opAck, Reason: by})
}

// person commits what a person asked for.
func (n *Node) person(ctx context.Context, action string, c command) error {
	ctx, cancel := context.WithTimeout(ctx, personTime)
	defer cancel()
	a, _, err := n.submit(ctx, c)
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	if a.Refusal != nil {
		return a.Refusal
	}
	n.catchUp(ctx, a.Index)
	return nil
}

// catchUpTime is how long a person's change is waited for to be seen on this
// node too, which follows the leader a moment later, or, where the nudge is
// lost, within twice raft's commit time-out.
const catchUpTime = 5 * time.Second

// catchUp waits until this node's copy has seen a committed command, so that
// what a person asks next is answered with it.
func (n *Node) catchUp(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	for {
		inst, done := n.instance()
		seen := inst != nil && inst.machine.applied() >= index
		done()
		if seen || !sleep(ctx, 10*time.Millisecond) {
			return
		}
	}
}
