package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"resilver/watchdog"
)

// Code says what kind of no an Error is.
type Code string

// The codes, the same on the wire.
const (
	CodeUsage    Code = "usage"     // the request makes no sense, such as an unknown node
	CodeDenied   Code = "denied"    // the caller may not
	CodeRefused  Code = "refused"   // a guard says no
	CodeNoQuorum Code = "no-quorum" // nothing is known, try again
	CodeTimeout  Code = "timeout"
	CodeBusy     Code = "busy" // too many requests at once
	CodeFailed   Code = "failed"
)

// Error is a no, from a Daemon to the server, over the wire, and from a
// Client to its caller.
type Error struct {
	Code    Code                 `json:"code"`
	Message string               `json:"error"`
	Guards  List[watchdog.Guard] `json:"guards"` // those that do not pass, where refused
}

func (e *Error) Error() string { return e.Message }

func (e *Error) guardIDs() []string {
	ids := make([]string, len(e.Guards))
	for i, g := range e.Guards {
		ids[i] = g.ID
	}
	return ids
}

// Refuse returns the refusal by the guards that do not pass.
func Refuse(guards []watchdog.Guard) *Error {
	failing := watchdog.Failing(guards)
	texts := make([]string, len(failing))
	for i, g := range failing {
		texts[i] = g.ID + ": " + g.Reason
	}
	noun := "guard"
	if len(failing) > 1 {
		noun = "guards"
	}
	return &Error{Code: CodeRefused, Guards: failing,
		Message: fmt.Sprintf("refused by %d %s: %s", len(failing), noun, strings.Join(texts, "; "))}
}

// Usage returns a complaint about the request itself.
func Usage(format string, args ...any) *Error {
	return &Error{Code: CodeUsage, Message: fmt.Sprintf(format, args...)}
}

// errorOf finds the Error in what a Daemon returned.
func errorOf(err error) *Error {
	var known *Error
	var refusal *watchdog.Refusal
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &refusal):
		return &Error{Code: CodeRefused, Message: refusal.Error(), Guards: List[watchdog.Guard]{
			{ID: refusal.Guard, Verdict: watchdog.Fail, Reason: refusal.Reason}}}
	case errors.Is(err, watchdog.ErrNoQuorum):
		return &Error{Code: CodeNoQuorum, Message: err.Error(), Guards: List[watchdog.Guard]{
			{ID: "lease", Verdict: watchdog.Unknown, Want: "a raft leader", Reason: err.Error()}}}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Message: err.Error()}
	}
	return &Error{Code: CodeFailed, Message: err.Error()}
}

// httpStatus is the only place that turns an Error into HTTP.
func (e *Error) httpStatus() int {
	switch e.Code {
	case CodeUsage:
		return http.StatusBadRequest
	case CodeDenied:
		return http.StatusForbidden
	case CodeRefused:
		return http.StatusConflict
	case CodeNoQuorum, CodeBusy:
		return http.StatusServiceUnavailable
	case CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
