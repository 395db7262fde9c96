package lease

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.uber.org/goleak"

	"resilver/watchdog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memNet is a network in memory. A cut swallows what is sent, as a cable does:
// nothing fails at once, everything runs into its time-out.
type memNet struct {
	mu     sync.Mutex
	cuts   map[[2]string]bool
	ports  map[string]*memStream
	conns  map[*memConn]bool
	delay  func() time.Duration // of a call to another node
	lose   func() bool          // whether a call or its answer gets lost
	random *rand.Rand
}

func newMemNet(seed uint64) *memNet {
	return &memNet{
		cuts: map[[2]string]bool{}, ports: map[string]*memStream{}, conns: map[*memConn]bool{},
		random: rand.New(rand.NewPCG(seed, 1)),
	}
}

func (n *memNet) intn(k int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random.IntN(k)
}

func (n *memNet) cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{a, b}], n.cuts[[2]string{b, a}] = true, true
}

// mend lifts all cuts; a connection that lost bytes is broken for good.
func (n *memNet) mend() {
	n.mu.Lock()
	n.cuts = map[[2]string]bool{}
	var broken []*memConn
	for c := range n.conns {
		if c.lost.Load() {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		_ = c.Close()
	}
}

func (n *memNet) isCut(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts[[2]string{a, b}]
}

// listen opens a node's port; its address is the node's name.
func (n *memNet) listen(name string) *memStream {
	s := &memStream{net: n, name: name, accept: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[name] = s
	return s
}

type memStream struct {
	net    *memNet
	name   string
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func peerAddress(name string) string { return name + ":7374" }

func nodeAt(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

func (s *memStream) Accept() (net.Conn, error) {
	select {
	case c := <-s.accept:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *memStream) Close() error   { s.once.Do(func() { close(s.done) }); return nil }
func (s *memStream) Addr() net.Addr { return streamAddr(peerAddress(s.name)) }

func (s *memStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	to := nodeAt(string(address))
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	if s.net.isCut(s.name, to) {
		<-timer.C
		return nil, errors.New("dial timed out")
	}
	s.net.mu.Lock()
	port := s.net.ports[to]
	s.net.mu.Unlock()
	if port == nil {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	near, far := s.net.wrap(a, s.name, to), s.net.wrap(b, to, s.name)
	select {
	case port.accept <- far:
		return near, nil
	case <-port.done:
	case <-timer.C:
	}
	_, _ = near.Close(), far.Close()
	return nil, errors.New("connection refused")
}

func (n *memNet) wrap(c net.Conn, from, to string) *memConn {
	m := &memConn{Conn: c, net: n, from: from, to: to}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[m] = true
	return m
}

type memConn struct {
	net.Conn
	net      *memNet
	from, to string
	lost     mark
}

// mark is an atomic bool that is also set under memNet's lock.
type mark struct {
	mu sync.Mutex
	on bool
}

func (f *mark) Load() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.on }
func (f *mark) Set()       { f.mu.Lock(); defer f.mu.Unlock(); f.on = true }

func (c *memConn) Write(b []byte) (int, error) {
	if c.lost.Load() || c.net.isCut(c.from, c.to) {
		c.lost.Set()
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *memConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

// group is some nodes on one network.
type group struct {
	t     *testing.T
	net   *memNet
	mu    sync.Mutex
	seats map[string]*seat
	names []string
}

// seat is the place of one node: what outlives its process.
type seat struct {
	name string
	dir  string
	join []string
	rate float64 // of its clock
	node *Node   // nil: not running
	sick bool    // not fit to lead
	tune func(*Options)
}

func newGroup(t *testing.T, seed uint64, names ...string) *group {
	g := &group{t: t, net: newMemNet(seed), seats: map[string]*seat{}, names: names}
	base := t.TempDir()
	for _, name := range names {
		g.seats[name] = &seat{name: name, dir: filepath.Join(base, name), join: gossipAddresses(names), rate: 1}
	}
	return g
}

func gossipAddresses(names []string) []string {
	var list []string
	for _, n := range names {
		list = append(list, n+":7373")
	}
	return list
}

// members is what gossip would tell the node.
func (g *group) members(self string) []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []Member
	for _, name := range g.names {
		s := g.seats[name]
		m := Member{Name: name, GossipAddress: name + ":7373", PeerAddress: peerAddress(name)}
		if s.node != nil {
			m.RaftID = s.node.RaftID()
			m.Alive = name == self || !g.net.isCut(self, name)
			m.Healthy = m.Alive && !s.sick
		}
		list = append(list, m)
	}
	return list
}

// call carries a question, late or not at all as the network will have it.
func (g *group) call(ctx context.Context, from, to string, body []byte) ([]byte, error) {
	pass := func() error {
		g.net.mu.Lock()
		lose, delay := g.net.lose, g.net.delay
		g.net.mu.Unlock()
		if g.net.isCut(from, to) || lose != nil && lose() {
			<-ctx.Done()
			return ctx.Err()
		}
		if delay != nil && !sleep(ctx, delay()) {
			return ctx.Err()
		}
		return nil
	}
	if err := pass(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	node := g.seats[to].node
	g.mu.Unlock()
	if node == nil {
		return nil, errors.New("connection refused")
	}
	b, err := node.Handle(ctx, from, body)
	if err != nil {
		return nil, err
	}
	return b, pass()
}

// options are a node's, with virtual time's clock at the seat's rate.
func (g *group) options(name string) Options {
	s := g.seats[name]
	began := time.Now()
	o := Options{
		Name: name, Cluster: "orders", StateDir: s.dir, Join: s.join, PeerAddress: peerAddress(name),
		Stream: g.net.listen(name), TTL: 6 * time.Second, CriticalMax: time.Minute,
		Members: func() []Member { return g.members(name) },
		Call: func(ctx context.Context, peer string, body []byte) ([]byte, error) {
			return g.call(ctx, name, nodeAt(peer), body)
		},
		Logger:  testLog(name),
		clock:   func() time.Duration { return time.Duration(float64(time.Since(began)) * s.rate) },
		open:    openUnsynced,
		resolve: func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") },
	}
	if s.tune != nil {
		s.tune(&o)
	}
	return o
}

// start runs a node.
func (g *group) start(name string) *Node {
	g.t.Helper()
	n, err := New(g.options(name))
	if err != nil {
		g.t.Fatal(err)
	}
	if err := n.Start(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.seats[name].node = n
	g.mu.Unlock()
	return n
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *group) startAll() {
	for _, name := range g.names {
		g.start(name)
	}
}

func (g *group) stop(name string) {
	g.t.Helper()
	g.mu.Lock()
	n := g.seats[name].node
	g.seats[name].node = nil
	g.mu.Unlock()
	if n == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		g.t.Errorf("stop %s: %v", name, err)
	}
}

func (g *group) stopAll() {
	for _, name := range g.names {
		g.stop(name)
	}
}

// node is the running node of that name.
func (g *group) node(name string) *Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seats[name].node
}

// until polls a condition, for two minutes at most.
func (g *group) until(what string, ok func() bool) {
	g.t.Helper()
	for range 1200 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, name := range g.names {
		if n := g.node(name); n != nil {
			g.t.Logf("%s: %+v", name, n.State())
		}
	}
	g.t.Fatalf("not within two minutes: %s", what)
}

// leader waits for one and returns its name.
func (g *group) leader() string {
	g.t.Helper()
	var name string
	g.until("a leader", func() bool {
		for _, n := range g.names {
			if node := g.node(n); node != nil {
				if s := node.State(); s.IsLeader && s.Quorum {
					name = n
					return true
				}
			}
		}
		return false
	})
	return name
}

// other is a node that is none of the named.
func (g *group) other(not ...string) string {
	for _, n := range g.names {
		if !slices.Contains(not, n) && g.node(n) != nil {
			return n
		}
	}
	g.t.Fatal("no other node")
	return ""
}

// acquire asks for the lease with a generous budget.
func (g *group) acquire(node, id, donor string) (watchdog.Lease, error) {
	r := request(id)
	r.Donor = donor
	r.Budget = watchdog.Budget{NodePerDay: 1 << 20, ClusterPerHour: 1 << 20}
	return g.node(node).Acquire(g.t.Context(), *r)
}

func (g *group) mustAcquire(node, id, donor string) watchdog.Lease {
	g.t.Helper()
	l, err := g.acquire(node, id, donor)
	if err != nil {
		g.t.Fatalf("acquire: %v", err)
	}
	return l
}

func openUnsynced(dir string) (backend, error) {
	s, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, storeFile), NoSync: true})
	if err != nil {
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	return s, nil
}

var verbose = flag.Bool("lease.log", false, "write the nodes' logs to stderr")

func testLog(name string) *slog.Logger {
	if !*verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
}
