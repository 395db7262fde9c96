package lease

import (
	"fmt"
	"slices"
	"time"

	"resilver/watchdog"
)

// failuresInRow of one node open the breaker.
const failuresInRow = 3

// maxCooldown bounds the doubling.
const maxCooldown = 7 * 24 * time.Hour

// acquire grants the lease, or says which guard refuses it. A repeat by the
// rebuild's id returns the same grant, renewed: its asker counts its deadline
// anew.
func (s *state) acquire(index uint64, c command) answer {
	req := c.Request
	if req == nil || req.ID == "" || c.Node == "" || c.TTL <= 0 {
		return invalid("incomplete acquire")
	}
	if g := s.Lease; g != nil && g.ID == req.ID && g.Holder == c.Node && g.Phase == watchdog.PhaseCopying {
		g.Renewed = index
		return s.granted()
	}
	if r := s.refusal(c.Node, req); r != nil {
		return answer{Code: codeRefused, Refusal: r}
	}
	token := max(index, s.LastToken+1)
	s.LastToken = token
	s.Lease = &grant{Holding: watchdog.Holding{
		Token: token, Holder: c.Node, Donor: req.Donor, ID: req.ID,
		Trigger: req.Trigger, Phase: watchdog.PhaseCopying, Renewed: index, TTL: c.TTL, Since: s.stamp(),
	}}
	s.begin(c.Node, req)
	return s.granted()
}

// refusal is the first guard that says no, nil where none does.
func (s *state) refusal(node string, req *watchdog.Request) *watchdog.Refusal {
	no := func(guard, format string, args ...any) *watchdog.Refusal {
		return &watchdog.Refusal{Guard: guard, Reason: fmt.Sprintf(format, args...)}
	}
	over := func(guard string) bool { return slices.Contains(req.Override, guard) }
	switch {
	case s.ClusterID == "":
		return no("lease", "the cluster has no id yet")
	case s.Lease != nil:
		return no("lease", "held by %s for rebuild %s from %s, %s",
			s.Lease.Holder, s.Lease.ID, s.Lease.Donor, s.Lease.Phase)
	case slices.ContainsFunc(s.History, func(r watchdog.Record) bool { return r.ID == req.ID && !again(r, node) }):
		return no("lease", "rebuild %s has already ended", req.ID)
	case (req.Donor == "" || req.Donor == node) && req.Trigger != watchdog.TriggerRollback:
		return no("donor", "the donor must be another node")
	}
	if p := s.pauseOf(node); p != nil {
		return no("paused", "by %s: %s", p.By, p.Reason)
	}
	if req.Trigger == watchdog.TriggerRollback {
		return nil // a person's, and it copies nothing
	}
	drill := watchdog.Drill(req.Trigger)
	if !over("breaker") {
		if !drill && s.sameAgain(node, req.Cause) {
			s.open(fmt.Sprintf("%s failed again with %s %s at %s after a rebuild",
				node, req.Cause.Class, req.Cause.Reason, req.Cause.GTID))
		}
		if s.Breaker.Open {
			return no("breaker", "open: %s", s.Breaker.Reason)
		}
	}
	if drill {
		return nil // it is not charged, and delays no rebuild
	}
	if n := s.charged(node, 24*time.Hour); n >= req.Budget.NodePerDay && !over("budget-node") {
		return no("budget-node", "%d rebuilds of %s within 24h, at most %d", n, node, req.Budget.NodePerDay)
	}
	if n := s.charged("", time.Hour); n >= req.Budget.ClusterPerHour && !over("budget-cluster") {
		return no("budget-cluster", "%d rebuilds in the cluster within 1h, at most %d", n, req.Budget.ClusterPerHour)
	}
	if left := s.cooldownLeft(node, req.Budget.Cooldown); left > 0 && !over("cooldown") {
		return no("cooldown", "%s for another %s after its last rebuild", node, left.Round(time.Second))
	}
	return nil
}

// again says that a rebuild of this id may begin once more: its grant was given
// back before anything was done under it.
func again(r watchdog.Record, node string) bool {
	return r.Node == node && r.Outcome == watchdog.Cancelled && r.Untouched
}

// pauseOf is the pause in force for the node.
func (s *state) pauseOf(node string) *watchdog.Pause {
	for i, p := range s.Pauses {
		if (p.Node == "" || p.Node == node) && (p.Until.IsZero() || p.Until.UnixMilli() > s.Clock) {
			return &s.Pauses[i]
		}
	}
	return nil
}

// sameAgain says that the node's last rebuild healed the very error, at the
// very transaction, that it has again.
func (s *state) sameAgain(node string, cause watchdog.Cause) bool {
	healed := s.Nodes[node].Healed
	return cause.GTID != "" && healed != nil && healed.Same(cause)
}

// charged counts the rebuilds on the budget within the last d, of one node or
// of all.
func (s *state) charged(node string, d time.Duration) int {
	n := 0
	for _, c := range s.Charges {
		if (node == "" || c.Node == node) && c.At > s.Clock-d.Milliseconds() {
			n++
		}
	}
	return n
}

// cooldownLeft is how long the node must still wait: base after its last
// rebuild, doubled by each failure in a row.
func (s *state) cooldownLeft(node string, base time.Duration) time.Duration {
	l := s.Nodes[node]
	if l.Ended == 0 || base <= 0 {
		return 0
	}
	d := base
	for range l.Fails {
		if d >= maxCooldown {
			break
		}
		d = min(2*d, maxCooldown)
	}
	return d - time.Duration(s.Clock-l.Ended)*time.Millisecond
}

// open opens the breaker; the first reason stays.
func (s *state) open(reason string) {
	if s.Breaker.Open {
		return
	}
	s.Breaker = watchdog.Breaker{Open: true, Reason: reason, Since: s.stamp()}
}

// begin charges the budgets, where it copies, and starts the record.
func (s *state) begin(node string, req *watchdog.Request) {
	dayAgo := s.Clock - (24 * time.Hour).Milliseconds()
	s.Charges = slices.DeleteFunc(s.Charges, func(c charge) bool { return c.At <= dayAgo })
	if watchdog.Copies(req.Trigger) {
		s.Charges = append(s.Charges, charge{s.Lease.Token, node, s.Clock})
	}
	if n := len(s.Charges) - maxCharges; n > 0 {
		s.Charges = slices.Delete(s.Charges, 0, n)
	}
	s.History = slices.DeleteFunc(s.History, func(r watchdog.Record) bool { return r.ID == req.ID })
	s.History = slices.Insert(s.History, 0, watchdog.Record{
		ID: req.ID, Node: node, Trigger: req.Trigger, By: cut(req.By), Cause: req.Cause,
		Donor: req.Donor, Method: req.Method, Token: s.Lease.Token, Started: s.Lease.Since,
	})
	if len(s.History) > maxHistory {
		s.History = slices.Delete(s.History, maxHistory, len(s.History))
	}
}

// end closes the lease in force with what its holder, or the machine, says of
// it.
func (s *state) end(rec watchdog.Record) {
	g := s.Lease
	s.Lease = nil
	rec = s.amend(g.Token, rec)
	if rec.Untouched {
		s.Charges = slices.DeleteFunc(s.Charges, func(c charge) bool { return c.Token == g.Token })
	}
	s.count(rec)
}

// amend completes rec by what the grant fixed, and puts it in the place of
// the record that the grant began.
func (s *state) amend(token uint64, rec watchdog.Record) watchdog.Record {
	i := slices.IndexFunc(s.History, func(r watchdog.Record) bool { return r.Token == token })
	if i < 0 {
		return rec
	}
	old := s.History[i]
	rec.ID, rec.Node, rec.Donor, rec.Token, rec.Started = old.ID, old.Node, old.Donor, old.Token, old.Started
	rec.Trigger, rec.By, rec.Cause = old.Trigger, old.By, old.Cause
	if rec.Method == "" {
		rec.Method = old.Method
	}
	if !slices.Contains(watchdog.Results(), rec.Outcome) {
		rec.Outcome = watchdog.Failed
	}
	rec.Error = cut(rec.Error)
	rec.Ended = s.stamp()
	if !old.Ended.IsZero() {
		rec.Ended = old.Ended
	}
	s.History[i] = rec
	return rec
}

// count keeps the node's failures in a row. A drill is none of them, however
// it ended, nor is a rollback.
func (s *state) count(rec watchdog.Record) {
	l := s.Nodes[rec.Node]
	if rec.Rollback() && rec.Outcome == watchdog.RolledBack && l.Healed != nil {
		l.Healed = nil // what that rebuild healed is to be expected again
		s.Nodes[rec.Node] = l
	}
	if !watchdog.Copies(rec.Trigger) {
		return
	}
	switch rec.Outcome {
	case watchdog.Healed:
		cause := rec.Cause
		l.Fails, l.Ended, l.Healed = 0, s.Clock, &cause
	case watchdog.Failed, watchdog.RolledBack:
		l.Fails, l.Ended = l.Fails+1, s.Clock
	default:
		return
	}
	s.Nodes[rec.Node] = l
}
