package transfer

import (
	"io"
	"sync"
	"time"
)

// longAgo is a deadline that has passed: it interrupts what is waiting.
var longAgo = time.Unix(1, 0)

// interruptRead ends a read under way, where the reader knows deadlines.
func interruptRead(r io.Reader) {
	if d, ok := r.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(longAgo)
	}
}

// interruptWrite ends a write under way, where the writer knows deadlines.
func interruptWrite(w io.Writer) {
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = d.SetWriteDeadline(longAgo)
	}
}

// deadlineWriter gives every write its own deadline, where the writer knows
// deadlines, until it is interrupted.
type deadlineWriter struct {
	w     io.Writer
	stall time.Duration

	mu   sync.Mutex
	over bool
}

func (d *deadlineWriter) Write(b []byte) (int, error) {
	d.mu.Lock()
	if !d.over && d.stall > 0 {
		d.set(time.Now().Add(d.stall))
	}
	d.mu.Unlock()
	return d.w.Write(b)
}

// interrupt ends the write under way and all that follow.
func (d *deadlineWriter) interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.over {
		d.over = true
		d.set(longAgo)
	}
}

// part allows the last words.
func (d *deadlineWriter) part() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.set(time.Now().Add(partingTime))
}

func (d *deadlineWriter) set(t time.Time) {
	if w, ok := d.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = w.SetWriteDeadline(t)
	}
}
