package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// The protocols of the port, as ALPN names them.
const (
	protoRaft = "resilver-raft/1"
	protoPeer = "resilver-peer/1"
)

const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes bounds connections that have not shown who they are.
	maxHandshakes = 64
	// acceptPause is the longest wait after an accept that went wrong, such as
	// one out of descriptors.
	acceptPause = time.Second
)

var (
	errNoProtocol = errors.New("no protocol of resilver agreed on (ALPN)")
	errPortClosed = fmt.Errorf("peer port closed: %w", net.ErrClosed)
)

// Options of a Port.
type Options struct {
	Address   string // host:port to listen on
	Advertise string // host:port under which the others find it; empty: the address listened on
	Cluster   string // name of the cluster, as in the certificates
	Node      string // name of this node, as in its certificate
	CAFile    string
	CertFile  string
	KeyFile   string
	// Nodes maps the names of the nodes known now to their peer addresses.
	// The client finds nodes by it, and every dialled address that it knows
	// must show that node's certificate. It must not block.
	Nodes func() map[string]string
	// Streaming is called when a tunnel or a backup's stream begins, at either
	// end, and what it returns when that ends; nil: nobody is told.
	Streaming func() (end func())
	Logger    *slog.Logger
}

func (o *Options) check() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(o.Address != "", "no address to listen on")
	need(o.CAFile != "" && o.CertFile != "" && o.KeyFile != "", "certificate files missing: make them with resilver certs")
	need(o.Nodes != nil, "no Nodes function")
	need(o.Logger != nil, "no logger")
	errs = append(errs, checkName("cluster", o.Cluster), checkName("node", o.Node))
	if o.Advertise != "" {
		host, _, err := net.SplitHostPort(o.Advertise)
		need(err == nil && host != "", "advertised address is not host:port")
	}
	return errors.Join(errs...)
}

// Port is the one TLS port of a sidecar.
type Port struct {
	opts      Options
	id        *identity
	listener  net.Listener
	advertise string
	api       *apiServer
	client    *Client
	ctx       context.Context // ends with the port
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	closeOnce sync.Once
	closeErr  error

	mu   sync.Mutex
	raft *RaftLayer
}

// Listen opens the port. The peer API answers 503 until Handle is called, and
// raft's connections are closed until Raft is.
func Listen(o Options) (*Port, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("peer port: %w", err)
	}
	if o.Streaming == nil {
		o.Streaming = func() func() { return func() {} }
	}
	id, err := loadIdentity(o)
	if err != nil {
		return nil, fmt.Errorf("peer port: %w", err)
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on the peer port: %w", err)
	}
	p := &Port{opts: o, id: id, listener: l, advertise: o.Advertise}
	if p.advertise == "" {
		p.advertise = l.Addr().String()
	}
	if host, _, err := net.SplitHostPort(p.advertise); err != nil || net.ParseIP(host).IsUnspecified() {
		return nil, errors.Join(fmt.Errorf("peer port: %s cannot be advertised: set cluster.advertise", p.advertise), l.Close())
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.api = newAPIServer(p.ctx, o.Logger, o.Streaming)
	p.client = newClient(p)
	p.wg.Go(p.acceptLoop)
	p.wg.Go(p.api.serve)
	return p, nil
}

// Address is the address that this port advertises, host:port.
func (p *Port) Address() string { return p.advertise }

// Handle puts the functions that answer the peer API in place.
func (p *Port) Handle(h Handlers) error {
	if err := h.check(); err != nil {
		return fmt.Errorf("peer port: %w", err)
	}
	p.api.handlers.Store(&h)
	return nil
}

// Client asks other nodes. It ends with the port.
func (p *Port) Client() *Client { return p.client }

// Close closes the port and every connection over it, and waits for them. It
// may be called more than once.
func (p *Port) Close() error {
	p.closeOnce.Do(func() {
		p.cancel()
		p.closeErr = p.listener.Close()
		p.mu.Lock()
		layer := p.raft
		p.mu.Unlock()
		if layer != nil {
			p.closeErr = errors.Join(p.closeErr, layer.Close())
		}
		p.api.close()
		p.client.close()
		p.wg.Wait()
	})
	return p.closeErr
}

func (p *Port) acceptLoop() {
	slots := make(chan struct{}, maxHandshakes)
	pause := 5 * time.Millisecond
	for {
		conn, err := p.listener.Accept()
		if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			p.opts.Logger.Warn("accept on the peer port", "err", err)
			select {
			case <-time.After(pause):
			case <-p.ctx.Done():
			}
			pause = min(2*pause, acceptPause)
			continue
		}
		pause = 5 * time.Millisecond
		select {
		case slots <- struct{}{}:
			p.wg.Go(func() {
				defer func() { <-slots }()
				p.welcome(conn)
			})
		default:
			p.opts.Logger.Warn("too many connections without a handshake", "from", conn.RemoteAddr().String())
			_ = conn.Close()
		}
	}
}

// welcome shakes hands and hands the connection to whom it is for.
func (p *Port) welcome(raw net.Conn) {
	keepAlive(raw)
	ctx, cancel := context.WithTimeout(p.ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(&wire{Conn: raw}, p.id.serverConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, io.EOF) || p.ctx.Err() != nil { // somebody looked whether the port is open
			level = slog.LevelDebug
		}
		p.opts.Logger.Log(p.ctx, level, "peer refused", "from", raw.RemoteAddr().String(), "err", err)
		_ = raw.Close()
		return
	}
	state := conn.ConnectionState()
	_, node, err := names(state.PeerCertificates[0])
	if err != nil { // VerifyConnection has read it before
		_ = raw.Close()
		return
	}
	switch state.NegotiatedProtocol {
	case protoRaft:
		p.mu.Lock()
		layer := p.raft
		p.mu.Unlock()
		if layer == nil || !layer.deliver(conn) {
			_ = raw.Close()
		}
	case protoPeer:
		if !p.api.listener.deliver(&apiConn{Conn: conn, node: node}) {
			_ = raw.Close()
		}
	default:
		_ = raw.Close()
	}
}

// dial connects to address and shakes hands; where node is empty, any node of
// the cluster is accepted unless the address is known to be another's.
func (p *Port) dial(ctx context.Context, proto, address, node string) (*tls.Conn, error) {
	if p.ctx.Err() != nil {
		return nil, errPortClosed
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	keepAlive(raw)
	if node == "" {
		node = p.nodeAt(address)
	}
	conn := tls.Client(&wire{Conn: raw}, p.id.clientConfig(proto, node))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("shake hands with %s: %w", address, err)
	}
	return conn, nil
}

// nodeAt is the name of the node that advertises address, empty where none or
// more than one does.
func (p *Port) nodeAt(address string) string {
	found := ""
	for name, a := range p.opts.Nodes() {
		if a != address {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}

// keepAlive notices a vanished host within half a minute.
func keepAlive(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second,
			Interval: 5 * time.Second, Count: 3})
	}
}
