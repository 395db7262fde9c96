package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	tunnelPath     = "/v1/tunnel"
	tunnelProtocol = "resilver-tunnel/1"
	backupPath     = "/v1/backup"
	backupProtocol = "resilver-backup/1"
	headerCluster  = "Resilver-Cluster-Id"
	headerToken    = "Resilver-Token"
	headerTool     = "Resilver-Tool"
	headerParallel = "Resilver-Parallel"
	// admitTimeout bounds how long a donor may take to open a tunnel: it waits
	// for its raft to apply the token, and for its mysqld to answer.
	admitTimeout = answerTimeout
)

// TunnelRequest is who asks for a tunnel to this node's mysqld, and under
// which lease.
type TunnelRequest struct {
	Caller    string // node name from the certificate
	ClusterID string
	Token     uint64
}

// BackupRequest is who asks for the stream of a backup, and under which lease.
// What runs is chosen by name, how by numbers.
type BackupRequest struct {
	TunnelRequest
	Tool     string // one of the donor's; it is refused where the donor has no such
	Parallel int    // threads wanted, 0: as the donor likes
}

// maxParallel is more than anybody needs.
const maxParallel = 1024

// upgrading is one kind of byte stream beside the API.
type upgrading struct {
	path, protocol string
	admit          func(ctx context.Context, h *Handlers, r *http.Request, lease TunnelRequest) (func(context.Context, net.Conn), error)
}

var tunnelling = upgrading{tunnelPath, tunnelProtocol,
	func(ctx context.Context, h *Handlers, _ *http.Request, lease TunnelRequest) (func(context.Context, net.Conn), error) {
		return h.Tunnel(ctx, lease)
	}}

var backingUp = upgrading{backupPath, backupProtocol,
	func(ctx context.Context, h *Handlers, r *http.Request, lease TunnelRequest) (func(context.Context, net.Conn), error) {
		parallel, err := strconv.Atoi(r.Header.Get(headerParallel))
		tool := r.Header.Get(headerTool)
		if err != nil || parallel < 0 || parallel > maxParallel || checkName("tool", tool) != nil {
			return nil, fmt.Errorf("%w: want %s and %s", errBadRequest, headerTool, headerParallel)
		}
		if h.Backup == nil {
			return nil, errors.New("this node gives no backups")
		}
		return h.Backup(ctx, BackupRequest{TunnelRequest: lease, Tool: tool, Parallel: parallel})
	}}

// upgrade answers a request to upgrade: admitted first, then opened.
func (s *apiServer) upgrade(w http.ResponseWriter, r *http.Request, u upgrading) {
	if !s.enter() {
		s.refuse(w, r, fmt.Errorf("too many requests at once: %w", errNotReady))
		return
	}
	defer s.leave()
	serve, err := s.admit(r, u)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	// From here on serve has to be called, with a dead connection if need be:
	// it holds what was opened for the stream.
	conn, err := hijack(w, u.protocol)
	if err != nil {
		s.log.Warn("open a stream", "caller", caller(r), "path", u.path, "err", err)
		conn = deadConn()
	}
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	defer s.streaming()()
	serve(s.ctx, conn)
}

func (s *apiServer) admit(r *http.Request, u upgrading) (func(context.Context, net.Conn), error) {
	handlers := s.handlers.Load()
	if handlers == nil {
		return nil, errNotReady
	}
	token, err := strconv.ParseUint(r.Header.Get(headerToken), 10, 64)
	cluster := r.Header.Get(headerCluster)
	if err != nil || cluster == "" || r.Header.Get("Upgrade") != u.protocol {
		return nil, fmt.Errorf("%w: want an upgrade to %s with %s and %s", errBadRequest, u.protocol,
			headerCluster, headerToken)
	}
	ctx, cancel := context.WithTimeout(r.Context(), admitTimeout)
	defer cancel()
	return u.admit(ctx, handlers, r, TunnelRequest{Caller: caller(r), ClusterID: cluster, Token: token})
}

// hijack takes the connection from net/http and answers the upgrade.
func hijack(w http.ResponseWriter, protocol string) (net.Conn, error) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	api, ok := conn.(*apiConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("take over the connection: it is a %T", conn), conn.Close())
	}
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("answer the upgrade: %w", err), abort(conn))
	}
	_ = conn.SetDeadline(time.Time{})
	return newTunnelConn(api.Conn, buf.Reader), nil
}

// deadConn is a connection that ended already.
func deadConn() net.Conn {
	a, b := net.Pipe()
	_ = b.Close()
	_ = a.Close()
	return a
}

// Tunnel opens a byte stream to the named node's mysqld under a lease. A node
// whose raft has not applied the token in time answers watchdog.ErrTokenAhead,
// one that knows another lease watchdog.ErrTokenStale. The connection knows
// CloseWrite.
func (c *Client) Tunnel(ctx context.Context, node, clusterID string, token uint64) (net.Conn, error) {
	conn, err := c.open(ctx, node, tunnelling, leaseHeaders(clusterID, token))
	if err != nil {
		return nil, fmt.Errorf("open a tunnel to %s: %w", node, err)
	}
	return conn, nil
}

// Backup asks the named node for the stream of a backup that the named tool
// makes there, in so many threads (0: as that node likes). Its errors and its
// connection are those of Tunnel.
func (c *Client) Backup(ctx context.Context, node, clusterID string, token uint64, tool string, parallel int) (net.Conn, error) {
	headers := leaseHeaders(clusterID, token)
	headers[headerTool], headers[headerParallel] = tool, strconv.Itoa(parallel)
	conn, err := c.open(ctx, node, backingUp, headers)
	if err != nil {
		return nil, fmt.Errorf("open a backup stream of %s: %w", node, err)
	}
	return conn, nil
}

func leaseHeaders(clusterID string, token uint64) map[string]string {
	return map[string]string{headerCluster: clusterID, headerToken: strconv.FormatUint(token, 10)}
}

func (c *Client) open(ctx context.Context, node string, u upgrading, headers map[string]string) (net.Conn, error) {
	address, err := c.addressOf(node)
	if err != nil {
		return nil, err
	}
	conn, err := c.port.dial(ctx, protoPeer, address, node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, admitTimeout+5*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = abort(conn) })
	head := bufio.NewReaderSize(conn, 4096)
	err = ask(conn, head, node, u, headers)
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		_ = abort(conn)
		return nil, err
	}
	t := newTunnelConn(conn, head)
	if !c.keep(t) {
		_ = abort(conn)
		return nil, errPortClosed
	}
	return t, nil
}

// ask asks for a stream and reads the answer; the connection has the deadline.
func ask(conn net.Conn, head *bufio.Reader, node string, u upgrading, headers map[string]string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+node+u.path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", u.protocol)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(head, req)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	return readProblem(node, resp)
}

// readProblem turns an answer that is an error into a *RemoteError.
func readProblem(node string, resp *http.Response) error {
	var p problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err != nil {
		p = problem{}
	}
	return remoteError(node, resp.StatusCode, p)
}
