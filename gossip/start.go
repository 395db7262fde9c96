package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

var errStopped = errors.New("gossip was stopped")

// Start opens the port and begins to look for the configured nodes; it does
// not wait for them. The context bounds the start alone; Stop ends it.
func (g *Gossip) Start(ctx context.Context) error {
	g.life.Lock()
	defer g.life.Unlock()
	switch {
	case g.life.stopped:
		return errStopped
	case g.life.list != nil:
		return errors.New("gossip was started already")
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	list, err := g.create(ctx, run)
	if err != nil {
		stop()
		return err
	}
	g.life.list, g.life.stop = list, stop
	g.wg.Go(func() { g.rejoinLoop(run, list) })
	return nil
}

// fewNodes can all be told of each other's reports by a few packets a second.
const fewNodes = 7

func (g *Gossip) create(ctx, run context.Context) (*memberlist.Memberlist, error) {
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label = g.opts.Name, g.opts.Cluster
	// Reports come once a second: what is more frequent, and a compressor made
	// for each packet of a few hundred bytes, only costs the idle machine.
	c.GossipInterval, c.EnableCompression = 500*time.Millisecond, false
	if len(g.opts.Join) > fewNodes {
		c.GossipInterval = 200 * time.Millisecond // as many reports have to get through
	}
	c.ProbeTimeout = 200 * time.Millisecond
	c.DeadNodeReclaimTime = 10 * time.Second
	d := delegate{g: g}
	c.Delegate, c.Events, c.Conflict = d, d, d
	c.Logger = newListLogger(g.log)
	if len(g.opts.Keys) > 0 {
		ring, err := memberlist.NewKeyring(g.opts.Keys, g.opts.Keys[0])
		if err != nil {
			return nil, fmt.Errorf("gossip keys: %w", err)
		}
		c.Keyring = ring
	}
	if g.opts.tune != nil {
		g.opts.tune(c)
	}
	if err := g.listen(ctx, run, c); err != nil {
		return nil, err
	}
	list, err := memberlist.Create(c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip: %w", err), c.Transport.Shutdown())
	}
	return list, nil
}

// listen opens the network that c is to use.
func (g *Gossip) listen(ctx, run context.Context, c *memberlist.Config) error {
	if g.opts.transport != nil {
		c.Transport = &transport{NodeAwareTransport: g.opts.transport, run: run}
		return nil
	}
	bind, err := addressOf(ctx, g.opts.Bind)
	if err != nil {
		return fmt.Errorf("gossip address to listen on: %w", err)
	}
	if c.AdvertiseAddr, err = addressOf(ctx, g.opts.Advertise); err != nil {
		return fmt.Errorf("gossip address to advertise: %w", err)
	}
	if bind == "" {
		bind = "0.0.0.0"
	}
	// A free UDP port need not be free for TCP: with port 0 it is tried again.
	var nt *memberlist.NetTransport
	for range 10 {
		nt, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{bind},
			BindPort: g.opts.Port, Logger: c.Logger})
		if err == nil || g.opts.Port != 0 {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("open the gossip port: %w", err)
	}
	port := nt.GetAutoBindPort()
	c.BindAddr, c.BindPort, c.AdvertisePort = bind, port, port
	c.Transport = &transport{NodeAwareTransport: nt, run: run, dials: true}
	return nil
}

// addressOf resolves a name to its first address; empty stays empty.
func addressOf(ctx context.Context, host string) (string, error) {
	if host == "" || net.ParseIP(host) != nil {
		return host, nil
	}
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// Stop ends gossip without a farewell. It may be called more than once, and
// before Start.
func (g *Gossip) Stop() {
	g.life.Lock()
	defer g.life.Unlock()
	if g.life.stopped {
		return
	}
	g.life.stopped = true
	if g.life.list == nil {
		return
	}
	g.life.stop()
	g.wg.Wait()
	if err := g.life.list.Shutdown(); err != nil {
		g.log.Warn("stop gossip", "err", err)
	}
}

// transport is memberlist's network with dials that end when gossip does.
type transport struct {
	memberlist.NodeAwareTransport
	run   context.Context
	dials bool // dial TCP here instead of asking the transport beneath
}

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout dials a member; the connection dies with gossip, so that
// nobody waits for a peer that says nothing.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if t.run.Err() != nil {
		return nil, errStopped
	}
	conn, err := t.dial(a, timeout)
	if err != nil {
		return nil, err
	}
	return &boundConn{Conn: conn, stop: context.AfterFunc(t.run, func() { _ = conn.Close() })}, nil
}

func (t *transport) dial(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if !t.dials {
		return t.NodeAwareTransport.DialAddressTimeout(a, timeout)
	}
	d := net.Dialer{Timeout: timeout}
	return d.DialContext(t.run, "tcp", a.Addr)
}

type boundConn struct {
	net.Conn
	stop func() bool
}

func (c *boundConn) Close() error {
	c.stop()
	return c.Conn.Close()
}
