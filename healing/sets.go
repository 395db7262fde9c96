package healing

import (
	"context"
	"fmt"
	"time"

	"resilver/healing/archive"
	"resilver/watchdog"
)

// arithmetic is GTID set arithmetic by a server: sets are never compared as text.
type arithmetic = archive.Sets

// byPeer is the arithmetic of another node's server, while this node's is dead.
type byPeer struct {
	peers watchdog.Peers
	node  string
}

func (p byPeer) GTIDSubtract(ctx context.Context, a, b string) (string, error) {
	return p.peers.GTIDSubtract(ctx, p.node, a, b)
}

// GTIDUnion: two lists, one after the other, are the list of both; subtracting
// nothing makes one set of it.
func (p byPeer) GTIDUnion(ctx context.Context, a, b string) (string, error) {
	if a != "" && b != "" {
		a += ","
	}
	return p.peers.GTIDSubtract(ctx, p.node, a+b, "")
}

func (p byPeer) GTIDBeyond(ctx context.Context, set string, id uint32, primary watchdog.Observation) (string, error) {
	return p.peers.GTIDBeyond(ctx, p.node, set, id, primary)
}

// heldBy is all that a server holds: what it has executed, and what its relay
// logs still carry.
func heldBy(ctx context.Context, sets arithmetic, obs watchdog.Observation) (string, error) {
	all := obs.Executed
	for _, src := range obs.Sources {
		var err error
		if all, err = sets.GTIDUnion(ctx, all, src.Retrieved); err != nil {
			return "", fmt.Errorf("add up what this node holds: %w", err)
		}
	}
	return all, nil
}

// claim is what a server holds, by its server_id, and what of that the primary
// turned out not to have.
type claim struct {
	set  string
	id   uint32
	diff string
	err  error
}

// errantRule is GTIDBeyond of a server.
type errantRule interface {
	GTIDBeyond(ctx context.Context, set string, id uint32, primary watchdog.Observation) (string, error)
}

// beyond finds what of each claim the primary does not have, even after the
// primary was read again for up to patience: a difference that passes was only
// a race between two reads. All are confirmed at once, by the same reads.
func beyond(ctx context.Context, rule errantRule, claims []*claim, primary watchdog.Observation, patience time.Duration, again func(context.Context) (watchdog.PeerState, error)) {
	deadline := time.Now().Add(patience)
	for _, c := range claims {
		c.diff = c.set
	}
	for {
		var open []*claim
		for _, c := range claims {
			if c.diff, c.err = rule.GTIDBeyond(ctx, c.diff, c.id, primary); c.err == nil && c.diff != "" {
				open = append(open, c)
			}
		}
		if len(open) == 0 || !time.Now().Before(deadline) {
			return
		}
		claims = open
		err := wait(ctx, min(500*time.Millisecond, patience/4))
		var state watchdog.PeerState
		if err == nil {
			state, err = again(ctx)
		}
		if err != nil {
			for _, c := range claims {
				c.err = fmt.Errorf("confirm a difference to the primary: %w", err)
			}
			return
		}
		primary = state.Observation
	}
}

// executedAt asks a node's sidecar what its server has executed now.
func (h *Healer) executedAt(ctx context.Context, node string) (string, error) {
	state, err := h.primaryState(ctx, node)
	return state.Observation.Executed, err
}

// primaryState asks a node's sidecar for its state; a server that does not
// answer is an error, and so is an empty set.
func (h *Healer) primaryState(ctx context.Context, node string) (watchdog.PeerState, error) {
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	state, err := h.o.Peers.State(ctx, node)
	switch {
	case err != nil:
		return state, fmt.Errorf("ask %s: %w", node, err)
	case !state.Observation.Reachable:
		return state, fmt.Errorf("ask %s: its mysqld does not answer: %s", node, state.Observation.Err)
	case state.Observation.Executed == "":
		return state, fmt.Errorf("ask %s: it has executed nothing", node)
	}
	return state, nil
}
