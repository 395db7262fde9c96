package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// The pace of following, and how long silence and ignorance are borne.
const (
	followPace  = 500 * time.Millisecond
	plainPace   = 5 * time.Second // of lines within a step, where there is no terminal
	followBears = 2 * time.Minute
)

// asker is the part of admin.Client that following needs.
type asker interface {
	Status(ctx context.Context) (admin.Status, error)
	History(ctx context.Context) ([]watchdog.Record, error)
}

// follower shows one rebuild until it ends: on a terminal in place, else one
// line for each step and every few seconds.
type follower struct {
	ask   asker
	out   io.Writer
	width int  // of the terminal, 0: none
	quiet bool // show nothing
	id    string

	step    watchdog.Step
	stepped time.Time
	printed time.Time
	dirty   bool // an unfinished line is on the terminal
}

// run returns the record of the rebuild that ended. It bears a daemon that is
// restarted in between.
func (f *follower) run(ctx context.Context) (watchdog.Record, error) {
	tick := time.NewTicker(followPace)
	defer tick.Stop()
	known := time.Now() // when something was last known of the rebuild
	for {
		record, seen, err := f.look(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			f.endLine()
			return record, fmt.Errorf("stopped following; rebuild %s goes on, see `resilver status --watch`", f.id)
		case record.Outcome != "":
			f.finished(record)
			return record, nil
		case seen:
			known = now
		case now.Sub(known) > followBears:
			f.endLine()
			if err == nil {
				err = fmt.Errorf("rebuild %s is neither under way nor in the history; see `resilver history` on another node", f.id)
			}
			return record, err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// look asks once: the record where it has ended, or whether it is under way.
func (f *follower) look(ctx context.Context) (record watchdog.Record, seen bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, quickAnswer)
	defer cancel()
	status, err := f.ask.Status(ctx)
	if err != nil {
		return record, false, borne(err)
	}
	i := slices.IndexFunc(status.Nodes, func(n admin.NodeStatus) bool { return n.Rebuild != nil && n.Rebuild.ID == f.id })
	if i >= 0 {
		f.show(*status.Nodes[i].Rebuild)
	}
	seen = i >= 0 || status.Lease != nil && status.Lease.ID == f.id
	if i >= 0 && seen {
		return record, seen, nil
	}
	records, err := f.ask.History(ctx)
	if err != nil {
		return record, seen, borne(err)
	}
	if i := slices.IndexFunc(records, func(r watchdog.Record) bool { return r.ID == f.id }); i >= 0 {
		return records[i], true, nil
	}
	return record, seen, nil
}

// borne is the error as it is reported in the end, with what still goes on.
func borne(err error) error {
	var silence *admin.Unreachable
	if errors.As(err, &silence) {
		return fmt.Errorf("%w; the rebuild goes on when it is started again", err)
	}
	return err
}

func (f *follower) show(p watchdog.Progress) {
	if f.quiet {
		return
	}
	now := time.Now()
	if p.Step != f.step {
		f.endStep(now)
		f.step, f.stepped, f.printed = p.Step, now, time.Time{}
	}
	switch {
	case f.width > 0:
		line := progressText(p)
		if len(line) >= f.width {
			line = line[:f.width-1]
		}
		_, _ = fmt.Fprintf(f.out, "\r\x1b[K%s", line)
		f.dirty = true
	case now.Sub(f.printed) >= plainPace:
		_, _ = fmt.Fprintln(f.out, progressText(p))
		f.printed = now
	}
}

// endStep turns the line of a step on the terminal into how long it took.
func (f *follower) endStep(now time.Time) {
	if f.width > 0 && f.step != "" {
		_, _ = fmt.Fprintf(f.out, "\r\x1b[K%-10s %s\n", f.step, secondsText(now.Sub(f.stepped).Seconds()))
		f.dirty = false
	}
}

func (f *follower) endLine() {
	if f.dirty {
		_, _ = fmt.Fprintln(f.out)
		f.dirty = false
	}
}

func (f *follower) finished(r watchdog.Record) {
	if f.quiet {
		return
	}
	f.endStep(time.Now())
	end := "away for " + secondsOrDash(r.OutageSeconds)
	switch {
	case r.Backup != "":
		end = "kept in " + r.Backup
	case r.Drill():
		end = "the server was not touched"
	}
	if r.Rollback() {
		_, _ = fmt.Fprintf(f.out, "%s in %s, %s: %s\n", r.Outcome, totalText(r), end, oneLine(r.Error))
		return
	}
	_, _ = fmt.Fprintf(f.out, "%s: %s from %s in %s, %s\n", r.Outcome, bytesText(r.Bytes), orDash(r.Donor), totalText(r), end)
}
