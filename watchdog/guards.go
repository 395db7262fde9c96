package watchdog

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// guards collects the verdicts of one decision.
type guards struct {
	in       Input
	now      time.Time
	standing Standing
	out      []Guard
}

func (g *guards) add(id string, ok bool, value, want, reason string, overridable bool) {
	v := Pass
	if !ok {
		v = Fail
	} else {
		reason = ""
	}
	g.out = append(g.out, Guard{id, v, value, want, reason, overridable})
}

func (g *guards) unknown(id, want, reason string, overridable bool) {
	g.out = append(g.out, Guard{id, Unknown, "unknown", want, reason, overridable})
}

// answer turns an Answer into a guard: its text is the obstacle.
func (g *guards) answer(id string, a Answer, want string, overridable bool) {
	if why := a.Open(); why != "" {
		g.unknown(id, want, why, overridable)
		return
	}
	value := a.Text
	if value == "" {
		value = "none"
	}
	g.add(id, a.Text == "", value, want, a.Text, overridable)
}

// person: what people have said.
func (g *guards) person() {
	mode := "heal"
	if g.in.Policy.Observe {
		mode = "observe"
	}
	g.add("mode", !g.in.Policy.Observe || g.in.Manual, mode, "heal",
		"policy.mode is observe: resilver says what it would do and does nothing", false)
	g.add("node-excluded", !g.in.Policy.Exclude, fmt.Sprint(g.in.Policy.Exclude), "false",
		"node.rebuild is false in the configuration", true)
	pause := "no"
	for _, p := range g.in.Lease.Pauses {
		if p.Node == "" || p.Node == g.in.View.Self {
			pause = fmt.Sprintf("paused by %s: %s", p.By, p.Reason)
		}
	}
	g.add("paused", pause == "no", pause, "no", pause+"; `resilver resume` ends it", false)
}

func (g *guards) role() {
	s := g.standing
	if s.Role == RoleUnknown {
		g.unknown("role-known", "replica", s.Why, false)
		g.unknown("not-primary", "not the primary", s.Why, false)
	} else {
		g.add("role-known", true, string(s.Role), "replica", "", false)
		g.add("not-primary", s.Role == RoleReplica, string(s.Role), "replica", "this node is the primary: "+s.Why, false)
	}
	if g.in.Drill {
		return // nobody is cut off
	}
	self := g.in.View.Nodes[g.in.View.Self]
	attached := followersOf(g.in.View, self)
	if f := g.in.Facts; f != nil {
		for _, uuid := range f.Self.Attached {
			if name := nodeByUUID(g.in.View, uuid); !slices.Contains(attached, name) {
				attached = append(attached, name)
			}
		}
	}
	g.add("no-replicas-attached", len(attached) == 0, orNone(attached), "none",
		"would be cut off: "+strings.Join(attached, ", "), true)
}

func (g *guards) fault() {
	d, down := g.in.Diagnosis, g.in.Facts != nil && g.in.Facts.Down != nil
	class := string(d.Class)
	if class == "" {
		class = "not diagnosed yet"
	}
	why := fmt.Sprintf("a rebuild does not cure %s", strings.TrimSpace(class+" "+d.Reason))
	if down || d.Class == ClassUnreachable {
		why = "mysqld is down: it is rebuilt on a person's word only (`resilver rebuild`)"
	}
	g.add("fixable-by-rebuild", d.Class.Curable() && (!down || g.in.Underway) || g.in.Manual || g.in.Wiped != nil, class, "divergent or purged", why, false)
	lasted := time.Duration(0)
	if !d.Since.IsZero() && d.Class != ClassHealthy {
		lasted = g.now.Sub(d.Since.Time)
	}
	g.add("broken-long-enough", lasted >= g.in.Policy.BrokenFor || g.in.Manual || g.in.Wiped != nil, seconds(lasted), seconds(g.in.Policy.BrokenFor),
		"the fault may yet pass by itself", false)
	others := systemic(g.in, g.now)
	g.add("not-systemic", len(others) == 0, orNone(others), "none",
		"other replicas diverged too, so the cause is upstream: "+strings.Join(others, ", "), true)
}

// server: what the other guards must know of this node's own server. Where
// that is not known they are left out: it is one cause, not one for each.
func (g *guards) server() {
	f := g.in.Facts
	if f == nil {
		return
	}
	const id, want = "server", "answers, or is dead and known"
	seen := ""
	switch d := f.Down; {
	case d == nil:
		g.add(id, true, "answers", want, "", false)
	case d.Dead.Open() != "":
		g.unknown(id, want, d.words()+": "+d.Dead.Open(), false)
		return
	case d.Untold && !g.in.Manual && g.in.Wiped == nil:
		g.add(id, false, d.words(), want, d.words()+", and its manager cannot tell whether a person stopped it", false)
	default:
		g.add(id, d.Dead.Text == "", d.words(), want, d.words()+": "+d.Dead.Text, false)
		seen = ", as last seen"
	}
	if !f.known() {
		return
	}
	g.channels(seen)
	if src := f.Self.Source(); src != nil {
		g.add("not-delayed", src.Delay == 0, seconds(src.Delay)+seen, "0s", "the replica is delayed on purpose", true)
		g.add("same-filters", src.Filters == "", orText(src.Filters)+seen, "none", "replication filters: a whole copy would bring what they keep out", true)
	}
}

// channels: how it replicates.
func (g *guards) channels(seen string) {
	f := g.in.Facts
	n := len(f.Self.Sources)
	why := "a rebuild restores one replication channel"
	if n == 0 {
		why = "this node replicates from nobody: was it promoted?"
	}
	g.add("single-source", n == 1, fmt.Sprint(n)+seen, "1", why, false)
	g.add("asynchronous", !f.Self.GroupMember, fmt.Sprint(f.Self.GroupMember)+seen, "false", "a member of Group Replication or Galera provisions itself", false)
}

// words say since when the server is down.
func (d *Down) words() string {
	if d.Since.IsZero() {
		return "mysqld does not answer"
	}
	return "mysqld does not answer, last seen " + StampOf(d.Since).String()
}

func (g *guards) cluster() {
	g.lease()
	b := g.in.Lease.Breaker
	g.add("breaker", !b.Open, openClosed(b.Open), "closed", "only a person's `resilver ack` closes it: "+b.Reason, true)
	g.keepServing()
}

func (g *guards) lease() {
	l := g.in.Lease
	if !l.Quorum {
		g.unknown("lease", "free", ErrNoQuorum.Error(), false)
	} else {
		held := "free"
		if l.Lease != nil && l.Lease.ID != g.in.Holding {
			held = fmt.Sprintf("held by %s since %s", l.Lease.Holder, l.Lease.Since)
			if Drill(l.Lease.Trigger) {
				held += ", for a " + l.Lease.Trigger
			}
		}
		g.add("lease", held == "free", held, "free", held, false)
	}
}

func (g *guards) keepServing() {
	serving := g.serving()
	g.add("keep-serving", len(serving) >= g.in.Policy.KeepServing, orNone(serving), fmt.Sprintf("at least %d others", g.in.Policy.KeepServing),
		"too few healthy nodes would remain", true)
}

// serving names the other nodes that are healthy and in service.
func (g *guards) serving() []string {
	var out []string
	for _, name := range names(g.in.View) {
		n := g.in.View.Nodes[name]
		if name != g.in.View.Self && n.Fresh(g.in.Policy.Fresh) && n.Reachable && n.Health == HealthHealthy && !n.Offline && (n.Progress == nil || n.Progress.Drill()) {
			out = append(out, name)
		}
	}
	return out
}

func (g *guards) bounds() {
	if !g.in.Drill { // it is not charged, and delays no rebuild
		g.budgets()
	}
	if f, p := g.in.Facts, g.in.Policy; f != nil && p.MaxBytes > 0 {
		g.add("size", f.DataBytes <= p.MaxBytes || g.in.Manual, fmt.Sprint(f.DataBytes), fmt.Sprintf("at most %d bytes", p.MaxBytes),
			"larger copies want a person (policy.max_bytes)", true)
	}
}

func (g *guards) budgets() {
	p := g.in.Policy
	history := g.in.Lease.History
	if g.in.Holding != "" {
		history = slices.DeleteFunc(slices.Clone(history), func(r Record) bool { return r.ID == g.in.Holding })
	}
	failed := map[string]string{}
	for _, r := range CheckBudget(history, g.in.View.Self, p.Budget, g.now) {
		failed[r.Guard] = r.Reason
	}
	for _, b := range []struct{ id, value, want string }{
		{"budget-node", fmt.Sprint(Charged(history, g.in.View.Self, g.now.Add(-24*time.Hour))), fmt.Sprintf("under %d a day", p.Budget.NodePerDay)},
		{"budget-cluster", fmt.Sprint(Charged(history, "", g.now.Add(-time.Hour))), fmt.Sprintf("under %d an hour", p.Budget.ClusterPerHour)},
		{"cooldown", StampOf(CooldownUntil(history, g.in.View.Self, p.Budget.Cooldown)).String(), "over"},
	} {
		value := b.value
		if value == "" {
			value = "none"
		}
		g.add(b.id, failed[b.id] == "", value, b.want, failed[b.id], true)
	}
}

func orNone(list []string) string { return orText(strings.Join(list, ", ")) }

func orText(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func openClosed(open bool) string {
	if open {
		return "open"
	}
	return "closed"
}

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

func guardIDs(gs []Guard) string {
	ids := ""
	for _, g := range gs {
		ids += g.ID + " "
	}
	return ids
}

func firstReason(gs []Guard) string {
	if f := Failing(gs); len(f) > 0 {
		return f[0].Reason
	}
	return ""
}
