package method

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"resilver/healing/transfer"
)

// lastWords is how long a program that closed its input gets to say why.
const lastWords = 2 * time.Second

var errUnpackEnded = errors.New("ended before its input did")

// unpack feeds the stream to the unpacking program. Its input is closed, which
// it takes for the end of a good stream whatever came (R22), only once the
// stream was proved whole.
func (p *Physical) unpack(ctx context.Context, conn net.Conn, program string, job Job, report func(done, total int64)) (int64, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = w.Close() }()
	widen(w)
	argv := []string{program, "-x", "-C", job.Staging}
	if p.o.Parallel > 1 {
		argv = append(argv, "-p", strconv.Itoa(p.o.Parallel))
	}
	c, err := startChild(childOptions{argv: argv, uid: job.Program.UID, gid: job.Program.GID, stdin: r})
	_ = r.Close()
	if err != nil {
		return 0, err
	}
	n, err := p.feed(ctx, conn, w, c, report)
	if err != nil {
		return 0, p.failed(c, err)
	}
	if err := w.Close(); err != nil {
		return 0, errors.Join(fmt.Errorf("unpack: %w", err), c.end())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, endTimeout, fmt.Errorf("%s did not end within %s of its last byte", program, endTimeout))
	defer cancel()
	if err := c.wait(ctx); err != nil {
		return 0, err
	}
	// It has nothing to say where all is well, and ends with status 0 also
	// where it stopped at a file's name that it did not like.
	if said := c.log.reason(); said != "" {
		return 0, &ToolError{Program: program, Err: errors.New("ended with status 0, but complained"), Said: said}
	}
	return n, nil
}

// feed receives into the program for as long as it lives.
func (p *Physical) feed(ctx context.Context, conn net.Conn, w *os.File, c *child, report func(done, total int64)) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.done:
			cancel(errUnpackEnded)
		case <-ctx.Done():
		}
	}()
	n, err := transfer.Receive(ctx, conn, transfer.ReceiveOptions{To: w, Progress: report, Stall: p.o.StallTimeout})
	cancel(nil)
	<-watched
	return n, err
}

// failed ends the program. One that went first says why; what came of that to
// the stream says nothing.
func (p *Physical) failed(c *child, err error) error {
	first := errors.Is(err, errUnpackEnded) || errors.Is(err, syscall.EPIPE)
	if first {
		select {
		case <-c.done:
		case <-time.After(lastWords):
		}
	}
	gone := c.end()
	var stall *transfer.StallError
	switch {
	case first && gone == nil && c.err != nil:
		err = &ToolError{Program: c.name, Err: c.err, Said: c.log.reason()}
	case first:
		err = &ToolError{Program: c.name, Err: errUnpackEnded, Said: c.log.reason()}
	case errors.As(err, &stall):
		err = &StallError{After: stall.After}
	}
	return errors.Join(err, gone)
}
