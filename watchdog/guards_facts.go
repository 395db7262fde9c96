package watchdog

import (
	"fmt"
	"slices"
	"strings"
)

func (g *guards) donors(cs []Candidate) {
	g.retention(cs)
	var why, waits []string
	for _, c := range cs {
		if c.Fit {
			g.add("donor", true, c.Name, "one that fits", "", false)
			g.add("donor-not-backuping", true, c.Name, "NONE", "", false)
			return
		}
		why = append(why, c.Name+": "+strings.Join(c.Reasons, "; "))
		if c.Wait {
			waits = append(waits, c.Name+": "+strings.Join(c.Reasons, "; "))
		}
	}
	if wrong := WrongDonor(g.in.View, g.in.From); wrong != "" {
		why = append(why, wrong)
	}
	g.add("donor", false, "none", "one that fits", orText(strings.Join(why, " | ")), false)
	g.add("donor-not-backuping", len(waits) == 0, orNone(waits), "NONE", strings.Join(waits, " | "), false)
}

// retention: what the primary has purged must be in the copy, or the rebuilt
// replica needs logs that are gone.
func (g *guards) retention(cs []Candidate) {
	if g.in.Facts == nil {
		return
	}
	worst := Answer{Err: "no candidate answered"}
	for _, f := range g.in.Facts.Donors {
		if len(cs) > 0 && cs[0].Fit && f.Node == cs[0].Name {
			worst = f.Purged
			break
		}
		if f.Purged.Open() == "" {
			worst = f.Purged
		}
	}
	g.answer("retention", worst, "the primary keeps the logs that the copy needs", false)
}

// WrongDonor says why a person's choice cannot be a donor at all, whatever its
// state; empty where it can be, or where nobody chose.
func WrongDonor(v View, from string) string {
	_, known := v.Nodes[from]
	switch {
	case from == "":
		return ""
	case from == v.Self:
		return from + ": a node is never its own donor"
	case !known:
		return from + ": no node of this cluster has that name; `resilver status` lists them"
	}
	return ""
}

// facts: the guards that only a question to servers and disks can answer.
func (g *guards) facts() {
	f := g.in.Facts
	if f == nil {
		return
	}
	g.primaryAlive()
	g.errant()
	g.local()
	g.answer("staging-place", f.Staging, "beside the datadir, exchangeable with it", false)
	g.answer("starts-read-only", f.Closed, "closed to writers when it boots", false)
	g.answer("encryption", f.Encrypted, "none", false)
	g.answer("engines", f.Engines, "InnoDB only", true)
	g.answer("service", f.Service, "a manager that can stop and start mysqld", false)
	g.answer("source-account", f.Account, "an account to replicate with", false)
	if !g.in.Drill { // this node goes on acknowledging
		g.semiSync()
	}
	if f.SpaceErr != "" {
		g.unknown("disk-space", "room for the copy", f.SpaceErr, false)
	} else {
		room := f.room(g.in.Wish)
		value := fmt.Sprintf("%d bytes free%s", f.Free, f.SpaceAt)
		if room != f.Free {
			value = fmt.Sprintf("%d bytes free once the old data are gone", room)
		}
		g.add("disk-space", room >= f.Need, value, fmt.Sprintf("at least %d", f.Need),
			"too little room for a copy beside the live data", false)
	}
	g.versions()
}

func (g *guards) primaryAlive() {
	const id, want = "primary-alive", "alive and writable"
	switch f := g.in.Facts; {
	case f.PrimaryErr != "":
		g.unknown(id, want, f.PrimaryErr, false)
	case f.Primary != nil:
		o := f.Primary.Observation
		g.add(id, o.Writable(), fmt.Sprintf("reachable %t, writable %t", o.Reachable, o.Writable()), want, "the primary's own sidecar does not find it writable", false)
	default:
		g.unknown(id, want, "no primary is known", false)
	}
}

// errant: what only this node has is left to a person, or can be archived.
func (g *guards) errant() {
	const id, want = "errant", "nothing that the primary lacks"
	f := g.in.Facts
	if !g.in.Policy.Archive || f.Errant.Open() != "" || f.Errant.Text == "" {
		g.answer(id, f.Errant, want, false)
		return
	}
	const orArchive = want + ", or that it can be archived"
	if why := f.Archive.Open(); why != "" {
		g.unknown(id, orArchive, fmt.Sprintf("%s: whether it can be archived is not known: %s", f.Errant.Text, why), false)
		return
	}
	g.add(id, f.Archive.Text == "", f.Errant.Text+", to be archived", orArchive, fmt.Sprintf("%s cannot be archived: %s", f.Errant.Text, f.Archive.Text), false)
}

// local: what was made here alone does not come back with the copy. That is no
// obstacle, because all of it is kept in the old datadir, but said.
func (g *guards) local() {
	const id, want = "local-objects", "known"
	f := g.in.Facts
	switch l := f.Local; {
	case f.Down != nil:
		g.add(id, true, "not known: mysqld is down; they stay in the old datadir", want, "", true)
	case !l.Asked || l.Err != "":
		g.unknown(id, want, orText(l.Err), true)
	default:
		g.add(id, true, firstOf(l.Objects), want, "", true)
	}
}

// versions: a configured method fits this server, and it is the wished one
// where a person named one.
func (g *guards) versions() {
	f, want := g.in.Facts, "a method that fits"
	var why []string
	for m, reason := range f.MethodWhy {
		if g.in.Method == "" || g.in.Method == m {
			why = append(why, m+": "+reason)
		}
	}
	slices.Sort(why)
	if len(why) == 0 {
		why = append(why, "it is not in rebuild.methods")
	}
	if g.in.Method != "" {
		want = g.in.Method
	}
	g.add("versions", g.in.method() != "", orText(g.in.method()), want, strings.Join(why, "; "), false)
}

// semiSync keeps commits at the primary from standing still for want of this
// node's acknowledgements.
func (g *guards) semiSync() {
	p := g.in.Facts.Primary
	if p == nil {
		g.unknown("semi-sync", "enough acknowledging replicas remain", "the primary was not asked", true)
		return
	}
	s := p.Observation.SemiSync
	left := s.Clients
	if g.in.Facts.Self.SemiSync.Replica {
		left--
	}
	g.add("semi-sync", !s.On || left >= s.Wants, fmt.Sprintf("on %t, %d would remain", s.On, left), fmt.Sprintf("at least %d", s.Wants),
		"without this node the primary waits for acknowledgements that do not come", true)
}

func nodeByUUID(v View, uuid string) string {
	for _, name := range names(v) {
		if v.Nodes[name].ServerUUID == uuid {
			return name
		}
	}
	return "a server with uuid " + uuid
}
