package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// bufferSize of each direction. One end is always TLS, so there is nothing to
// splice; with buffers of this size a relay was as fast as no relay.
const bufferSize = 256 << 10

// flow is one direction of a joined pair of connections.
type flow struct {
	dst, src net.Conn
	// before runs before each write of n bytes, and ends the stream with its
	// error.
	before func(ctx context.Context, n int) error
	// count is told of each write.
	count func(n int64)
	chunk int // largest write, in bytes; 0: bufferSize
}

// join copies both ways until both sources ended, one direction failed, or ctx
// ended; then both connections are closed. The end of one source is passed on
// as a half-close while the other direction goes on.
func join(ctx context.Context, flows [2]flow) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	closeBoth := func() {
		_ = flows[0].src.Close()
		_ = flows[0].dst.Close()
	}
	stop := context.AfterFunc(ctx, closeBoth)
	defer closeBoth()
	defer stop()
	var wg sync.WaitGroup
	for _, f := range flows {
		wg.Go(func() {
			if err := f.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// run copies until the source ends.
func (f *flow) run(ctx context.Context) error {
	size := bufferSize
	if f.chunk > 0 {
		size = min(size, f.chunk)
	}
	buf := make([]byte, size)
	for {
		n, err := readFull(f.src, buf)
		if n > 0 {
			if err := f.write(ctx, buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return closeWrite(f.dst)
		case err != nil:
			return fmt.Errorf("read a stream: %w", err)
		}
	}
}

// readFull reads once, and on while more is there without waiting: a stream
// in pieces of 16 KiB, TLS' records, is dearer than one in large ones.
func readFull(src io.Reader, buf []byte) (int, error) {
	n, err := src.Read(buf)
	more, ok := src.(interface{ Ready() bool })
	for ok && err == nil && n < len(buf) && more.Ready() {
		var m int
		m, err = src.Read(buf[n:])
		n += m
	}
	return n, err
}

func (f *flow) write(ctx context.Context, b []byte) error {
	if f.before != nil {
		if err := f.before(ctx, len(b)); err != nil {
			return err
		}
	}
	n, err := f.dst.Write(b)
	if n > 0 && f.count != nil {
		f.count(int64(n))
	}
	if err != nil {
		return fmt.Errorf("write a stream: %w", err)
	}
	return nil
}

// closeWrite passes the end of a stream on. An end that is gone already needs
// no telling.
func closeWrite(c net.Conn) error {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("end a stream: a %T cannot be half-closed", c)
	}
	if err := half.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) && !isNotConnected(err) {
		return fmt.Errorf("end a stream: %w", err)
	}
	return nil
}

// since is the time gone by since t, by whichever of the two clocks says more:
// the monotonic clock stands still while a machine is suspended, and the wall
// clock can be set back.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
