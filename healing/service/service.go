package service

import (
	"context"
	"errors"
)

// How a server is ended.
type How string

// The ways. A killed server recovers when it is started again; its datadir is
// set aside and need not be flushed.
const (
	Kill     How = "kill"     // SIGKILL
	Shutdown How = "shutdown" // SIGTERM, or the manager's own stop
)

// Errors to branch on.
var (
	// ErrNotRunning means that no witness knows of a running server.
	ErrNotRunning = errors.New("mysqld is not running")
	// ErrUnsure means that the witnesses disagree, are too few or cannot tell.
	ErrUnsure = errors.New("mysqld cannot be identified")
	// ErrRefused means that the start guard does not let mysqld start.
	ErrRefused = errors.New("the start guard refused")
	// ErrOtherProcess means that the manager runs another process than the
	// one that was to be ended; nothing was ended.
	ErrOtherProcess = errors.New("the manager runs another process")
	// ErrUnreachable means that no supervisor answers at its socket.
	ErrUnreachable = errors.New("the supervisor cannot be reached")
	// ErrGoingDown means that the machine is shutting down: its manager ends
	// mysqld and starts nothing any more.
	ErrGoingDown = errors.New("the machine is going down")
)

// Status is what the manager says of its server.
type Status struct {
	Managed string `json:"managed"` // supervise | command | systemd
	Running bool   `json:"running"`
	PID     int    `json:"pid"` // 0: not running, or the manager does not say
	// Held says that the manager will not start mysqld until Start is called.
	Held bool `json:"held"`
	// Left says that somebody shut mysqld down, so that it stays down until
	// Start; only a supervisor can tell, and nil is one too old to.
	Left *bool `json:"left"`
	// Refused is why the start guard keeps mysqld from starting now.
	Refused string `json:"refused"`
	// Deaths counts, since Start, how often in a row mysqld died before it had
	// run for a minute.
	Deaths int `json:"deaths"`
	// LastExit says how the last process ended.
	LastExit string `json:"last_exit"`
	// GaveUp says that mysqld died and its manager will not start it again by
	// itself. A supervisor never gives up.
	GaveUp bool `json:"gave_up"`
}

// Service is the manager of this node's mysqld.
type Service interface {
	// Status fails with ErrGoingDown where the manager says so.
	Status(ctx context.Context) (Status, error)
	// Hold makes sure that mysqld, once it has ended, is not started again
	// before Start. It does not end a running one.
	Hold(ctx context.Context) error
	// End holds, ends exactly process p, and returns when it is gone and
	// reaped and its sockets are removed. On an error it may still run; then
	// the hold stays, and Start lifts it.
	End(ctx context.Context, p *Process, how How) error
	// Start lifts the hold and returns when the process exists, which is long
	// before it answers. It does nothing more where mysqld runs already.
	Start(ctx context.Context) error
}
