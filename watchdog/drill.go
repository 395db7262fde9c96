package watchdog

import (
	"fmt"
	"slices"
	"time"
)

// What begins a rebuild.
const (
	TriggerAuto   = "auto"
	TriggerManual = "manual"
	TriggerDrill  = "drill"
	TriggerBackup = "backup"
)

// Drill says that what this begins is a drill: it goes through the steps up to
// rehearse and never touches the live server. A backup is a drill whose copy
// is kept.
func Drill(trigger string) bool { return trigger == TriggerDrill || trigger == TriggerBackup }

// Drill says that the record is that of a drill.
func (r *Record) Drill() bool { return Drill(r.Trigger) }

// Drill says that what is under way is a drill: the node serves all the while.
func (p *Progress) Drill() bool { return p != nil && Drill(p.Trigger) }

// GivesWay says why there is to be no drill now, and why one under way gives
// way: this node is the primary, or a replica that does not replicate, or
// another one waits for a rebuild, which needs the lease. Empty for no reason.
func GivesWay(v View, fresh time.Duration) string {
	if s := RoleOf(v, v.Self, fresh); s.Role == RolePrimary {
		return "this node is the primary: " + s.Why
	}
	self := v.Nodes[v.Self]
	if c := self.Class; c != ClassHealthy && c != ClassLagging {
		return fmt.Sprintf("this node is %s, and a drill is for a replica that replicates", orText(string(c)))
	}
	for _, name := range names(v) {
		if n := v.Nodes[name]; n.Alive && n.Class.Curable() {
			return fmt.Sprintf("%s is %s and may need the lease for a rebuild", name, n.Class)
		}
	}
	return ""
}

// LastDrill is the newest drill of the node that passed or failed; nil for
// none that history knows.
func LastDrill(history []Record, node string) *Record {
	i := slices.IndexFunc(history, func(r Record) bool {
		return r.Node == node && r.Drill() && (r.Outcome == Passed || r.Outcome == Failed)
	})
	if i < 0 {
		return nil
	}
	return &history[i]
}

// copying is history as budgets and cooldown see it.
func copying(history []Record) []Record {
	return slices.DeleteFunc(slices.Clone(history), func(r Record) bool { return !Copies(r.Trigger) })
}

// drill is the guard of drills alone, in the place of those about the fault.
func (g *guards) drill() {
	why := GivesWay(g.in.View, g.in.Policy.Fresh)
	g.add("drill", why == "", orText(why), "none", why, false)
}
