package peer

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

var _ raft.StreamLayer = (*RaftLayer)(nil)

// RaftLayer is raft's share of the port. It keeps every connection it dialled
// or accepted and closes them with itself: raft's own transport closes neither
// pooled nor accepted ones.
type RaftLayer struct {
	port     *Port
	incoming chan net.Conn
	done     chan struct{}

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// Raft returns a new stream layer for raft; the one returned before is closed.
func (p *Port) Raft() *RaftLayer {
	l := &RaftLayer{port: p, incoming: make(chan net.Conn, 16), done: make(chan struct{}),
		conns: map[net.Conn]struct{}{}}
	p.mu.Lock()
	former := p.raft
	p.raft = l
	p.mu.Unlock()
	if former != nil {
		_ = former.Close()
	}
	if p.ctx.Err() != nil {
		_ = l.Close()
	}
	return l
}

// Dial connects to another node's raft (raft.StreamLayer). A name in address
// is resolved anew each time.
func (l *RaftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.port.ctx, timeout)
	defer cancel()
	conn, err := l.port.dial(ctx, protoRaft, string(address), "")
	if err != nil {
		return nil, fmt.Errorf("dial raft: %w", err)
	}
	return l.keep(conn)
}

// Accept returns the next connection from another node's raft.
func (l *RaftLayer) Accept() (net.Conn, error) {
	for {
		select {
		case <-l.done:
			return nil, errPortClosed
		case conn := <-l.incoming:
			if kept, err := l.keep(conn); err == nil {
				return kept, nil
			}
		}
	}
}

// Addr is the address that the port advertises, as it stands in raft's
// configuration: a name is kept as a name.
func (l *RaftLayer) Addr() net.Addr { return advertised(l.port.advertise) }

// Close closes the layer and its connections. It may be called more than once.
func (l *RaftLayer) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	l.mu.Unlock()
	l.closeConns()
	for {
		select {
		case conn := <-l.incoming:
			_ = conn.Close()
		default:
			return nil
		}
	}
}

func (l *RaftLayer) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errPortClosed
	}
	return nil
}

// deliver gives an accepted connection to raft, false where it is not wanted.
func (l *RaftLayer) deliver(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.incoming <- conn:
		return true
	default:
		return false
	}
}

// keep registers a connection so that it can be closed with the layer.
func (l *RaftLayer) keep(conn net.Conn) (net.Conn, error) {
	kept := &raftConn{Conn: conn, layer: l}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.conns[kept] = struct{}{}
	}
	l.mu.Unlock()
	if closed {
		_ = conn.Close()
		return nil, errPortClosed
	}
	return kept, nil
}

func (l *RaftLayer) closeConns() {
	l.mu.Lock()
	conns := l.conns
	l.conns = map[net.Conn]struct{}{}
	l.mu.Unlock()
	for c := range conns {
		_ = c.(*raftConn).shut()
	}
}

// raftConn takes itself off its layer's list when it is closed.
type raftConn struct {
	net.Conn
	layer *RaftLayer
}

func (c *raftConn) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.conns, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// shut closes without the courtesy of a last TLS record, which could wait for
// a peer that reads no more.
func (c *raftConn) shut() error { return abort(c.Conn) }

// advertised is a host:port that may hold a name.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }
