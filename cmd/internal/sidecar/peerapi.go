package sidecar

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"resilver/gossip/peer"
	"resilver/healing/method"
	"resilver/healing/transfer"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// handlers answer the other sidecars. None of them takes anything from a
// request but names, numbers, GTID sets, and values of keys.
func (s *Sidecar) handlers() peer.Handlers {
	return peer.Handlers{State: s.peerState, Objects: s.peerObjects, GTIDSubtract: s.peerSubtract, GTIDBeyond: s.peerBeyond, Lease: s.leases.Handle, Tunnel: s.peerTunnel, Backup: s.peerBackup, Checksums: s.peerChecksums}
}

// peerState probes this node's server now, for a caller that is about to act
// on the answer.
func (s *Sidecar) peerState(ctx context.Context, _ string) (watchdog.PeerState, error) {
	obs := s.server.Observe(ctx)
	_, diag, _ := s.loop.Seen()
	contents := s.contents.latest()
	if obs.Reachable {
		lacks, err := s.server.MissingForDonor(ctx, donorAccount(obs))
		if err != nil {
			lacks = append(lacks, "whether it can be cloned is not known: "+err.Error())
		}
		if lack := s.backups.Lacks(method.ToolMariabackup); obs.Flavor == "mariadb" && lack != "" {
			lacks = append(lacks, lack)
		}
		contents.Lacks = lacks
	}
	state := watchdog.PeerState{Report: s.loop.Report(), Observation: obs, Diagnosis: diag, Contents: contents}
	return state, nil
}

func (s *Sidecar) peerObjects(ctx context.Context, _ string) ([]string, error) {
	objects, err := s.server.Objects(ctx)
	out := make([]string, 0, len(objects))
	for _, o := range objects {
		out = append(out, o.Key())
	}
	return out, err
}

func (s *Sidecar) peerSubtract(ctx context.Context, _, a, b string) (string, error) {
	return s.server.GTIDSubtract(ctx, a, b)
}

func (s *Sidecar) peerBeyond(ctx context.Context, _, set string, id uint32, primary watchdog.Observation) (string, error) {
	return s.server.GTIDBeyond(ctx, set, id, primary)
}

func errNoDonor(node string) error {
	return fmt.Errorf("node.donor is false: %s is never copied from", node)
}

// peerTunnel leads the lease's holder to this node's mysqld, and nobody else;
// the connection is dialled as donor.os_user, which has no right but to be
// copied from.
func (s *Sidecar) peerTunnel(ctx context.Context, req peer.TunnelRequest) (func(context.Context, net.Conn), error) {
	if !s.cfg.Node.Donor {
		return nil, errNoDonor(s.cfg.Node.Name)
	}
	donor, err := transfer.Admit(ctx, transfer.DonorOptions{
		Check: func() error { return s.leases.Check(req.ClusterID, req.Token, req.Caller) },
		Ahead: watchdog.ErrTokenAhead,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return transfer.DialAs(ctx, s.cfg.Donor.OSUser, s.cfg.MySQL.Socket)
		},
		Limit: s.limit, Count: s.metrics.given,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, conn net.Conn) {
		s.o.Logger.Info("tunnel opened", "recipient", req.Caller, "token", req.Token)
		err := donor.Serve(ctx, conn)
		s.o.Logger.Info("tunnel closed", "recipient", req.Caller, "token", req.Token, "error", err)
	}, nil
}

// How often the server is asked what it holds: a slow question of large
// schemas, so it is asked beside, and the last answer given. Somebody who
// thinks of a copy has an old answer renewed for the next time he asks.
const (
	contentsEvery = 5 * time.Minute
	contentsAgain = 5 * time.Second // where it was not answered
	contentsFresh = 5 * time.Second
	contentsShare = 20 // at most one part in so many of the time is spent asking
)

// contents is what the server held when it was last asked.
type contents struct {
	renew chan struct{}

	mu   sync.Mutex
	last watchdog.Contents
	at   time.Time
	took time.Duration
}

func newContents() *contents {
	return &contents{renew: make(chan struct{}, 1), last: watchdog.Contents{Err: "not asked yet"}}
}

func (c *contents) latest() watchdog.Contents {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > max(contentsFresh, contentsShare*c.took) {
		select {
		case c.renew <- struct{}{}:
		default:
		}
	}
	return c.last
}

// run asks again and again until ctx ends.
func (c *contents) run(ctx context.Context, server *replica.Server) error {
	for {
		began := time.Now()
		now := askContents(ctx, server)
		pause := contentsEvery
		if now.Err != "" {
			pause = contentsAgain
		}
		c.mu.Lock()
		c.last, c.at, c.took = now, time.Now(), time.Since(began)
		select {
		case <-c.renew: // asked for while this answer was made
		default:
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-c.renew:
		case <-time.After(pause):
		}
	}
}

func askContents(ctx context.Context, server *replica.Server) watchdog.Contents {
	held, err := server.MayHold(ctx)
	var bytes int64
	if err == nil {
		bytes, err = server.DataBytes(ctx)
	}
	c := watchdog.Contents{Bytes: bytes, Encrypted: held.Encrypted, Scattered: held.Scattered, Engines: held.Engines}
	if err != nil {
		c.Err = err.Error()
	}
	return c
}
