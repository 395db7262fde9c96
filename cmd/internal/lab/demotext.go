package lab

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"resilver/watchdog"
)

// draw shows the progress of a copy: in place on a terminal, else a line for
// every quarter of it.
func (d *demo) draw(p *watchdog.Progress) {
	text := bar(p)
	if text == "" {
		d.quarter = 0
		return
	}
	if d.Live {
		fmt.Fprintf(d.Out, "\r%25s%s\x1b[K", "", text)
		d.drawn = true
		return
	}
	if quarter := p.Bytes * 4 / p.BytesTotal; quarter != d.quarter {
		d.quarter = quarter
		fmt.Fprintf(d.Out, "%25s%s\n", "", text)
	}
}

func (d *demo) endLine() {
	if d.drawn {
		fmt.Fprintln(d.Out)
		d.drawn = false
	}
}

func (d *demo) heading(text string) {
	d.endLine()
	fmt.Fprintf(d.Out, "\n%s\n", text)
}

func (d *demo) say(format string, args ...any) {
	d.endLine()
	fmt.Fprintf(d.Out, "  "+format+"\n", args...)
}

// tell prints a line of the timeline, with the time since the fault.
func (d *demo) tell(begin time.Time, what, text string) {
	d.endLine()
	fmt.Fprintf(d.Out, "  %6.1f s  %-12s %s\n", time.Since(begin).Seconds(), what, text)
}

// indented sets what another prints a little to the right.
type indented struct{ out io.Writer }

func (w indented) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if _, err := w.out.Write(append([]byte("  "), line...)); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
