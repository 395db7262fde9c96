package transfer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"
)

// ReceiveOptions are where a stream goes and how long it may stand still.
type ReceiveOptions struct {
	// To gets the data. It must not be believed before Receive returns nil.
	To io.Writer
	// Progress is told how much has come and how much is expected, 0 for
	// unknown; nil: nobody is.
	Progress func(done, total int64)
	// Stall is how long no byte of data may come, or go; 0: as long as ctx lives.
	Stall time.Duration
}

// StallError is a stream in which no byte of data moved for too long.
type StallError struct{ After time.Duration }

func (e *StallError) Error() string {
	return fmt.Sprintf("the stream stalled: not a byte for %s", e.After)
}

// Receive reads one stream and returns its number of bytes only where it is
// whole: every frame in its place, the trailer in agreement, nothing after it.
// Whatever else comes is an error: of the donor's own making a *DonorError,
// else one that wraps ErrTorn, unless ctx ended, it stalled (*StallError), or
// o.To refused a write. It closes nothing. r and o.To are interrupted where
// they know deadlines.
func Receive(ctx context.Context, r io.Reader, o ReceiveOptions) (int64, error) {
	if o.To == nil {
		return 0, errors.New("receive a stream: want To")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { interruptRead(r); interruptWrite(o.To) })
	defer stop()
	v := &receiving{o: o}
	watch := v.watch(cancel)
	n, err := v.run(r)
	watch()
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("receive a stream: %w", because(ctx, err))
	}
	return n, nil
}

type receiving struct {
	o     ReceiveOptions
	moved atomic.Int64 // bytes of data taken and given
}

// watch gives the stream up once nothing moved for o.Stall. The function it
// returns ends the watch.
func (v *receiving) watch(giveUp context.CancelCauseFunc) (end func()) {
	if v.o.Stall <= 0 {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(max(v.o.Stall/8, time.Millisecond))
		defer tick.Stop()
		last, since := int64(-1), time.Now()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				if moved := v.moved.Load(); moved != last {
					last, since = moved, now
				} else if now.Sub(since) >= v.o.Stall {
					giveUp(&StallError{After: v.o.Stall})
					return
				}
			}
		}
	}()
	return func() { close(done); <-gone }
}

func (v *receiving) run(r io.Reader) (int64, error) {
	in := bufio.NewReaderSize(r, bufferSize)
	frames, err := meet(in)
	if err != nil {
		return 0, err
	}
	var done, total int64
	for {
		kind, payload, err := frames.next()
		if err != nil {
			return 0, err
		}
		switch kind {
		case kindData:
			if len(payload) == 0 {
				return 0, torn("frame %d carries nothing", frames.seal.number-1)
			}
			frames.seal.add(payload)
			v.moved.Add(1) // the line moves, whatever becomes of the bytes
			if _, err := v.o.To.Write(payload); err != nil {
				return 0, fmt.Errorf("write what came: %w", err)
			}
			v.moved.Add(1)
			done += int64(len(payload))
		case kindTotal:
			if len(payload) != 8 {
				return 0, torn("its estimate has %d bytes", len(payload))
			}
			total = int64(min(binary.BigEndian.Uint64(payload), math.MaxInt64))
		case kindError:
			return 0, &DonorError{Text: oneLine(string(payload))}
		case kindTrailer:
			return done, v.end(in, frames.seal, payload)
		default:
			return 0, torn("frame %d is of no known kind", frames.seal.number-1)
		}
		if v.o.Progress != nil {
			v.o.Progress(done, max(total, done))
		}
	}
}

// end holds the trailer against what came, and wants nothing after it.
func (v *receiving) end(in *bufio.Reader, s *seal, trailer []byte) error {
	if len(trailer) != trailerSize || !bytes.Equal(trailer, s.trailer()) {
		return torn("its trailer does not match the %d bytes that came", s.bytes)
	}
	if s.bytes == 0 {
		return torn("it is empty")
	}
	switch _, err := in.ReadByte(); {
	case err == nil:
		return torn("there are bytes after its end")
	case !errors.Is(err, io.EOF):
		return torn("its end is not the end: %w", err)
	}
	return nil
}
