package watchdog

import (
	"fmt"
	"slices"
	"time"
)

// Input is all that a decision rests on.
type Input struct {
	Diagnosis Diagnosis
	View      View
	Lease     LeaseState
	Policy    Policy
	Facts     *Facts // nil: not gathered yet; the guards that need them are left out
	Wiped     *Wiped // nil: there are data here
	Wish
	// Holding is the id of this node's own rebuild: its lease is no obstacle
	// to it, nor is the charge that the grant made.
	Holding string
	// Underway is the same rebuild past its preflight, in which the server
	// answered: that it has died since is no reason to give the copy up.
	Underway bool
}

// Wish is what a person asks for; the zero Wish leaves all to resilver.
type Wish struct {
	// Manual is a person's rebuild: the guards that only stand for a person's
	// judgement (mode, broken-long-enough, fixable-by-rebuild, size) pass.
	Manual   bool
	Drill    bool // a copy that is rehearsed and never goes live
	Rollback bool // no copy: the datadir that the last rebuild set aside
	// WipeFirst removes the live data before the copy is made: a person's alone,
	// and judged by a guard of its own.
	WipeFirst bool
	From      string   // the donor
	Method    string   // the method, and no other
	Override  []string // ids of the guards that may fail, where that is allowed at all
}

// method is the one to copy by: the wished one or else the first, where it
// fits; empty for none.
func (in Input) method() string {
	fit := in.Facts.Methods
	switch {
	case slices.Contains(fit, in.Method):
		return in.Method
	case in.Method != "" || len(fit) == 0:
		return ""
	}
	return fit[0]
}

// Decide says which rung of the ladder is due and whether every guard lets
// it be climbed. It is pure; with the same input it says the same.
func Decide(in Input, now time.Time) Decision {
	if in.Rollback {
		return decideRollback(in, now)
	}
	standing := RoleOf(in.View, in.View.Self, in.Policy.Fresh)
	d := Decision{Rung: rungFor(in)}
	d.Donors = judgeDonors(in, standing)
	if len(d.Donors) > 0 && d.Donors[0].Fit {
		d.Donor = d.Donors[0].Name
	}
	if in.Facts != nil {
		d.Method, d.Bytes, d.Weighed = in.method(), in.Facts.DataBytes, true
	}
	g := guards{in: in, now: now, standing: standing}
	g.person()
	g.role()
	if in.Drill {
		g.drill()
	} else {
		g.fault()
	}
	g.cluster()
	g.bounds()
	g.server()
	if in.Facts == nil || in.Facts.known() {
		g.donors(d.Donors)
		g.facts()
	}
	g.wipesFirst(d.Donors)
	d.Guards = overridden(g.out, in.granted())
	d.WouldAct = d.Rung == RungRebuild && len(Failing(d.Guards)) == 0 && in.Facts != nil
	return d
}

func rungFor(in Input) Rung {
	switch {
	case in.Manual || in.Drill || in.Wiped != nil || in.Diagnosis.Class.Curable():
		return RungRebuild
	case in.Diagnosis.Class == ClassHealthy:
		return RungNone
	}
	return RungWait
}

// overridden lets a failing guard pass that a person named, where that is
// allowed at all; the reason keeps what it found.
func overridden(gs []Guard, ids []string) []Guard {
	for i := range gs {
		g := &gs[i]
		if g.Verdict != Pass && g.Overridable && slices.Contains(ids, g.ID) {
			g.Verdict = Pass
			g.Reason = "overridden by a person: " + g.Reason
		}
	}
	return gs
}

// systemic names the other replicas that diverged within the window around
// this node's own fault, or at the same transaction: one cause upstream, which
// no rebuild cures, however long ago it was. A purged replica is alone with
// its fault.
func systemic(in Input, now time.Time) []string {
	if in.Diagnosis.Class != ClassDivergent {
		return nil
	}
	mine := in.Diagnosis.Since.Time
	if mine.IsZero() {
		mine = now // a fault seen just now
	}
	near := func(t Stamp) bool { return t.Sub(mine).Abs() <= in.Policy.SystemicWindow }
	found := map[string]string{}
	for _, name := range names(in.View) {
		n := in.View.Nodes[name]
		same := n.FaultGTID != "" && n.FaultGTID == in.Diagnosis.Evidence.GTID
		if name != in.View.Self && n.Heard && n.Class == ClassDivergent && (same || near(n.Since)) {
			found[name] = fmt.Sprintf("%s (%s since %s)", name, n.Reason, n.Since)
		}
	}
	if in.Facts != nil { // what they answer themselves is newer than gossip
		for _, d := range in.Facts.Donors {
			if d.State == nil || d.State.Diagnosis.Class != ClassDivergent {
				continue
			}
			is := d.State.Diagnosis
			if same := is.Evidence.GTID != "" && is.Evidence.GTID == in.Diagnosis.Evidence.GTID; same || near(is.Since) {
				found[d.Node] = fmt.Sprintf("%s (%s since %s)", d.Node, is.Reason, is.Since)
			}
		}
	}
	for _, r := range in.Lease.History {
		if r.Node != in.View.Self && r.Cause.Class == ClassDivergent && near(r.Started) && found[r.Node] == "" {
			found[r.Node] = fmt.Sprintf("%s (%s, rebuilt since %s)", r.Node, r.Cause.Reason, r.Started)
		}
	}
	out := make([]string, 0, len(found))
	for _, name := range names(in.View) {
		if found[name] != "" {
			out = append(out, found[name])
		}
	}
	return out
}
