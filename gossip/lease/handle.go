package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// fromMembers are the operations that another node may ask for. All that
// concern a lease name the asker as its holder, so each acts for itself alone.
var fromMembers = []op{opAcquire, opRenew, opEnter, opRelease, opAdopt, opPause, opResume, opAck}

// Handle answers another sidecar. caller is the name in its certificate. An
// error means that the question was not one, or not allowed.
func (n *Node) Handle(ctx context.Context, caller string, body []byte) ([]byte, error) {
	if caller == "" {
		return nil, errors.New("lease request without an authenticated name")
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("lease request of %d bytes, at most %d", len(body), maxBody)
	}
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read lease request: %w", err)
	}
	if q.Cluster != n.opts.Cluster {
		return nil, fmt.Errorf("lease request for cluster %q, this is %q", cut(q.Cluster), n.opts.Cluster)
	}
	r, err := n.reply(ctx, caller, q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

func (n *Node) reply(ctx context.Context, caller string, q question) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	inst, done := n.instance()
	defer done()
	switch {
	case q.Ask == askCommand && q.Command != nil:
		if !slices.Contains(fromMembers, q.Command.Op) || q.Command.Node != caller {
			return reply{}, fmt.Errorf("lease request %q of %s not allowed", q.Command.Op, caller)
		}
	case q.Ask == askJoin && q.Join != nil:
		if nameOf(raft.ServerID(q.Join.RaftID)) != caller {
			return reply{}, fmt.Errorf("%s asks to join as %q", caller, cut(q.Join.RaftID))
		}
	case q.Ask != askStatus:
		return reply{}, fmt.Errorf("unknown lease request %q", cut(q.Ask))
	}
	if inst == nil {
		return reply{Error: "raft is not running here", NotLeader: true}, nil
	}
	if q.Ask == askStatus {
		return reply{Status: n.status(inst)}, nil
	}
	if inst.raft.State() != raft.Leader {
		return reply{NotLeader: true, Leader: inst.leaderPeer()}, nil
	}
	if q.Ask == askJoin {
		return n.admit(ctx, inst, *q.Join), nil
	}
	var at attempt
	a, err := n.applyHere(ctx, inst, *q.Command, &at)
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return reply{NotLeader: true, Leader: inst.leaderPeer()}, nil
	case errors.Is(err, errUnknownOutcome):
		return reply{Unknown: err.Error()}, nil
	case err != nil:
		return reply{Error: err.Error()}, nil
	}
	return reply{Answer: &a}, nil
}

// status describes this node.
func (n *Node) status(inst *instance) *status {
	return &status{
		Name: n.opts.Name, Cluster: n.opts.Cluster, ClusterID: inst.machine.clusterID(),
		RaftID: string(n.id), PeerAddress: n.opts.PeerAddress, Join: sorted(n.opts.Join),
		Empty: inst.empty(), Leader: inst.leaderPeer(), LastIndex: inst.raft.LastIndex(),
	}
}

// admit adds a node that asks for it, without a vote, if gossip knows exactly
// that incarnation of it: of two nodes with one name only one gets in.
func (n *Node) admit(ctx context.Context, inst *instance, j joiner) reply {
	known := slices.ContainsFunc(n.opts.Members(), func(m Member) bool {
		return m.Alive && m.RaftID == j.RaftID && m.PeerAddress == j.PeerAddress
	})
	if !known {
		return reply{Error: "gossip does not know this incarnation yet"}
	}
	id := raft.ServerID(j.RaftID)
	servers := inst.servers()
	if len(servers) == 0 {
		return reply{Error: "no membership yet"}
	}
	if slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == id }) {
		return reply{}
	}
	err := inst.change(ctx, func(prev uint64, d time.Duration) raft.IndexFuture {
		return inst.raft.AddNonvoter(id, addressOf(id, j.PeerAddress), prev, d)
	})
	if err != nil {
		return reply{Error: err.Error()}
	}
	n.log.Info("raft member added", "member", j.RaftID, "voter", false)
	return reply{}
}

// change makes one change of the membership, relative to the newest
// configuration that this node has applied.
func (i *instance) change(ctx context.Context, do func(prev uint64, timeout time.Duration) raft.IndexFuture) error {
	i.config.Lock()
	defer i.config.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return i.await(ctx, do(i.machine.lastConfig(), enqueueTimeout))
}
