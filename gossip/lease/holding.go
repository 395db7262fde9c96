package lease

import (
	"fmt"
	"slices"

	"resilver/watchdog"
)

func (s *state) renew(index uint64, c command) answer {
	if !s.holds(c) {
		return answer{Code: codeStale}
	}
	s.Lease.Renewed = index
	return s.granted()
}

func (s *state) enter(index uint64, c command) answer {
	if !s.holds(c) || watchdog.Drill(s.Lease.Trigger) { // a drill never gets that far
		return answer{Code: codeStale}
	}
	if s.Lease.Phase != watchdog.PhaseCritical {
		s.Lease.Phase, s.Lease.Renewed = watchdog.PhaseCritical, index
	}
	return s.granted()
}

// release ends the lease with its record. A late release, of a lease that
// expired or that a person ended, completes the record that was made of it,
// and changes nothing else.
func (s *state) release(c command) answer {
	if c.Record == nil {
		return invalid("release without a record")
	}
	if !s.holds(c) {
		mine := func(r watchdog.Record) bool {
			return r.Token == c.Token && r.Node == c.Node && r.Outcome == watchdog.Failed && len(r.Steps) == 0
		}
		if c.Token != 0 && slices.ContainsFunc(s.History, mine) {
			rec := s.amend(c.Token, *c.Record)
			if rec.Outcome == watchdog.Healed {
				s.count(rec)
			}
		}
		return answer{Code: codeStale}
	}
	node, critical, trigger := s.Lease.Holder, s.Lease.Phase == watchdog.PhaseCritical, s.Lease.Trigger
	s.end(*c.Record)
	rec := c.Record
	if watchdog.Drill(trigger) {
		return answer{Code: codeOK}
	}
	switch {
	case trigger == watchdog.TriggerRollback && rec.Outcome == watchdog.RolledBack:
		// Else the next rebuild would bring back at once what a person has
		// taken out of service.
		s.open(fmt.Sprintf("a person has rolled %s back: %s", node, cut(rec.Error)))
	case trigger == watchdog.TriggerRollback && rec.Outcome == watchdog.Failed && critical:
		s.open(fmt.Sprintf("a person's rollback of %s failed: %s", node, cut(rec.Error)))
	case rec.Outcome == watchdog.RolledBack:
		s.open(fmt.Sprintf("the rebuild of %s was rolled back: %s", node, cut(rec.Error)))
	case rec.Outcome == watchdog.Failed && critical && !rec.Untouched:
		s.open(fmt.Sprintf("%s runs, but is wrong after its rebuild: %s", node, cut(rec.Error)))
	}
	s.openAfterFailures(node)
	return answer{Code: codeOK}
}

func (s *state) openAfterFailures(node string) {
	if n := s.Nodes[node].Fails; n >= failuresInRow && s.lastFailed(node) {
		s.open(fmt.Sprintf("%d rebuilds of %s failed in a row", n, node))
	}
}

// lastFailed says that the newest ended record of the node is a failure.
func (s *state) lastFailed(node string) bool {
	for _, r := range s.History {
		if r.Node == node && r.Outcome != "" && watchdog.Copies(r.Trigger) {
			return r.Outcome == watchdog.Failed || r.Outcome == watchdog.RolledBack
		}
	}
	return false
}

// adopt is asked by a sidecar that starts and finds a rebuild in its journal:
// it takes up a critical lease, and releases one that was still copying. Its
// charge stays, so that one who dies in each copy meets its budget; it is
// cancelled, not failed, because the kill says nothing about the copy.
func (s *state) adopt(index uint64, c command) answer {
	if !s.holds(c) || s.Lease.ID != c.ID {
		return answer{Code: codeStale}
	}
	if s.Lease.Phase != watchdog.PhaseCritical {
		s.end(watchdog.Record{Outcome: watchdog.Cancelled, Error: "the sidecar was restarted"})
		return answer{Code: codeStale}
	}
	s.Lease.Renewed = index
	return s.granted()
}

// expire ends a lease that was not renewed since the leader saw Renewed.
func (s *state) expire(c command) answer {
	g := s.Lease
	if g == nil || g.Token != c.Token || g.Renewed != c.Renewed || g.Phase != watchdog.PhaseCopying {
		return answer{Code: codeStale}
	}
	s.end(watchdog.Record{Outcome: watchdog.Failed, Error: "lost"})
	if !watchdog.Drill(g.Trigger) {
		s.openAfterFailures(g.Holder)
	}
	return answer{Code: codeOK}
}

// overdue opens the breaker over a lease that is critical for too long. The
// lease stays: only a person knows what became of the node.
func (s *state) overdue(c command) answer {
	g := s.Lease
	if g == nil || g.Token != c.Token || g.Renewed != c.Renewed || g.Phase != watchdog.PhaseCritical {
		return answer{Code: codeStale}
	}
	g.Overdue = true
	s.open(fmt.Sprintf("%s has not left its critical phase: rebuild %s", g.Holder, g.ID))
	return answer{Code: codeOK}
}

func (s *state) pause(c command) answer {
	if c.Pause == nil {
		return invalid("pause without its text")
	}
	p := *c.Pause
	p.By, p.Reason, p.Node = cut(p.By), cut(p.Reason), cut(p.Node)
	s.Pauses = slices.DeleteFunc(s.Pauses, func(old watchdog.Pause) bool {
		return old.Node == p.Node || !old.Until.IsZero() && old.Until.UnixMilli() <= s.Clock
	})
	if len(s.Pauses) >= maxPauses {
		return refused("paused", fmt.Sprintf("there are %d pauses already", len(s.Pauses)))
	}
	s.Pauses = append(s.Pauses, p)
	return answer{Code: codeOK}
}

func (s *state) resume(c command) answer {
	s.Pauses = slices.DeleteFunc(s.Pauses, func(p watchdog.Pause) bool { return p.Node == cut(c.ID) })
	return answer{Code: codeOK}
}

// ack closes the breaker, forgets which errors came back, and ends a critical
// lease that is overdue. One that is not overdue may have a living holder
// between stop and verify: it stays.
func (s *state) ack(c command) answer {
	s.Breaker = watchdog.Breaker{}
	for name, l := range s.Nodes {
		l.Healed = nil
		s.Nodes[name] = l
	}
	if g := s.Lease; g != nil && g.Phase == watchdog.PhaseCritical && g.Overdue {
		s.end(watchdog.Record{Outcome: watchdog.Failed, Error: "ended by the ack of " + cut(c.Reason)})
	}
	return answer{Code: codeOK}
}
