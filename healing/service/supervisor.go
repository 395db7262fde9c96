package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// SupervisorOptions make a Supervisor.
type SupervisorOptions struct {
	Command    []string            // mysqld by its absolute path, and its arguments; it must not detach itself
	Env        []string            // of mysqld; MYSQLD_PARENT_PID is added, so that RESTART works
	Credential *syscall.Credential // of mysqld, see RunAs; nil: as this process
	Socket     string              // path of the API's unix socket
	// Guard is asked before every start and has ten seconds. An error refuses:
	// it is asked again every second, and nothing is started.
	Guard       func(context.Context) error
	Stdout      *os.File // of mysqld; nil: nowhere
	Stderr      *os.File
	StopTimeout time.Duration // how long mysqld may take to shut down before it is killed, when the supervisor ends
	Logger      *slog.Logger
}

// Supervisor owns one mysqld as its child: it starts it, restarts it when it
// dies or asks for it (exit status 16), and ends it when asked to. A mysqld
// that was shut down cleanly by somebody else stays down until Start. It
// outlives the sidecar, which talks to it through Supervised.
//
// When the supervisor itself is killed, its mysqld is killed with it by the
// kernel: no mysqld is ever left that nobody manages and that the start guard
// was not asked for. InnoDB recovers from that like from any crash.
type Supervisor struct {
	o        SupervisorOptions
	requests chan request
	closed   chan struct{} // closed when the loop no longer takes requests

	// Times that tests shorten.
	quick, backoffMin, backoffMax, refusedPause time.Duration

	// Owned by the loop.
	child    *child
	want     want
	deaths   int
	lastExit string
	refused  string
	stopping bool         // asked to end the child
	ended    []chan reply // answered when the child is reaped
	again    *time.Timer  // the next attempt to start
}

// want is what the loop is to do about a child that does not run.
type want string

const (
	wantRun  want = "run"
	wantHeld want = "held" // by a request
	wantDown want = "down" // it shut down by itself: a person did it
)

// request is one call of the API, reply its answer.
type request struct {
	op    string // status | hold | stop | start | wake
	stop  stopRequest
	reply chan reply
}

type reply struct {
	status Status
	err    error
}

// stopRequest names the process to be ended as the caller identified it.
type stopRequest struct {
	PID   int    `json:"pid"`
	Ticks uint64 `json:"ticks"`
	How   How    `json:"how"`
}

const (
	guardTimeout = 10 * time.Second
	killTimeout  = 30 * time.Second // for the kernel to end a killed process
)

var errEnding = errors.New("the supervisor is ending")

// NewSupervisor checks the options; Run does the work.
func NewSupervisor(o SupervisorOptions) (*Supervisor, error) {
	switch {
	case checkCommand(o.Command) != nil:
		return nil, fmt.Errorf("make supervisor: %w", checkCommand(o.Command))
	case o.Socket == "":
		return nil, errors.New("make supervisor: no socket")
	case o.Guard == nil:
		return nil, errors.New("make supervisor: no start guard")
	case o.StopTimeout <= 0:
		return nil, errors.New("make supervisor: the stop timeout is not positive")
	case o.Logger == nil:
		return nil, errors.New("make supervisor: no logger")
	}
	return &Supervisor{
		o: o, requests: make(chan request), closed: make(chan struct{}), want: wantRun,
		quick: time.Minute, backoffMin: time.Second, backoffMax: 30 * time.Second, refusedPause: time.Second,
	}, nil
}

// Run serves the API and keeps mysqld running until ctx ends; then it shuts
// mysqld down, waits until it is reaped, and returns nil. It runs once.
func (s *Supervisor) Run(ctx context.Context) error {
	api, err := s.listen()
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		defer cancel() // without its API the supervisor is of no use
		served <- api.serve()
	}()
	err = s.loop(ctx)
	close(s.closed)
	api.close()
	if serveErr := <-served; serveErr != nil {
		err = errors.Join(err, fmt.Errorf("supervise: serve: %w", serveErr))
	}
	return err
}

// loop owns the child and all state.
func (s *Supervisor) loop(ctx context.Context) error {
	s.again = time.NewTimer(0)
	defer s.again.Stop()
	for {
		var done chan death
		if s.child != nil {
			done = s.child.done
		}
		select {
		case <-ctx.Done():
			return s.shutdown()
		case r := <-s.requests:
			s.handle(ctx, r)
		case d := <-done:
			s.died(d)
		case <-s.again.C:
			if s.want == wantRun && s.child == nil {
				_ = s.start(ctx) // logged, counted, and tried again
			}
		}
	}
}
