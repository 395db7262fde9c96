// Package sidecar is the composition root of `resilver run`: it builds every
// part from the configuration, starts them in order and stops them in reverse.
// It decides nothing and knows no mechanics.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"resilver/config"
	"resilver/gossip"
	"resilver/gossip/lease"
	"resilver/gossip/peer"
	"resilver/healing"
	"resilver/healing/method"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/admin"
	"resilver/watchdog/replica"
)

// Options are what does not come from the configuration file.
type Options struct {
	Logger  *slog.Logger
	Version string
	// Failpoint is called at named points of a rebuild, for crash tests.
	Failpoint func(point string)
	// Ready is called once every part runs, Beat with every look at the
	// server; both may be nil.
	Ready, Beat func()
}

// Sidecar is one running resilver.
type Sidecar struct {
	cfg *config.Config
	o   Options

	server    *replica.Server
	service   service.Service
	port      *peer.Port
	gossip    *gossip.Gossip
	leases    *lease.Node
	known     *healing.Keeper
	healer    *healing.Healer
	loop      *watchdog.Loop
	metrics   *metrics
	contents  *contents
	backups   *method.Backups
	comparing sync.Mutex    // one question for checksums at a time
	limit     *rate.Limiter // of what this node gives as a donor; nil: none
	cores     cores

	teardowns []teardown
}

// teardown is one thing to be stopped, by name.
type teardown struct {
	name string
	stop func() error
}

// New builds a sidecar. It opens the peer port, and nothing is watched yet.
func New(cfg *config.Config, o Options) (*Sidecar, error) {
	if cfg == nil || o.Logger == nil {
		return nil, errors.New("sidecar: configuration and logger are needed")
	}
	if o.Ready == nil {
		o.Ready = func() {}
	}
	if o.Beat == nil {
		o.Beat = func() {}
	}
	s := &Sidecar{cfg: cfg, o: o, contents: newContents(), metrics: newMetrics(prometheus.NewRegistry(), cfg.Cluster.Name, o.Version)}
	for _, build := range []func() error{s.buildState, s.buildServer, s.buildService, s.buildPeer, s.buildLease, s.buildGossip, s.buildBackups, s.buildKeeper, s.buildHealer, s.buildLoop} {
		if err := build(); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

// Run watches and heals until ctx ends, or until a part cannot go on.
func (s *Sidecar) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.port.Handle(s.handlers()); err != nil {
		return err
	}
	if err := s.gossip.Start(ctx); err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	s.onStop("gossip", func() error { s.gossip.Stop(); return nil })
	if err := s.leases.Start(ctx); err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	s.onStop("raft", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return s.leases.Stop(ctx)
	})
	s.onStop("healer", func() error { s.healer.Close(); return nil })
	if err := s.healer.Resume(); err != nil {
		// The start guard keeps refusing; nothing is healed until a person has looked.
		return err
	}
	return s.serve(ctx)
}

// serve runs the loops; the first that ends takes the others with it.
func (s *Sidecar) serve(ctx context.Context) error {
	sock, err := admin.Listen(admin.Options{Socket: s.cfg.Admin.Socket, Readers: s.cfg.Admin.Readers, Writers: s.cfg.Admin.Writers,
		Daemon: (*daemon)(s), Logger: s.o.Logger})
	if err != nil {
		return err
	}
	if unit, ok := s.service.(*service.Systemd); ok {
		if err := unit.Check(ctx); err != nil {
			s.o.Logger.Warn("the server's unit is not fit for a rebuild", "error", err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return sock.Serve(ctx) })
	if s.cfg.HTTP.Listen != "" {
		web, err := admin.ListenWeb(admin.WebOptions{Listen: s.cfg.HTTP.Listen, Gatherer: s.metrics.registry, Logger: s.o.Logger})
		if err != nil {
			g.Go(func() error { return err })
		} else {
			g.Go(func() error { return web.Serve(ctx) })
		}
	}
	g.Go(func() error { return s.loop.Run(ctx) })
	if schedule, err := s.cfg.Policy.DrillSchedule(); err != nil {
		g.Go(func() error { return fmt.Errorf("policy.drill: %w", err) })
	} else if schedule != nil {
		drills := watchdog.Drills{Schedule: schedule, Weigh: s.loop.Weigh, Begin: s.healer.Begin, Logger: s.o.Logger}
		g.Go(func() error { return drills.Run(ctx) })
	}
	g.Go(func() error { return s.known.Run(ctx) })
	g.Go(func() error { return s.contents.run(ctx, s.server) })
	g.Go(func() error { return s.healer.Housekeep(ctx) })
	g.Go(func() error { return s.restoreDonor(ctx) })
	s.cores.rest()
	s.o.Ready()
	s.o.Logger.Info("watching", "node", s.cfg.Node.Name, "cluster", s.cfg.Cluster.Name, "mode", s.cfg.Policy.Mode, "version", s.o.Version)
	return g.Wait()
}

func (s *Sidecar) onStop(name string, stop func() error) {
	s.teardowns = append(s.teardowns, teardown{name, stop})
}

// stop ends everything in reverse order.
func (s *Sidecar) stop() error {
	var errs []error
	for i := len(s.teardowns) - 1; i >= 0; i-- {
		t := s.teardowns[i]
		if err := t.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", t.name, err))
		}
	}
	s.teardowns = nil
	return errors.Join(errs...)
}

func (s *Sidecar) raftDir() string { return filepath.Join(s.cfg.StateDir, "raft") }
