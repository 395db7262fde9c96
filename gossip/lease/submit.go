package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

const (
	// callTimeout bounds one attempt at one node.
	callTimeout = 5 * time.Second
	retryMin    = 100 * time.Millisecond
	retryMax    = time.Second
	// wedgedAfter is how long a leader may refuse everything because of a
	// leadership transfer that never ends, before raft is restarted.
	wedgedAfter = 10 * time.Second
)

// errNotLeader says that nothing was done.
var errNotLeader = errors.New("not the leader")

// attempt remembers, over the tries of one command, where the leader was said
// to be, and whether any try may have been committed.
type attempt struct {
	hint   string // peer address
	turn   int
	unsure bool
	wedged time.Time // since when a transfer of leadership stands in the way
}

// submit has a command committed, and returns the machine's answer. It tries
// until ctx ends, with the same request id, so that a try whose answer was
// lost is answered by the next. The error is then watchdog.ErrNoQuorum; unsure
// says whether the command may yet be committed.
func (n *Node) submit(ctx context.Context, c command) (a answer, unsure bool, err error) {
	c.V, c.Node = commandVersion, n.opts.Name
	if c.Req == "" {
		c.Req = string(c.Op) + "/" + randomHex(8)
	}
	var at attempt
	pause := retryMin
	for {
		a, err = n.try(ctx, c, &at)
		if err == nil {
			return n.settleAnswer(a)
		}
		at.unsure = at.unsure || errors.Is(err, errUnknownOutcome)
		if !sleep(ctx, pause) {
			return answer{}, at.unsure, fmt.Errorf("%w: %w", watchdog.ErrNoQuorum, err)
		}
		pause = min(2*pause, retryMax)
	}
}

// settleAnswer turns what no caller can act on into an error.
func (n *Node) settleAnswer(a answer) (answer, bool, error) {
	if a.Code == codeInvalid {
		return a, false, fmt.Errorf("the lease machine does not take the command: %s", a.Reason)
	}
	return a, false, nil
}

// try makes one attempt: here if this node leads, else at the leader it knows,
// else at the next member that is alive.
func (n *Node) try(ctx context.Context, c command, at *attempt) (answer, error) {
	inst, done := n.instance()
	target := ""
	if inst != nil {
		if inst.raft.State() == raft.Leader {
			defer done()
			a, err := n.applyHere(ctx, inst, c, at)
			return a, err
		}
		target = inst.leaderPeer()
	}
	done()
	if target == "" || target == n.opts.PeerAddress {
		target = at.hint
	}
	if target == "" {
		target = n.nextMember(at)
	}
	if target == "" {
		return answer{}, errors.New("no leader known")
	}
	r, err := n.ask(ctx, target, question{Ask: askCommand, Command: &c})
	switch {
	case err != nil:
		at.hint = ""
		return answer{}, fmt.Errorf("%w: %w", errUnknownOutcome, err)
	case r.Answer != nil:
		return *r.Answer, nil
	case r.NotLeader:
		at.hint = r.Leader
		return answer{}, errNotLeader
	case r.Unknown != "":
		return answer{}, fmt.Errorf("%w: %s", errUnknownOutcome, r.Unknown)
	}
	return answer{}, fmt.Errorf("ask the leader: %s", r.Error)
}

// applyHere proposes as the leader, and has raft restarted where an unfinished
// transfer of leadership blocks it for good.
func (n *Node) applyHere(ctx context.Context, inst *instance, c command, at *attempt) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := inst.apply(ctx, c)
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		at.wedged = time.Time{}
		return a, err
	}
	if at.wedged.IsZero() {
		at.wedged = time.Now()
	} else if time.Since(at.wedged) > wedgedAfter {
		inst.fail(errors.New("a transfer of leadership never ended"))
	}
	return a, err
}

// leaderPeer is the host:port of the leader, empty where none is known.
func (i *instance) leaderPeer() string {
	addr, _ := i.raft.LeaderWithID()
	_, hostPort := splitAddress(addr)
	return hostPort
}

// nextMember takes the live members in turn.
func (n *Node) nextMember(at *attempt) string {
	var peers []string
	for _, m := range n.opts.Members() {
		if m.Alive && m.Name != n.opts.Name && m.PeerAddress != "" {
			peers = append(peers, m.PeerAddress)
		}
	}
	if len(peers) == 0 {
		return ""
	}
	at.turn++
	return peers[at.turn%len(peers)]
}

// ask puts one question to one node.
func (n *Node) ask(ctx context.Context, peer string, q question) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	q.Cluster = n.opts.Cluster
	body, err := json.Marshal(q)
	if err != nil {
		return reply{}, fmt.Errorf("write question: %w", err)
	}
	b, err := n.opts.Call(ctx, peer, body)
	if err != nil {
		return reply{}, fmt.Errorf("ask %s: %w", peer, err)
	}
	var r reply
	if len(b) > maxBody {
		return reply{}, fmt.Errorf("ask %s: answer of %d bytes", peer, len(b))
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return reply{}, fmt.Errorf("read answer of %s: %w", peer, err)
	}
	return r, nil
}
