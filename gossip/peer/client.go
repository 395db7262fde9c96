package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"resilver/watchdog"
)

var _ watchdog.Peers = (*Client)(nil)

// Client asks other sidecars over their ports. Every request without a
// deadline of its own gets one.
type Client struct {
	port   *Port
	byNode *http.Client // the host of a URL is a node's name
	byAddr *http.Client // the host of a URL is a peer address

	mu      sync.Mutex
	closed  bool
	tunnels map[*tunnelConn]struct{}
}

func newClient(p *Port) *Client {
	c := &Client{port: p, tunnels: map[*tunnelConn]struct{}{}}
	c.byNode = httpClient(func(ctx context.Context, host string) (net.Conn, error) {
		node := strings.TrimSuffix(host, ":80")
		address, err := c.addressOf(node)
		if err != nil {
			return nil, err
		}
		return plain(p.dial(ctx, protoPeer, address, node))
	})
	c.byAddr = httpClient(func(ctx context.Context, host string) (net.Conn, error) {
		return plain(p.dial(ctx, protoPeer, host, ""))
	})
	return c
}

// plain turns a nil *tls.Conn into a nil net.Conn.
func plain[C net.Conn](c C, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

func httpClient(dial func(ctx context.Context, host string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            func(ctx context.Context, _, host string) (net.Conn, error) { return dial(ctx, host) },
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 16 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// addressOf is the peer address of a node.
func (c *Client) addressOf(node string) (string, error) {
	address := c.port.opts.Nodes()[node]
	if address == "" {
		return "", fmt.Errorf("no node %q is known by gossip", node)
	}
	return address, nil
}

// State asks the named node to probe its mysqld now (watchdog.Peers).
func (c *Client) State(ctx context.Context, node string) (watchdog.PeerState, error) {
	var out watchdog.PeerState
	body, err := c.do(ctx, c.byNode, http.MethodGet, node, "/v1/state", nil)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err != nil {
		return watchdog.PeerState{}, fmt.Errorf("ask %s for its state: %w", node, err)
	}
	return out, nil
}

// Objects asks the named node for what was made by SQL there (watchdog.Peers).
func (c *Client) Objects(ctx context.Context, node string) ([]string, error) {
	var out inventory
	body, err := c.do(ctx, c.byNode, http.MethodGet, node, "/v1/objects", nil)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err == nil && len(out.Objects) == 0 {
		err = errors.New("the answer has none") // there is always an account
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for its objects: %w", node, err)
	}
	return out.Objects, nil
}

// GTIDSubtract asks the named node's server for a minus b (watchdog.Peers).
func (c *Client) GTIDSubtract(ctx context.Context, node, a, b string) (string, error) {
	out := subtraction{A: a, B: b}
	if err := c.compute(ctx, node, "/v1/gtid-subtract", &out); err != nil {
		return "", fmt.Errorf("ask %s to subtract GTID sets: %w", node, err)
	}
	return out.Result, nil
}

// GTIDBeyond asks the named node's server for the errant rule (watchdog.Peers).
func (c *Client) GTIDBeyond(ctx context.Context, node, set string, id uint32, primary watchdog.Observation) (string, error) {
	out := comparison{Set: set, ServerID: id, Executed: primary.Executed, Replicated: primary.Replicated}
	if err := c.compute(ctx, node, "/v1/gtid-beyond", &out); err != nil {
		return "", fmt.Errorf("ask %s to compare with the primary's GTID set: %w", node, err)
	}
	return out.Result, nil
}

// compute sends a question about GTID sets and reads the answer into it.
func (c *Client) compute(ctx context.Context, node, path string, question any) error {
	req, err := json.Marshal(question)
	if err != nil {
		return err
	}
	body, err := c.do(ctx, c.byNode, http.MethodPost, node, path, req)
	if err != nil {
		return err
	}
	var answer struct {
		Result *string `json:"result"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if answer.Result == nil {
		return errors.New("the answer has no result") // never taken for no difference
	}
	return json.Unmarshal(body, question)
}

// Checksums asks the named node for checksums of its tables, under the lease.
func (c *Client) Checksums(ctx context.Context, node string, order watchdog.ChecksumOrder) (watchdog.Checksums, error) {
	var out watchdog.Checksums
	req, err := json.Marshal(order)
	if err != nil {
		return out, err
	}
	body, err := c.do(ctx, c.byNode, http.MethodPost, node, "/v1/checksums", req)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err == nil && !order.Tables && out.Position == "" {
		err = errors.New("the answer has no position")
	}
	if err != nil {
		return watchdog.Checksums{}, fmt.Errorf("ask %s for checksums: %w", node, err)
	}
	return out, nil
}

// Call sends a request of the lease's own protocol to the node at a peer
// address. It may arrive twice, so its body must carry a request id; after an
// error its outcome is unknown.
func (c *Client) Call(ctx context.Context, peerAddress string, body []byte) ([]byte, error) {
	out, err := c.do(ctx, c.byAddr, http.MethodPost, peerAddress, "/v1/lease", body)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", peerAddress, err)
	}
	return out, nil
}

func (c *Client) do(ctx context.Context, client *http.Client, method, host, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout+5*time.Second)
	defer cancel()
	defer context.AfterFunc(c.port.ctx, cancel)()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// Lets net/http send it again where a kept connection turns out dead.
	req.Header.Set("Idempotency-Key", "-")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, readProblem(host, resp)
	}
	out, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(out) > maxAnswer {
		return nil, fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	}
	return out, nil
}

// keep registers a tunnel so that it ends with the port.
func (c *Client) keep(t *tunnelConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	end := c.port.opts.Streaming()
	t.onClose = func() {
		end()
		c.mu.Lock()
		delete(c.tunnels, t)
		c.mu.Unlock()
	}
	c.tunnels[t] = struct{}{}
	return true
}

func (c *Client) close() {
	c.mu.Lock()
	c.closed = true
	open := make([]*tunnelConn, 0, len(c.tunnels))
	for t := range c.tunnels {
		open = append(open, t)
	}
	c.mu.Unlock()
	for _, t := range open {
		_ = t.Close()
	}
	c.byNode.CloseIdleConnections()
	c.byAddr.CloseIdleConnections()
}
