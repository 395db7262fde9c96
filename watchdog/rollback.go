package watchdog

import (
	"fmt"
	"slices"
	"time"
)

// TriggerRollback is a person's way back to the datadir that this node's last
// rebuild set aside.
const TriggerRollback = "rollback"

// Rollback says that the record is that of a rollback.
func (r *Record) Rollback() bool { return r.Trigger == TriggerRollback }

// Copies says that what this trigger begins is a rebuild: it takes a donor, is
// charged on the budgets, and its failures count.
func Copies(trigger string) bool { return !Drill(trigger) && trigger != TriggerRollback }

// Aside is the quarantined datadir that a rollback would go back to.
type Aside struct {
	ID    string // of the rebuild that set it aside
	Since Stamp
	// Fit says why it cannot be gone back to, where it cannot.
	Fit Answer
	// Purged is what the primary has purged of what it lacks; Behind is all
	// that it lacks; Own is what it has and the primary lacks.
	Purged Answer
	Behind string
	Own    string
}

// decideRollback judges a rollback. It copies nothing, and no policy begins it:
// budgets, cooldown and breaker are no matter to it, nor is the fault. What the
// server in service has must come to the old one by replication.
func decideRollback(in Input, now time.Time) Decision {
	g := guards{in: in, now: now, standing: RoleOf(in.View, in.View.Self, in.Policy.Fresh)}
	g.person()
	g.role()
	g.lease()
	g.keepServing()
	if f := in.Facts; f != nil {
		if f.Down != nil {
			g.add("server", false, f.Down.words(), "answers", f.Down.words()+": start it, or say `resilver rebuild`", false)
		} else {
			g.rollback()
		}
	}
	d := Decision{Rung: RungRollback, Weighed: in.Facts != nil, Guards: overridden(g.out, in.Override)}
	d.WouldAct = in.Facts != nil && len(Failing(d.Guards)) == 0
	return d
}

// rollback are the guards that only a question to servers and disks can answer.
func (g *guards) rollback() {
	f := g.in.Facts
	g.add("server", true, "answers", "answers", "", false)
	g.channels("")
	g.primaryAlive()
	g.answer("errant", f.Errant, "nothing that the primary lacks", false)
	g.localLost()
	g.aside()
	g.answer("retention", f.Aside.Purged, "the primary keeps the logs that the old server needs", false)
	g.answer("service", f.Service, "a manager that can stop and start mysqld", false)
	g.semiSync()
}

// aside: there is something to go back to.
func (g *guards) aside() {
	const id, want = "old-datadir", "one that can serve again"
	a := g.in.Facts.Aside
	if a.Fit.Open() != "" || a.Fit.Text != "" {
		g.answer(id, a.Fit, want, false)
		return
	}
	value := fmt.Sprintf("of rebuild %s, since %s; to fetch: %s", a.ID, a.Since, orText(a.Behind))
	if a.Own != "" {
		value += "; it has transactions that the primary lacks: " + a.Own
	}
	g.add(id, true, value, want, "", false)
}

// localLost: what was made by SQL in the datadir in service does not come to
// the old one. It would lie in quarantine, but out of service.
func (g *guards) localLost() {
	const id, want = "local-objects", "none"
	l := g.in.Facts.Local
	if !l.Asked || l.Err != "" {
		g.unknown(id, want, orText(l.Err), true)
		return
	}
	some := firstOf(l.Objects)
	g.add(id, len(l.Objects) == 0, some, want, "made here alone, and not in the old datadir by replication: "+some, true)
}

// firstOf names the first of many objects.
func firstOf(objects []string) string {
	const most = 20
	value := orNone(slices.Clone(objects[:min(len(objects), most)]))
	if more := len(objects) - most; more > 0 {
		value += fmt.Sprintf(" and %d more", more)
	}
	return value
}
