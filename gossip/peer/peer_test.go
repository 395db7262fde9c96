package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"resilver/watchdog"
)

// net/http lingers half a second over a connection that it ends by itself; it
// waits for nobody.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// cluster is a CA and the ports of its nodes in one process.
type cluster struct {
	t    *testing.T
	name string
	ca   string // directory of the CA
	dir  string // directory of the certificates

	mu    sync.Mutex
	nodes map[string]string
}

func newCluster(t *testing.T, name string) *cluster {
	t.Helper()
	c := &cluster{t: t, name: name, ca: t.TempDir(), dir: t.TempDir(), nodes: map[string]string{}}
	if err := InitCA(c.ca, name); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) issue(node string) {
	c.t.Helper()
	if err := Issue(c.ca, c.dir, c.name, node, []string{"127.0.0.1", "localhost"}, time.Hour); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) options(node string) Options {
	return Options{Address: "127.0.0.1:0", Cluster: c.name, Node: node, Logger: slog.New(slog.DiscardHandler),
		CAFile: filepath.Join(c.dir, CACertFile), CertFile: filepath.Join(c.dir, node+".crt"),
		KeyFile: filepath.Join(c.dir, node+".key"), Nodes: c.known}
}

func (c *cluster) known() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]string{}
	for k, v := range c.nodes {
		out[k] = v
	}
	return out
}

func (c *cluster) call(node, address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[node] = address
}

// port issues a certificate and opens the node's port.
func (c *cluster) port(node string) *Port {
	c.t.Helper()
	c.issue(node)
	p, err := Listen(c.options(node))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			c.t.Errorf("close %s: %v", node, err)
		}
	})
	c.call(node, p.Address())
	return p
}

// refuse is a set of handlers that refuse all but what a test replaces.
func refuse() Handlers {
	no := errors.New("not here")
	return Handlers{
		State:        func(context.Context, string) (watchdog.PeerState, error) { return watchdog.PeerState{}, no },
		Objects:      func(context.Context, string) ([]string, error) { return nil, no },
		GTIDSubtract: func(context.Context, string, string, string) (string, error) { return "", no },
		GTIDBeyond:   func(context.Context, string, string, uint32, watchdog.Observation) (string, error) { return "", no },
		Lease:        func(context.Context, string, []byte) ([]byte, error) { return nil, no },
		Tunnel:       func(context.Context, TunnelRequest) (func(context.Context, net.Conn), error) { return nil, no },
	}
}

func handle(t *testing.T, p *Port, h Handlers) {
	t.Helper()
	if err := p.Handle(h); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAPI(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	ctx := within(t)
	if _, err := a.Client().State(ctx, "db2"); !errors.Is(err, errNotReady) {
		t.Errorf("before Handle: %v", err)
	}
	h := refuse()
	h.State = func(_ context.Context, caller string) (watchdog.PeerState, error) {
		return watchdog.PeerState{Report: watchdog.Report{Node: "db2", Reason: "asked by " + caller}}, nil
	}
	h.Objects = func(_ context.Context, caller string) ([]string, error) {
		return []string{"account " + caller + "@%"}, nil
	}
	h.GTIDSubtract = func(_ context.Context, caller, a, b string) (string, error) { return caller + ":" + a + "-" + b, nil }
	h.GTIDBeyond = func(_ context.Context, caller, set string, id uint32, primary watchdog.Observation) (string, error) {
		return fmt.Sprint(caller, set, id, primary.Executed, primary.Replicated), nil
	}
	h.Lease = func(_ context.Context, caller string, body []byte) ([]byte, error) {
		return append([]byte(caller+":"), body...), nil
	}
	handle(t, b, h)
	s, err := a.Client().State(ctx, "db2")
	if err != nil || s.Report.Reason != "asked by db1" {
		t.Errorf("state %+v, %v", s.Report, err)
	}
	long := strings.Repeat("x", 1<<20)
	if got, err := a.Client().Objects(ctx, "db2"); err != nil || len(got) != 1 || got[0] != "account db1@%" {
		t.Errorf("objects %v, %v", got, err)
	}
	if got, err := a.Client().GTIDSubtract(ctx, "db2", long, "b"); err != nil || got != "db1:"+long+"-b" {
		t.Errorf("subtract: %d bytes, %v", len(got), err)
	}
	primary := watchdog.Observation{Executed: "e", Replicated: "r"}
	if got, err := a.Client().GTIDBeyond(ctx, "db2", "s", 7, primary); err != nil || got != "db1s7er" {
		t.Errorf("beyond: %q, %v", got, err)
	}
	if got, err := a.Client().Call(ctx, b.Address(), []byte("\x00raw")); err != nil || string(got) != "db1:\x00raw" {
		t.Errorf("call: %q, %v", got, err)
	}
	if _, err := a.Client().State(ctx, "db9"); err == nil || !strings.Contains(err.Error(), "known by gossip") {
		t.Errorf("unknown node: %v", err)
	}
	if _, err := a.Client().GTIDSubtract(ctx, "db2", strings.Repeat("x", maxRequest+1), ""); err == nil {
		t.Error("a request beyond the limit was taken")
	}
}

// The errors that callers branch on survive the wire.
func TestErrorsKeepTheirMeaning(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	h := refuse()
	var now error
	h.State = func(context.Context, string) (watchdog.PeerState, error) {
		return watchdog.PeerState{}, fmt.Errorf("look: %w", now)
	}
	h.Tunnel = func(context.Context, TunnelRequest) (func(context.Context, net.Conn), error) { return nil, now }
	handle(t, b, h)
	for want, status := range map[error]int{watchdog.ErrTokenAhead: http.StatusTooEarly,
		watchdog.ErrTokenStale: http.StatusForbidden, watchdog.ErrNoQuorum: http.StatusServiceUnavailable,
		context.DeadlineExceeded: http.StatusGatewayTimeout} {
		now = want
		var remote *RemoteError
		_, err := a.Client().State(within(t), "db2")
		if !errors.Is(err, want) || !errors.As(err, &remote) || remote.Status != status {
			t.Errorf("state: %v", err)
		}
		if _, err = a.Client().Tunnel(within(t), "db2", "c", 1); !errors.Is(err, want) {
			t.Errorf("tunnel: %v", err)
		}
	}
	now = errors.New("disk on fire")
	if _, err := a.Client().State(within(t), "db2"); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("any other: %v", err)
	}
}

// Trap P36: the accept loop of a closed port ends, and a second close is none.
func TestTrapP36CloseTwice(t *testing.T) {
	c := newCluster(t, "orders")
	c.issue("db1")
	p, err := Listen(c.options("db1"))
	if err != nil {
		t.Fatal(err)
	}
	idle, err := net.Dial("tcp", p.Address()) // never shakes hands
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = idle.Close() }()
	began := time.Now()
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took > handshakeTimeout {
		t.Errorf("closing took %s", took)
	}
	if _, err := p.Raft().Accept(); err == nil {
		t.Error("raft of a closed port accepts")
	}
}
