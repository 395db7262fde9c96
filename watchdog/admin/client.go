package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"resilver/watchdog"
)

// maxAnswer bounds what a Client reads, in bytes.
const maxAnswer = 32 << 20

// Unreachable means that no daemon answers at the socket.
type Unreachable struct {
	Socket string
	Err    error
}

func (e *Unreachable) Unwrap() error { return e.Err }

func (e *Unreachable) Error() string {
	cure := "is `resilver run` running there?"
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("the daemon cannot be reached: there is no %s; start `resilver run`, or name its socket with --socket", e.Socket)
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("the daemon cannot be reached: nobody listens at %s any more; start `resilver run`", e.Socket)
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("the daemon cannot be reached: %s is closed to this user; use root, or join the group of its directory", e.Socket)
	}
	return fmt.Sprintf("the daemon cannot be reached at %s: %v; %s", e.Socket, e.Err, cure)
}

// Client asks a daemon over its admin socket. A no is an *Error, silence an
// *Unreachable. It may be used by several goroutines.
type Client struct {
	socket string
	http   *http.Client
}

// Dial connects to the daemon's socket once, to see that somebody is there.
// Later requests connect again where they have to.
func Dial(socket string) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
	}
	c, err := dial(context.Background(), "", "")
	if err != nil {
		return nil, &Unreachable{Socket: socket, Err: err}
	}
	_ = c.Close()
	return &Client{socket: socket, http: &http.Client{
		Transport: &http.Transport{DialContext: dial, IdleConnTimeout: 10 * time.Second, MaxIdleConns: 2,
			ResponseHeaderTimeout: weighRoute + writeTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get returns the JSON of a route that only looks, such as "status".
func (c *Client) Get(ctx context.Context, route string) (json.RawMessage, error) {
	return c.do(ctx, http.MethodGet, route, nil)
}

// Status returns the cluster as the node sees it.
func (c *Client) Status(ctx context.Context) (Status, error) { return get[Status](ctx, c, "status") }

// Plan returns what the node would do now.
func (c *Client) Plan(ctx context.Context) (Plan, error) { return get[Plan](ctx, c, "plan") }

// PlanRollback returns whether a rollback would be let begin, and where it
// would go.
func (c *Client) PlanRollback(ctx context.Context) (Plan, error) {
	return get[Plan](ctx, c, "plan?rollback")
}

// PlanWipeFirst returns whether a rebuild that wipes first would be let begin.
func (c *Client) PlanWipeFirst(ctx context.Context) (Plan, error) {
	return get[Plan](ctx, c, "plan?wipe_first")
}

// Lease returns the node's copy of the raft machine.
func (c *Client) Lease(ctx context.Context) (Lease, error) { return get[Lease](ctx, c, "lease") }

// History returns the cluster's rebuilds, newest first.
func (c *Client) History(ctx context.Context) ([]watchdog.Record, error) {
	return get[[]watchdog.Record](ctx, c, "history")
}

// Rebuild asks for a rebuild of the node, and returns with the grant.
func (c *Client) Rebuild(ctx context.Context, r RebuildRequest) (RebuildAnswer, error) {
	var out RebuildAnswer
	return out, c.post(ctx, "rebuild", r, &out)
}

// Drill asks for a drill, and returns with the grant.
func (c *Client) Drill(ctx context.Context, r RebuildRequest) (RebuildAnswer, error) {
	var out RebuildAnswer
	return out, c.post(ctx, "drill", r, &out)
}

// Backup asks for a backup, and returns with the grant.
func (c *Client) Backup(ctx context.Context, r RebuildRequest) (RebuildAnswer, error) {
	var out RebuildAnswer
	return out, c.post(ctx, "backup", r, &out)
}

// Rollback asks for the way back to the datadir that the last rebuild set
// aside, and returns with the grant.
func (c *Client) Rollback(ctx context.Context, r RebuildRequest) (RebuildAnswer, error) {
	var out RebuildAnswer
	return out, c.post(ctx, "rollback", r, &out)
}

// Cancel ends the node's rebuild.
func (c *Client) Cancel(ctx context.Context) error { return c.post(ctx, "cancel", struct{}{}, nil) }

// Pause stops new rebuilds.
func (c *Client) Pause(ctx context.Context, r PauseRequest) error {
	return c.post(ctx, "pause", r, nil)
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context, r ResumeRequest) error {
	return c.post(ctx, "resume", r, nil)
}

// Ack closes the breaker, and ends a critical lease that nobody will finish.
func (c *Client) Ack(ctx context.Context) error { return c.post(ctx, "ack", struct{}{}, nil) }

func get[T any](ctx context.Context, c *Client, route string) (T, error) {
	var out T
	raw, err := c.Get(ctx, route)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("read the daemon's %s: %w", route, err)
	}
	return out, nil
}

func (c *Client) post(ctx context.Context, route string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("ask the daemon for %s: %w", route, err)
	}
	raw, err := c.do(ctx, http.MethodPost, route, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("read the daemon's answer to %s: %w", route, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, route string, body []byte) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://resilver/v1/"+route, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the daemon for %s: %w", route, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ask the daemon for %s: %w", route, context.Cause(ctx))
		}
		return nil, &Unreachable{Socket: c.socket, Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &Unreachable{Socket: c.socket, Err: err}
	}
	if resp.StatusCode == http.StatusOK {
		return raw, nil
	}
	var e Error
	if err := json.Unmarshal(raw, &e); err != nil || e.Code == "" {
		return nil, fmt.Errorf("ask the daemon for %s: it answers %s without a reason", route, resp.Status)
	}
	return nil, &e
}
