package gossip

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// rejoinEvery is how often configured nodes that are not live members are
	// joined again: memberlist itself never does after a cut of half a minute.
	rejoinEvery = 30 * time.Second
	// While this node is alone it looks for the others at a growing pace.
	aloneFirst     = 500 * time.Millisecond
	aloneMax       = 5 * time.Second
	resolveTimeout = 3 * time.Second
)

func (g *Gossip) rejoinLoop(ctx context.Context, list *memberlist.Memberlist) {
	alone := aloneFirst
	for {
		g.rejoin(ctx, list)
		wait := rejoinEvery
		if len(g.opts.Join) > 0 && g.alive() < 2 {
			wait, alone = alone, min(2*alone, aloneMax)
		} else {
			alone = aloneFirst
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// rejoin joins every configured node that is not a live member, all at once:
// one that swallows packets holds nobody up.
func (g *Gossip) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	var wg sync.WaitGroup
	for _, seed := range g.opts.Join {
		wg.Go(func() { g.joinSeed(ctx, list, seed) })
	}
	wg.Wait()
}

// joinSeed resolves a name anew: the address behind it may have changed.
func (g *Gossip) joinSeed(ctx context.Context, list *memberlist.Memberlist, seed string) {
	addresses, err := resolve(ctx, seed)
	if err == nil && g.anyAlive(addresses) {
		return
	}
	if err == nil {
		_, err = list.Join(addresses)
	}
	if err != nil {
		g.metrics.rejoins.WithLabelValues("failed").Inc()
		if ctx.Err() == nil {
			g.log.Debug("join a configured node", "seed", seed, "err", err)
		}
		return
	}
	g.metrics.rejoins.WithLabelValues("joined").Inc()
	g.log.Debug("joined a configured node", "seed", seed)
}

// resolve turns a seed host:port into addresses ip:port.
func resolve(ctx context.Context, seed string) ([]string, error) {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) != nil {
		return []string{seed}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	hosts, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, net.JoinHostPort(h, port))
	}
	return out, nil
}

// anyAlive says that a live member, this one included, has one of the
// addresses.
func (g *Gossip) anyAlive(addresses []string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		for _, a := range addresses {
			if m.Alive && m.GossipAddress == a {
				return true
			}
		}
	}
	return false
}
