package lease

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// gate owns the stream layer that was given to the node, and hands what it
// accepts to the layer of the raft instance that runs now. Between two
// instances connections are refused.
type gate struct {
	under raft.StreamLayer
	log   *slog.Logger

	mu      sync.Mutex
	current *layer
	closed  bool
	done    chan struct{}
}

func newGate(under raft.StreamLayer, log *slog.Logger) *gate {
	g := &gate{under: under, log: log, done: make(chan struct{})}
	go g.run()
	return g
}

// run accepts until the stream layer is closed.
func (g *gate) run() {
	defer close(g.done)
	for {
		conn, err := g.under.Accept()
		if err != nil {
			g.mu.Lock()
			closed := g.closed
			g.mu.Unlock()
			if closed || errors.Is(err, net.ErrClosed) {
				return
			}
			g.log.Warn("raft accept failed", "err", err)
			time.Sleep(100 * time.Millisecond) // out of descriptors: do not spin
			continue
		}
		g.mu.Lock()
		l := g.current
		g.mu.Unlock()
		if l == nil || !l.offer(conn) {
			_ = conn.Close()
		}
	}
}

func (g *gate) set(l *layer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = l
}

// Close closes the stream layer below and waits for the accept loop.
func (g *gate) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	err := g.under.Close()
	<-g.done
	return err
}

// layer is the raft.StreamLayer of one raft instance. Closing it is the
// fence: every connection is closed, and neither dial nor accept work again.
type layer struct {
	self    raft.ServerID
	address raft.ServerAddress
	under   raft.StreamLayer
	resolve func(raft.ServerID) string // present host:port of a member, empty: unknown

	accepted chan net.Conn
	done     chan struct{}

	mu     sync.Mutex
	conns  map[*trackedConn]struct{}
	closed bool
}

func newLayer(self raft.ServerID, hostPort string, under raft.StreamLayer, resolve func(raft.ServerID) string) *layer {
	return &layer{
		self: self, address: addressOf(self, hostPort), under: under, resolve: resolve,
		accepted: make(chan net.Conn), done: make(chan struct{}), conns: map[*trackedConn]struct{}{},
	}
}

// offer hands over an accepted connection.
func (l *layer) offer(conn net.Conn) bool {
	tracked, ok := l.track(conn)
	if !ok {
		return false
	}
	tracked.want = l.self
	select {
	case l.accepted <- tracked:
		return true
	case <-l.done:
		return false
	}
}

func (l *layer) track(conn net.Conn) (*trackedConn, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	t := &trackedConn{Conn: conn, layer: l}
	l.conns[t] = struct{}{}
	return t, true
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener: the address under which the group knows this
// incarnation.
func (l *layer) Addr() net.Addr { return streamAddr(l.address) }

// Dial implements raft.StreamLayer. The first bytes name the incarnation that
// is meant, and another one hangs up: a wiped node never answers for its
// former self.
func (l *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	id, hostPort := splitAddress(address)
	if id == "" || len(id) > 255 {
		return nil, fmt.Errorf("dial raft peer: bad address %q", address)
	}
	if now := l.resolve(id); now != "" {
		hostPort = now
	}
	conn, err := l.under.Dial(raft.ServerAddress(hostPort), timeout)
	if err != nil {
		return nil, fmt.Errorf("dial raft peer %s: %w", id, err)
	}
	_ = conn.SetDeadline(time.Now().Add(timeout))
	if _, err := conn.Write(append([]byte{byte(len(id))}, id...)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("greet raft peer %s: %w", id, err)
	}
	_ = conn.SetDeadline(time.Time{})
	tracked, ok := l.track(conn)
	if !ok {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return tracked, nil
}

// Close implements net.Listener. It may be called more than once.
func (l *layer) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
	return nil
}

// trackedConn is a connection that its layer closes with itself. An accepted
// one checks the greeting at its first read.
type trackedConn struct {
	net.Conn
	layer   *layer
	want    raft.ServerID // empty: dialled by us
	greeted bool
}

func (c *trackedConn) Read(b []byte) (int, error) {
	if c.want != "" && !c.greeted {
		if err := c.greet(); err != nil {
			return 0, err
		}
		c.greeted = true
	}
	return c.Conn.Read(b)
}

// greet reads whom the dialler meant. io.EOF ends the connection without
// noise: the dialler will learn of this node's new incarnation by gossip.
func (c *trackedConn) greet() error {
	var size [1]byte
	if _, err := io.ReadFull(c.Conn, size[:]); err != nil {
		return io.EOF
	}
	id := make([]byte, size[0])
	if _, err := io.ReadFull(c.Conn, id); err != nil || raft.ServerID(id) != c.want {
		return io.EOF
	}
	return nil
}

func (c *trackedConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

type streamAddr string

func (a streamAddr) Network() string { return "raft" }
func (a streamAddr) String() string  { return string(a) }
