package peer

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

const (
	// wireBuffer is what a widened wire takes and gives in one system call.
	wireBuffer = 256 << 10
	// maxRecord is the longest record of TLS 1.3 (RFC 8446, 5.2), its header
	// included.
	maxRecord = 5 + 16<<10 + 256
)

// wire is the connection beneath TLS, whose records hold 16 KiB at most. One
// that carries a copy is widened: it reads many records at once, and the
// records of one write leave together. Most of what the encryption of a copy
// costs is system calls.
type wire struct {
	net.Conn
	in *bufio.Reader // nil until widened

	mu     sync.Mutex
	out    []byte // records that wait for the end of their write
	corked bool
}

// wireOf is the wire beneath a connection of this package.
func wireOf(c *tls.Conn) *wire {
	w, _ := c.NetConn().(*wire) // every connection of a Port has one
	return w
}

// widen is called before the connection carries a stream, by its only user.
func (w *wire) widen() { w.in = bufio.NewReaderSize(w.Conn, wireBuffer) }

func (w *wire) Read(b []byte) (int, error) {
	if w.in != nil {
		return w.in.Read(b)
	}
	return w.Conn.Read(b)
}

// ready says that the next record is here as a whole. It belongs to the reader.
func (w *wire) ready() bool { return w.in != nil && w.in.Buffered() >= maxRecord }

// Write keeps the records of a gather for its end.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.corked {
		return w.Conn.Write(b)
	}
	w.out = append(w.out, b...)
	return len(b), nil
}

// gather sends what write writes in one piece. TLS numbers its records as it
// writes them, and here they stay in that order.
func (w *wire) gather(write func() (int, error)) (int, error) {
	w.mu.Lock()
	w.corked = true
	w.mu.Unlock()
	n, err := write()
	if flushed := w.flush(); err == nil && flushed != nil {
		return 0, flushed
	}
	return n, err
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = false
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.out)
	w.out = w.out[:0]
	return err
}
