package watchdog

import (
	"fmt"
	"slices"
	"strings"
)

// StepWipe is what a rebuild that wipes first has after quarantine: the live
// server is closed and ended, and its data are removed.
const StepWipe Step = "wipe"

// Wiped is a node whose data were removed on a person's word before there was
// a copy. It is rebuilt whatever its fault is, until it has data again.
type Wiped struct {
	Rebuild string `json:"rebuild"`
	By      string `json:"by"`
	Since   Stamp  `json:"since"`
}

// Words say so to a person.
func (w *Wiped) Words() string {
	return fmt.Sprintf("no data here since %s, wiped by the word of %s (rebuild %s)", w.Since, orText(w.By), w.Rebuild)
}

// ReasonWiped is the reason of a node that is down because it was wiped.
const ReasonWiped = "wiped"

// Wipe is what only a rebuild that wipes first must know.
type Wipe struct {
	Bytes int64  // that the live datadir takes
	Flat  Answer // why removing it would not be enough, or too much
	Login Answer // why its login at the source did not succeed
}

// granted are the guards that a person has already answered for a node that was
// wiped: nothing is left there that they would protect.
func (in Input) granted() []string {
	if in.Wiped == nil {
		return in.Override
	}
	return append(slices.Clone(in.Override), WipedOverride()...)
}

// WipedOverride are these guards.
func WipedOverride() []string {
	return []string{"breaker", "keep-serving", "budget-node", "budget-cluster", "cooldown", "size"}
}

// wipesFirst is the guard of the one rebuild that may end with no data on this
// node. It asks for more than all others together, and whoever else may be
// overruled, this may not: what is not known is no.
func (g *guards) wipesFirst(cs []Candidate) {
	if !g.in.WipeFirst {
		return
	}
	const id, want = "wipe-first", "a replica that nobody needs, nothing that exists only here, two other healthy nodes, and a donor"
	f := g.in.Facts
	if f == nil {
		return
	}
	if why := g.unwipeable(f); why != "" {
		g.add(id, false, "refused", want, why, false)
		return
	}
	healthy := g.healthyOthers()
	donor := slices.IndexFunc(cs, func(c Candidate) bool { return c.Fit })
	why := ""
	switch {
	case len(healthy) < 2:
		why = "fewer than two other nodes are healthy by their own sidecars: " + orNone(healthy)
	case !slices.Contains(healthy, g.standing.Primary):
		why = fmt.Sprintf("the primary %s is not healthy by its own sidecar", orText(g.standing.Primary))
	case donor < 0 || !slices.Contains(healthy, cs[donor].Name):
		why = "no donor fits that is healthy by its own sidecar"
	}
	g.add(id, why == "", strings.Join(healthy, ", ")+" are healthy", want, why, false)
}

// unwipeable is why this node's own data may not go; empty for nothing.
func (g *guards) unwipeable(f *Facts) string {
	attached := append(followersOf(g.in.View, g.in.View.Nodes[g.in.View.Self]), f.Self.Attached...)
	switch {
	case !g.in.Manual || g.in.Drill || g.in.Rollback:
		return "only a person's rebuild may wipe"
	case g.in.Wiped != nil:
		return g.in.Wiped.Words() + ": say `resilver rebuild`, without --wipe-first"
	case f.Down != nil || !f.Self.Reachable:
		return "mysqld does not answer, so what exists only here is not known"
	case g.standing.Role != RoleReplica:
		return "this node is not known to be a replica: " + g.standing.Why
	case f.Self.Writable():
		return "this server is writable"
	case len(attached) > 0:
		return "others replicate from it: " + strings.Join(attached, ", ")
	}
	for _, a := range []struct {
		Answer
		what string
	}{
		{f.Errant, "transactions that the primary lacks, and they would be lost"},
		{Answer{Asked: f.Local.Asked, Err: f.Local.Err, Text: strings.Join(f.Local.Objects, ", ")}, "objects made by SQL here alone, and they would be lost"},
		{f.Wipe.Flat, "the layout"},
		{f.Wipe.Login, "the login at the source"},
	} {
		if why := a.Open(); why != "" {
			return a.what + ": not known: " + why
		}
		if a.Text != "" {
			return a.what + ": " + a.Text
		}
	}
	return ""
}

// healthyOthers are the other nodes whose own sidecars found their servers
// healthy and in service, asked just now.
func (g *guards) healthyOthers() []string {
	var out []string
	for _, d := range g.in.Facts.Donors {
		if s := d.State; d.Node != g.in.View.Self && d.Err == "" && s != nil && s.Observation.Reachable && !s.Observation.OfflineMode && s.Diagnosis.Class == ClassHealthy {
			out = append(out, d.Node)
		}
	}
	return out
}

// room is what is free for the copy when it is made: with what the live data
// take, where they go first.
func (f *Facts) room(w Wish) int64 {
	if w.WipeFirst && f.SpaceAt == "" {
		return f.Free + f.Wipe.Bytes
	}
	return f.Free
}
