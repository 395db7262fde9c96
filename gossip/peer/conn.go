package peer

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

// apiConn is a connection of the peer API with the node behind it. It is not a
// *tls.Conn to net/http, which would look for a handler of the ALPN protocol.
type apiConn struct {
	*tls.Conn
	node string
}

// abort closes the socket beneath TLS at once.
func abort(c net.Conn) error {
	switch t := c.(type) {
	case *tls.Conn:
		return t.NetConn().Close()
	case *apiConn:
		return t.NetConn().Close()
	}
	return c.Close()
}

// tunnelConn is one end of a tunnel: what was read ahead with the HTTP header
// comes first. Its half-close is TLS': CloseWrite is read as the end of the
// stream at the other end, which may go on writing.
type tunnelConn struct {
	*tls.Conn
	wire    *wire
	head    *bufio.Reader
	headMu  sync.Mutex
	writeMu sync.Mutex
	onClose func()
	once    sync.Once
}

// newTunnelConn takes conn over, of which head has read.
func newTunnelConn(conn *tls.Conn, head *bufio.Reader) *tunnelConn {
	t := &tunnelConn{Conn: conn, wire: wireOf(conn), head: head}
	t.wire.widen()
	return t
}

func (c *tunnelConn) Read(b []byte) (int, error) {
	c.headMu.Lock()
	if c.head != nil {
		if n := c.head.Buffered(); n > 0 {
			n, err := c.head.Read(b[:min(len(b), n)])
			c.headMu.Unlock()
			return n, err
		}
		c.head = nil
	}
	c.headMu.Unlock()
	return c.Conn.Read(b)
}

// Ready says that Read has something without waiting for it.
func (c *tunnelConn) Ready() bool { return c.wire.ready() }

func (c *tunnelConn) Write(b []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	return c.wire.gather(func() (int, error) { return c.Conn.Write(b) })
}

// Close ends both directions at once.
func (c *tunnelConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = abort(c.Conn)
		if c.onClose != nil {
			c.onClose()
		}
	})
	return err
}

// chanListener is a net.Listener of connections accepted elsewhere.
type chanListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newChanListener() *chanListener {
	return &chanListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *chanListener) deliver(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

func (l *chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, errPortClosed
	}
}

func (l *chanListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *chanListener) Addr() net.Addr { return advertised("peer") }
