package lease

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

const (
	leadTick    = time.Second
	memberTick  = 5 * time.Second
	barrierTime = 10 * time.Second
)

// lead does the leader's work while this node leads, after a barrier in each
// term: only then its copy holds everything that was committed before.
func (n *Node) lead(ctx context.Context, inst *instance) {
	ticker := time.NewTicker(leadTick)
	defer ticker.Stop()
	members := &roll{since: map[raft.ServerID]time.Time{}}
	var nextRoll time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-inst.raft.LeaderCh():
			// A true after a true is a term lost and another one won.
			inst.leads.Store(0)
			if !leads {
				continue
			}
			nextRoll = time.Time{}
		case <-ticker.C:
		}
		if inst.raft.State() != raft.Leader {
			inst.leads.Store(0)
			continue
		}
		if term := inst.raft.CurrentTerm(); inst.leads.Load() != term && !n.takeOffice(ctx, inst, term) {
			continue
		}
		n.expireLease(ctx, inst)
		if now := time.Now(); now.After(nextRoll) {
			n.keepMembers(ctx, inst, members)
			nextRoll = now.Add(memberTick)
		}
	}
}

// takeOffice passes the term's barrier, and gives a new cluster its id.
func (n *Node) takeOffice(ctx context.Context, inst *instance, term uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, barrierTime)
	defer cancel()
	if err := inst.await(ctx, inst.raft.Barrier(enqueueTimeout)); err != nil {
		n.log.Debug("raft barrier", "err", err)
		return false
	}
	if inst.machine.clusterID() == "" {
		c := command{V: commandVersion, Op: opInit, Req: "init/" + randomHex(8), Node: n.opts.Name, ID: randomHex(8)}
		if _, err := inst.apply(ctx, c); err != nil {
			n.log.Debug("cluster id not committed", "err", err)
			return false
		}
	}
	if inst.raft.State() != raft.Leader || inst.raft.CurrentTerm() != term {
		return false
	}
	inst.leads.Store(term)
	n.log.Info("this node leads the group", "term", term, "cluster_id", inst.machine.clusterID())
	return true
}

// expireLease proposes the end of a lease whose last renewal this node itself
// applied a full time to live ago, and opens the breaker over one that is
// critical for too long. The machine compares: a later renewal wins.
func (n *Node) expireLease(ctx context.Context, inst *instance) {
	g, age := inst.machine.leaseNow()
	if g == nil {
		return
	}
	c := command{V: commandVersion, Node: n.opts.Name, Token: g.Token, Renewed: g.Renewed}
	switch {
	case g.Phase == watchdog.PhaseCopying && age > expirySpan(g.TTL):
		c.Op = opExpire
	case g.Phase == watchdog.PhaseCritical && !g.Overdue && age > n.opts.CriticalMax:
		c.Op = opOverdue
	default:
		return
	}
	c.Req = fmt.Sprintf("%s/%s", c.Op, randomHex(8))
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := inst.apply(ctx, c)
	if err != nil {
		n.log.Debug("lease command", "op", c.Op, "err", err)
		return
	}
	if a.Code == codeOK {
		n.log.Warn("lease not renewed in time", "op", c.Op, "holder", g.Holder, "token", g.Token, "rebuild", g.ID)
	}
}
