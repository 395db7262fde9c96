package service

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// start asks the guard and starts mysqld. After an error the next attempt is
// planned.
func (s *Supervisor) start(ctx context.Context) error {
	guarded, cancel := context.WithTimeout(ctx, guardTimeout)
	err := s.o.Guard(guarded)
	cancel()
	if err != nil {
		if s.refused != err.Error() {
			s.o.Logger.Warn("start of mysqld refused", "reason", err)
		}
		s.refused = err.Error()
		s.again.Reset(s.refusedPause)
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	s.refused = ""
	if s.child, err = spawn(&s.o); err != nil {
		s.lastExit = err.Error()
		pause := s.countDeath(0)
		s.o.Logger.Error("start of mysqld failed", "error", err, "deaths", s.deaths, "again_in", pause)
		s.again.Reset(pause)
		return err
	}
	s.o.Logger.Info("mysqld started", "pid", s.child.pid)
	return nil
}

// died takes note of a child that has been reaped and plans the next start.
func (s *Supervisor) died(d death) {
	pid := s.child.pid
	s.child, s.lastExit = nil, d.text
	for _, c := range s.ended {
		c <- reply{status: s.status()}
	}
	wasAsked := s.stopping
	s.ended, s.stopping = nil, false
	attrs := []any{"pid", pid, "exit", d.text, "lived", d.lived.Round(time.Millisecond)}
	switch {
	case wasAsked || s.want == wantHeld:
		s.o.Logger.Info("mysqld ended, held", attrs...)
	case d.restart:
		s.o.Logger.Info("mysqld ended and asks to be started again", attrs...)
		s.again.Reset(0)
	case d.clean:
		s.want = wantDown
		s.o.Logger.Info("mysqld was shut down, it stays down until it is started", attrs...)
	default:
		pause := s.countDeath(d.lived)
		s.o.Logger.Error("mysqld died", append(attrs, "deaths", s.deaths, "again_in", pause)...)
		s.again.Reset(pause)
	}
}

// countDeath counts quick deaths and returns the pause before the next start.
func (s *Supervisor) countDeath(lived time.Duration) time.Duration {
	if lived >= s.quick {
		s.deaths = 0
	}
	s.deaths++
	return min(s.backoffMin<<min(s.deaths-1, 16), s.backoffMax)
}

func (s *Supervisor) status() Status {
	left := s.want == wantDown
	st := Status{Managed: "supervise", Held: s.want == wantHeld, Left: &left, Refused: s.refused, Deaths: s.deaths, LastExit: s.lastExit}
	if s.child != nil {
		st.Running, st.PID = true, s.child.pid
		if time.Since(s.child.started) >= s.quick {
			st.Deaths = 0
		}
	}
	return st
}

// handle answers one request, or leaves it to died.
func (s *Supervisor) handle(ctx context.Context, r request) {
	var err error
	switch r.op {
	case "hold":
		s.hold()
	case "stop":
		if err = s.stop(r.stop); err == nil && s.child != nil {
			s.ended = append(s.ended, r.reply)
			return
		}
	case "start":
		err = s.release(ctx)
	case "wake":
		if s.want == wantHeld {
			err = fmt.Errorf("%w: the sidecar holds mysqld, see `resilver status`", ErrRefused)
			break
		}
		if s.child == nil {
			err = s.release(ctx)
		}
	}
	r.reply <- reply{status: s.status(), err: err}
}

func (s *Supervisor) hold() {
	if s.want != wantHeld {
		s.o.Logger.Info("mysqld is held: it will not be started")
	}
	s.want, s.refused = wantHeld, ""
}

// stop holds and ends the child, if it is the process that the caller
// identified. A child that has not been reaped keeps its pid, so the number is
// enough, and the start time guards against a caller that looked long ago.
// Without a child it only holds, unless that process still exists: then it is
// somebody else's.
func (s *Supervisor) stop(r stopRequest) error {
	if s.child == nil {
		if stat, err := readStat(r.PID); err == nil && stat.ticks == r.Ticks {
			return fmt.Errorf("%w: asked to end process %d, but no mysqld runs here", ErrOtherProcess, r.PID)
		}
		s.hold()
		return nil
	}
	if r.PID != s.child.pid || r.Ticks != s.child.ticks {
		return fmt.Errorf("%w: asked to end process %d, mysqld is process %d", ErrOtherProcess, r.PID, s.child.pid)
	}
	s.hold()
	s.stopping = true
	s.o.Logger.Info("ending mysqld", "pid", s.child.pid, "how", string(r.How))
	return s.child.end(r.How)
}

// release lifts the hold and starts mysqld where it does not run.
func (s *Supervisor) release(ctx context.Context) error {
	if s.stopping {
		return errors.New("start mysqld: it is being ended")
	}
	s.want, s.deaths = wantRun, 0
	if s.child != nil {
		return nil
	}
	return s.start(ctx)
}

// shutdown ends the child for good. Requests are answered meanwhile, but only
// status is served.
func (s *Supervisor) shutdown() error {
	s.want = wantDown
	if s.child == nil {
		return nil
	}
	s.o.Logger.Info("shutting mysqld down", "pid", s.child.pid)
	if err := s.child.end(Shutdown); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	killed := false
	deadline := time.NewTimer(s.o.StopTimeout)
	defer deadline.Stop()
	for {
		select {
		case r := <-s.requests:
			out := reply{status: s.status()}
			if r.op != "status" {
				out.err = errEnding
			}
			r.reply <- out
		case d := <-s.child.done:
			s.stopping = true
			s.died(d)
			return nil
		case <-deadline.C:
			if killed {
				return fmt.Errorf("supervise: process %d does not end although it was killed", s.child.pid)
			}
			killed = true
			s.o.Logger.Error("mysqld does not shut down, killing it", "pid", s.child.pid, "after", s.o.StopTimeout)
			if err := s.child.end(Kill); err != nil {
				return fmt.Errorf("supervise: %w", err)
			}
			deadline.Reset(killTimeout)
		}
	}
}
