package lease

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	formTick = time.Second
	// joinedTick is how often a member looks whether it still is one.
	joinedTick = 5 * time.Second
)

// join brings this node into the group: by asking its leader where anybody has
// a group, else by forming one together with everybody in the list.
func (n *Node) join(ctx context.Context, inst *instance) {
	said := ""
	for pause := formTick; sleep(ctx, pause); {
		if err := relayBallast(n.opts.StateDir); err != nil {
			n.log.Debug("no ballast", "err", err)
		}
		if inst.memberNow() {
			pause = joinedTick
			continue
		}
		pause = formTick
		why := n.seek(ctx, inst)
		if why != nil && why.Error() != said {
			said = why.Error()
			n.log.Info("not in a group yet", "reason", said)
		}
	}
}

// memberNow says that this node's own copy of the configuration names it.
func (i *instance) memberNow() bool {
	id, _ := splitAddress(i.layer.address)
	return slices.ContainsFunc(i.servers(), func(s raft.Server) bool { return s.ID == id })
}

// seek makes one try to join or to form, and says why it did not.
func (n *Node) seek(ctx context.Context, inst *instance) error {
	members := n.opts.Members()
	self := n.status(inst)
	answers := map[string]*status{n.opts.Name: self}
	var silent []string
	for _, m := range members {
		if !m.Alive || m.Name == n.opts.Name {
			continue
		}
		callCtx, cancel := context.WithTimeout(ctx, rpcTimeout)
		r, err := n.ask(callCtx, m.PeerAddress, question{Ask: askStatus})
		cancel()
		if err != nil || r.Status == nil || r.Status.Name != m.Name {
			silent = append(silent, m.Name)
			continue
		}
		answers[m.Name] = r.Status
	}
	for name, s := range answers {
		if name != n.opts.Name && !s.Empty {
			return n.askIn(ctx, s)
		}
	}
	if !self.Empty {
		return errors.New("this node has state of a group that nobody here knows")
	}
	if len(silent) > 0 {
		return fmt.Errorf("no answer from %v", silent)
	}
	config, err := formation(n.opts.Name, members, answers, n.matches(ctx))
	if err != nil {
		return err
	}
	if first := nameOf(config.Servers[0].ID); first != n.opts.Name {
		return fmt.Errorf("%s forms the group", first)
	}
	if err := inst.await(ctx, inst.raft.BootstrapCluster(config)); err != nil {
		return fmt.Errorf("form the group: %w", err)
	}
	n.log.Info("group formed", "members", len(config.Servers))
	return nil
}

// askIn asks the leader that a member names, or the member itself, for
// membership.
func (n *Node) askIn(ctx context.Context, s *status) error {
	peer := s.Leader
	if peer == "" {
		peer = s.PeerAddress
	}
	r, err := n.ask(ctx, peer, question{Ask: askJoin, Join: &joiner{string(n.id), n.opts.PeerAddress}})
	switch {
	case err != nil:
		return err
	case r.NotLeader:
		return errors.New("the group has no leader")
	case r.Error != "":
		return fmt.Errorf("the leader does not add this node: %s", r.Error)
	}
	return nil
}

// matches tells whether an entry of the join list means a gossip address.
func (n *Node) matches(ctx context.Context) func(entry, address string) bool {
	known := map[string][]string{}
	return func(entry, address string) bool {
		if entry == address {
			return true
		}
		host, port, err := net.SplitHostPort(entry)
		if err != nil || net.ParseIP(host) != nil {
			return false
		}
		if _, ok := known[host]; !ok {
			ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
			known[host], _ = n.opts.resolve(ctx, host)
			cancel()
		}
		return slices.ContainsFunc(known[host], func(ip string) bool { return net.JoinHostPort(ip, port) == address })
	}
}

// formation is the first configuration of a new group, the same for everybody
// who computes it, or why there is none: every address of the list must belong
// to a member that answers, is empty, and has the same list and cluster, and
// this node must be among them. Nobody else may be there who knows better.
func formation(self string, members []Member, answers map[string]*status, matches func(entry, address string) bool) (raft.Configuration, error) {
	var none, config raft.Configuration
	mine := answers[self]
	found := map[string]bool{}
	for _, entry := range mine.Join {
		i := slices.IndexFunc(members, func(m Member) bool { return m.Alive && matches(entry, m.GossipAddress) })
		if i < 0 {
			return none, fmt.Errorf("nobody at %s yet", entry)
		}
		m := members[i]
		s := answers[m.Name]
		switch {
		case s == nil:
			return none, fmt.Errorf("no answer from %s", m.Name)
		case !s.Empty:
			return none, fmt.Errorf("%s has state already", m.Name)
		case s.Cluster != mine.Cluster:
			return none, fmt.Errorf("%s is of cluster %s", m.Name, s.Cluster)
		case !slices.Equal(s.Join, mine.Join):
			return none, fmt.Errorf("%s has another join list: %v, here %v", m.Name, s.Join, mine.Join)
		case nameOf(raft.ServerID(s.RaftID)) != m.Name:
			return none, fmt.Errorf("%s calls itself %s", m.Name, s.RaftID)
		}
		if found[m.Name] {
			continue
		}
		found[m.Name] = true
		id := raft.ServerID(s.RaftID)
		config.Servers = append(config.Servers, raft.Server{ID: id, Address: addressOf(id, s.PeerAddress)})
	}
	if !found[self] {
		return none, errors.New("this node is not in its own join list: it waits for a group to join")
	}
	slices.SortFunc(config.Servers, func(a, b raft.Server) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	for i := wantVoters(len(config.Servers)); i < len(config.Servers); i++ {
		config.Servers[i].Suffrage = raft.Nonvoter
	}
	return config, nil
}
