package lease

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	maxVoters = 5
	// settled is how long a member must have been alive, without a break,
	// before it gets a vote or takes its former self's place.
	settled = 10 * time.Second
	// caughtUp is how many entries a member may be behind the leader.
	caughtUp = 50
)

// move is one change of the membership.
type move struct {
	kind    string // promote | remove | readdress
	server  raft.Server
	address raft.ServerAddress // readdress
	check   raft.ServerID      // a member that must have caught up first, empty: none
}

// roll is what the leader remembers of the members' lives.
type roll struct{ since map[raft.ServerID]time.Time }

// look notes who is alive since when.
func (r *roll) look(members []Member, now time.Time) {
	alive := map[raft.ServerID]bool{}
	for _, m := range members {
		if id := raft.ServerID(m.RaftID); m.Alive && id != "" {
			alive[id] = true
			if _, ok := r.since[id]; !ok {
				r.since[id] = now
			}
		}
	}
	for id := range r.since {
		if !alive[id] {
			delete(r.since, id)
		}
	}
}

// steady says whether the member has been alive for long enough.
func (r *roll) steady(id raft.ServerID, now time.Time) bool {
	since, ok := r.since[id]
	return ok && now.Sub(since) >= settled
}

// wantVoters is how many voters a group of so many members has: odd, at most
// five, because an even count buys nothing. Two members both vote.
func wantVoters(members int) int {
	if members <= 2 {
		return members
	}
	return min(maxVoters, members-1+members%2)
}

// plan says what to change next, nil where nothing. It never demotes, never
// removes a dead voter except for its own successor, and never gives a vote
// that a quorum of the living would not carry.
func plan(self raft.ServerID, servers []raft.Server, members []Member, steady func(raft.ServerID) bool) *move {
	lives := func(id raft.ServerID) bool {
		return id == self || slices.ContainsFunc(members, func(m Member) bool { return m.Alive && m.RaftID == string(id) })
	}
	voters, living, fit := 0, 0, 0
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
			if lives(s.ID) {
				living++
			}
		} else if lives(s.ID) {
			fit++
		}
	}
	for _, s := range servers {
		if s.ID == self {
			continue
		}
		if m := moved(s, members); m != nil {
			return m
		}
		if lives(s.ID) {
			continue
		}
		if m := replaced(s, servers, members, steady, voters, living); m != nil {
			return m
		}
	}
	// An even count on the way to an odd one is fine, if the odd one is near.
	if voters >= wantVoters(voters+fit) {
		return nil
	}
	for _, s := range servers {
		if s.Suffrage != raft.Voter && lives(s.ID) && steady(s.ID) && living+1 >= (voters+1)/2+1 {
			return &move{kind: "promote", server: s, check: s.ID}
		}
	}
	return nil
}

// moved is a member that is reached under another address than the group has.
func moved(s raft.Server, members []Member) *move {
	for _, m := range members {
		if m.Alive && m.RaftID == string(s.ID) && m.PeerAddress != "" && addressOf(s.ID, m.PeerAddress) != s.Address {
			return &move{kind: "readdress", server: s, address: addressOf(s.ID, m.PeerAddress)}
		}
	}
	return nil
}

// replaced is the former self of a member that has joined anew.
func replaced(s raft.Server, servers []raft.Server, members []Member, steady func(raft.ServerID) bool, voters, living int) *move {
	for _, m := range members {
		id := raft.ServerID(m.RaftID)
		if !m.Alive || id == "" || id == s.ID || nameOf(id) != nameOf(s.ID) || !steady(id) {
			continue
		}
		if !slices.ContainsFunc(servers, func(o raft.Server) bool { return o.ID == id }) {
			continue
		}
		if s.Suffrage == raft.Voter && living < max(2, (voters-1)/2+1) {
			continue
		}
		return &move{kind: "remove", server: s, check: id}
	}
	return nil
}

// keepMembers makes at most one change.
func (n *Node) keepMembers(ctx context.Context, inst *instance, r *roll) {
	members, now := n.opts.Members(), time.Now()
	r.look(members, now)
	m := plan(n.id, inst.servers(), members, func(id raft.ServerID) bool { return r.steady(id, now) })
	if m == nil || m.check != "" && !n.caughtUp(ctx, inst, m.check) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := inst.change(ctx, func(prev uint64, d time.Duration) raft.IndexFuture {
		id := m.server.ID
		switch {
		case m.kind == "remove":
			return inst.raft.RemoveServer(id, prev, d)
		case m.kind == "promote":
			return inst.raft.AddVoter(id, m.server.Address, prev, d)
		case m.server.Suffrage == raft.Voter:
			return inst.raft.AddVoter(id, m.address, prev, d)
		}
		return inst.raft.AddNonvoter(id, m.address, prev, d)
	})
	if err != nil {
		n.log.Warn("raft membership not changed", "change", m.kind, "member", m.server.ID, "err", err)
		return
	}
	n.log.Info("raft membership changed", "change", m.kind, "member", m.server.ID)
}

// caughtUp asks a member itself how far it is.
func (n *Node) caughtUp(ctx context.Context, inst *instance, id raft.ServerID) bool {
	peer := n.resolveMember(id)
	if peer == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	r, err := n.ask(ctx, peer, question{Ask: askStatus})
	if err != nil || r.Status == nil {
		return false
	}
	s := r.Status
	return s.RaftID == string(id) && s.ClusterID == inst.machine.clusterID() &&
		s.LastIndex+caughtUp >= inst.raft.LastIndex()
}
