package peer

import (
	"context"
	"errors"
	"net/http"

	"resilver/watchdog"
)

// problem is the body of an answer that is an error.
type problem struct {
	Code  string `json:"code"`
	Error string `json:"error"`
}

// meanings maps the errors that callers branch on to their place on the wire.
var meanings = []struct {
	err    error
	code   string
	status int
}{
	{watchdog.ErrTokenAhead, "token-ahead", http.StatusTooEarly},
	{watchdog.ErrTokenStale, "token-stale", http.StatusForbidden},
	{watchdog.ErrNoQuorum, "no-quorum", http.StatusServiceUnavailable},
	{watchdog.ErrTooSlow, "too-slow", http.StatusGatewayTimeout},
	{errNotReady, "not-ready", http.StatusServiceUnavailable},
	{errBadRequest, "bad-request", http.StatusBadRequest},
	{context.DeadlineExceeded, "deadline", http.StatusGatewayTimeout},
}

var (
	errNotReady   = errors.New("sidecar is starting")
	errBadRequest = errors.New("bad request")
)

// problemOf finds an error's status and wire form.
func problemOf(err error) (int, problem) {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return m.status, problem{Code: m.code, Error: err.Error()}
		}
	}
	return http.StatusInternalServerError, problem{Code: "failed", Error: err.Error()}
}

// RemoteError is another node's answer that something went wrong there. It
// unwraps to the watchdog error it stands for, where it stands for one.
type RemoteError struct {
	Node    string // name or address that was asked
	Status  int    // HTTP status
	Message string
	err     error
}

func (e *RemoteError) Error() string { return e.Node + " answered: " + e.Message }
func (e *RemoteError) Unwrap() error { return e.err }

func remoteError(node string, status int, p problem) *RemoteError {
	out := &RemoteError{Node: node, Status: status, Message: p.Error}
	if out.Message == "" {
		out.Message = http.StatusText(status)
	}
	for _, m := range meanings {
		if p.Code == m.code {
			out.err = m.err
		}
	}
	return out
}
