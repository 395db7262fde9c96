package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// maxConns at once. CLONE holds two to five, and dials anew every few seconds
// after a cut.
const maxConns = 16

// RelayOptions are what the recipient's end needs.
type RelayOptions struct {
	// UID is the only system user whose connections are taken: the one that
	// the cloning mysqld runs as.
	UID uint32
	// Dial opens a tunnel to the donor, one for each connection.
	Dial   func(ctx context.Context) (net.Conn, error)
	Logger *slog.Logger
}

// Relay is a port on the loopback that leads to the donor's mysqld for as long
// as a copy lasts. It takes any number of connections, one after the other or
// at once: after a cut CLONE dials again and resumes.
type Relay struct {
	opts     RelayOptions
	listener *net.TCPListener
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	bytes    atomic.Int64

	mu  sync.Mutex
	err error
}

// OpenRelay opens the port. It ends with ctx, and its connections with it.
func OpenRelay(ctx context.Context, o RelayOptions) (*Relay, error) {
	if o.Dial == nil || o.Logger == nil {
		return nil, errors.New("relay: want Dial and a logger")
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("open the relay's port: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Relay{opts: o, listener: l, cancel: cancel}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	r.wg.Go(func() { r.acceptLoop(ctx) })
	return r, nil
}

// Port is the TCP port on 127.0.0.1.
func (r *Relay) Port() int { return r.listener.Addr().(*net.TCPAddr).Port }

// Bytes is how many bytes have come from the donor so far.
func (r *Relay) Bytes() int64 { return r.bytes.Load() }

// Err is why the last connection could not be joined to the donor or was cut,
// nil where the last one was fine. CLONE's own error says only that its line
// was cut.
func (r *Relay) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close ends the relay and waits for its connections to be gone. It may be
// called more than once.
func (r *Relay) Close() {
	r.cancel()
	r.wg.Wait()
}

func (r *Relay) acceptLoop(ctx context.Context) {
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := r.listener.AcceptTCP()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				_ = conn.Close()
			}
			return
		case err != nil:
			r.opts.Logger.Warn("accept on the relay", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			r.wg.Go(func() {
				defer func() { <-slots }()
				r.serve(ctx, conn)
			})
		default:
			r.opts.Logger.Warn("relay is full", "limit", maxConns)
			_ = conn.Close()
		}
	}
}

// serve joins one connection to the donor, if it is from the right user.
func (r *Relay) serve(ctx context.Context, conn *net.TCPConn) {
	if err := r.allowed(conn); err != nil {
		r.opts.Logger.Warn("relay refused a connection", "from", conn.RemoteAddr().String(), "err", err)
		_ = conn.Close()
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	tunnel, err := r.opts.Dial(ctx)
	if err != nil {
		r.note(ctx, err)
		_ = conn.Close()
		return
	}
	r.note(ctx, nil)
	r.note(ctx, join(ctx, [2]flow{
		{dst: conn, src: tunnel, count: func(n int64) { r.bytes.Add(n) }},
		{dst: tunnel, src: conn},
	}))
}

func (r *Relay) allowed(conn *net.TCPConn) error {
	client, ok1 := conn.RemoteAddr().(*net.TCPAddr)
	server, ok2 := conn.LocalAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return errors.New("not a TCP connection")
	}
	uid, err := socketOwner(client.AddrPort(), server.AddrPort())
	if err != nil {
		return fmt.Errorf("find the owner of the connection: %w", err)
	}
	if uid != r.opts.UID {
		return fmt.Errorf("it belongs to uid %d, want %d", uid, r.opts.UID)
	}
	return nil
}

// note keeps the last error; what happens after the end is no error.
func (r *Relay) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.opts.Logger.Warn("relay lost a connection", "err", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// isNotConnected says that the other end of a socket is gone already.
func isNotConnected(err error) bool { return errors.Is(err, unix.ENOTCONN) }
