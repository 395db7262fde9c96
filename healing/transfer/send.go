package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// partingTime is how long a sender tries to say why a stream ends.
const partingTime = 5 * time.Second

// SendOptions are a producer and what its stream must keep to.
type SendOptions struct {
	// From is what the producer writes.
	From io.Reader
	// Finish is called once at the end of From, and says whether the producer
	// ended well: only then the stream gets its trailer.
	Finish func() error
	// Pace is called before n bytes of data are written, and ends the stream
	// with its error; nil: nobody is asked. Fence.Pace is one.
	Pace func(ctx context.Context, n int) error
	// Count is told of the bytes of data sent; nil: nobody is.
	Count func(n int64)
	// Total is how many bytes are expected in all, for display; 0: unknown.
	Total int64
	// Stall is how long one write may take; 0: as long as ctx lives.
	Stall time.Duration
}

// Send writes the producer's bytes to w as one stream that proves its own end.
// Where the producer, Pace or ctx says no, the stream ends with one line of
// text instead, which the receiver takes for an error; so does it where that
// line cannot be sent either. It closes nothing.
func Send(ctx context.Context, w io.Writer, o SendOptions) error {
	if o.From == nil || o.Finish == nil {
		return errors.New("send a stream: want From and Finish")
	}
	line := &deadlineWriter{w: w, stall: o.Stall}
	stop := context.AfterFunc(ctx, func() { line.interrupt(); interruptRead(o.From) })
	defer stop()
	frames, err := greet(line)
	if err != nil {
		return fmt.Errorf("send a stream: %w", because(ctx, err))
	}
	if err = o.run(ctx, frames); err == nil {
		err = frames.small(kindTrailer, frames.seal.trailer())
	}
	if err == nil && stop() {
		return nil
	}
	// A context that ended in this very moment has ended the stream: what
	// came of the trailer is not known.
	err = because(ctx, err)
	line.part()
	_ = frames.small(kindError, []byte(oneLine(err.Error())))
	return fmt.Errorf("send a stream: %w", err)
}

// run sends everything but the last frame.
func (o *SendOptions) run(ctx context.Context, frames *frameWriter) error {
	if o.Total > 0 {
		if err := frames.small(kindTotal, binary.BigEndian.AppendUint64(nil, uint64(o.Total))); err != nil {
			return err
		}
	}
	buf := make([]byte, headerSize+bufferSize)
	for {
		n, err := o.From.Read(buf[headerSize:])
		if n > 0 {
			if err := o.data(ctx, frames, buf[:headerSize+n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return o.Finish()
		case err != nil:
			return fmt.Errorf("read the producer: %w", err)
		}
	}
}

func (o *SendOptions) data(ctx context.Context, frames *frameWriter, buf []byte) error {
	n := len(buf) - headerSize
	if o.Pace != nil {
		if err := o.Pace(ctx, n); err != nil {
			return err
		}
	}
	if err := frames.frame(kindData, buf); err != nil {
		return err
	}
	if o.Count != nil {
		o.Count(int64(n))
	}
	return nil
}

// because puts the reason for which ctx ended before what came of it.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil || errors.Is(err, cause):
		return err
	case err == nil:
		return cause
	}
	return fmt.Errorf("%w (%w)", cause, err)
}
