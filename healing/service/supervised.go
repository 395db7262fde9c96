package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Supervised is the mysqld of a Supervisor, reached through its socket.
type Supervised struct{ Socket string }

// The longest that each call takes, whatever the caller's deadline.
const (
	askTimeout = 30 * time.Second
	endTimeout = 30 * time.Minute // a clean shutdown of a large server
)

// Status asks the supervisor.
func (s Supervised) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	st, err := s.call(ctx, http.MethodGet, "status", nil)
	if err != nil {
		return Status{}, fmt.Errorf("ask the supervisor: %w", err)
	}
	return st, nil
}

// Person says whether somebody has shut mysqld down.
func (s Supervised) Person(ctx context.Context) (at bool, reason string, err error) {
	st, err := s.Status(ctx)
	switch {
	case err != nil:
		return false, "", err
	case st.Left == nil && !st.Running:
		return false, "", errors.New("the supervisor is older than the sidecar and cannot tell whether somebody shut mysqld down: restart it")
	case st.Left == nil || !*st.Left:
		return false, "", nil
	}
	return true, "it was shut down, and not started again", nil
}

// Hold tells the supervisor not to start mysqld.
func (s Supervised) Hold(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := s.call(ctx, http.MethodPost, "hold", nil); err != nil {
		return fmt.Errorf("hold mysqld: %w", err)
	}
	return nil
}

// End has the supervisor end its child, if that is p, and waits until it is
// gone.
func (s Supervised) End(ctx context.Context, p *Process, how How) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if _, err := s.call(ctx, http.MethodPost, "stop", stopRequest{PID: p.PID, Ticks: p.Ticks, How: how}); err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	if err := p.Gone(ctx); err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	if err := p.removeSockets(ctx); err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	return nil
}

// Start lifts the hold. A start guard that refuses gives ErrRefused; the
// supervisor then goes on asking it, and starts mysqld once it agrees.
func (s Supervised) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := s.call(ctx, http.MethodPost, "start", nil); err != nil {
		return fmt.Errorf("start mysqld: %w", err)
	}
	return nil
}

// Wake starts a mysqld that somebody has shut down, for a person; one that
// runs is let be. One that the sidecar holds is not started: ErrRefused.
func (s Supervised) Wake(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	st, err := s.call(ctx, http.MethodPost, "wake", nil)
	if err != nil {
		return Status{}, fmt.Errorf("start mysqld: %w", err)
	}
	return st, nil
}

func (s Supervised) call(ctx context.Context, method, op string, in any) (Status, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return Status{}, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervise/v1/"+op, body)
	if err != nil {
		return Status{}, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.Socket)
		},
	}}
	res, err := client.Do(req)
	if err != nil {
		var call *url.Error
		if errors.As(err, &call) { // its words name a request that is nobody's business
			err = call.Err
		}
		if ctx.Err() != nil {
			return Status{}, err
		}
		return Status{}, fmt.Errorf("%w: %w; is `resilver supervise` running, with this state_dir?", ErrUnreachable, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return Status{}, err
	}
	if res.StatusCode != http.StatusOK {
		return Status{}, wireFailure(res.StatusCode, data)
	}
	var st Status
	if err := json.Unmarshal(data, &st); err != nil {
		return Status{}, fmt.Errorf("read the supervisor's answer: %w", err)
	}
	return st, nil
}

// remoteError is an error that crossed the socket, with its kind.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func wireFailure(code int, data []byte) error {
	var w wireError
	if err := json.Unmarshal(data, &w); err != nil || w.Error == "" {
		return fmt.Errorf("the supervisor answered with HTTP status %d", code)
	}
	switch w.Code {
	case "refused":
		return &remoteError{text: w.Error, kind: ErrRefused}
	case "other-process":
		return &remoteError{text: w.Error, kind: ErrOtherProcess}
	}
	return errors.New(w.Error)
}
