package watchdog

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// judgeDonors says of every other node whether it can be copied from, best
// first. from is a person's choice, and judged by the same rules.
func judgeDonors(in Input, standing Standing) []Candidate {
	facts := map[string]DonorFacts{}
	if in.Facts != nil {
		for _, d := range in.Facts.Donors {
			facts[d.Node] = d
		}
	}
	var out []Candidate
	for _, name := range names(in.View) {
		if name == in.View.Self || (in.From != "" && name != in.From) {
			continue
		}
		out = append(out, judgeDonor(in, in.View.Nodes[name], facts[name], standing))
	}
	demotePrimary(in, out, standing.Primary)
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].Fit != out[j].Fit {
			return out[i].Fit
		}
		return out[i].Score > out[j].Score
	})
	return out
}

// judgeDonor applies the donor rule of design.md §7 to one node.
func judgeDonor(in Input, n NodeView, f DonorFacts, standing Standing) Candidate {
	c := Candidate{Name: n.Node, Reasons: []string{}}
	no := func(format string, args ...any) { c.Reasons = append(c.Reasons, fmt.Sprintf(format, args...)) }
	if !n.Fresh(in.Policy.Fresh) {
		no("no fresh report")
		return c
	}
	if !n.MayDonate {
		no("configured never to be a donor")
	}
	if busy := backuping(in.Lease, n.Node); busy != "" {
		no("%s", busy)
		c.Wait = true
	}
	// What is left to a drill then is to remove its copy, without the lease.
	if n.Progress != nil && !(n.Progress.Drill() && n.Progress.Step == StepSettle) {
		no("is being rebuilt")
	}
	if in.Facts == nil {
		c.Fit = len(c.Reasons) == 0 && n.Reachable
		return c
	}
	switch {
	case f.Err != "":
		no("did not answer: %s", f.Err)
	case f.State == nil:
		no("was not asked")
	default:
		hard := len(c.Reasons)
		waits := donorState(in, f, n.Node == standing.Primary, no)
		c.Wait = c.Wait || (waits && hard == 0)
	}
	if c.Fit = len(c.Reasons) == 0; !c.Fit {
		return c
	}
	c.Score = donorScore(f, n.Node == standing.Primary, n.Zone != "" && n.Zone == in.View.Nodes[in.View.Self].Zone)
	if failedLast(in, n.Node) {
		c.Score -= 1000
	}
	return c
}

// donorState judges the candidate's own answer; it returns whether only a
// passing condition was found.
func donorState(in Input, f DonorFacts, primary bool, no func(string, ...any)) (waits bool) {
	obs := f.State.Observation
	self := in.Facts.Self
	if !in.Facts.known() || in.Facts.PrimaryErr != "" {
		no("nothing to compare it with (see the guards)")
		return false
	}
	if !obs.Reachable {
		no("its mysqld does not answer: %s", obs.Err)
		return false
	}
	if obs.Executed == "" {
		no("is empty: it has executed nothing")
	}
	if obs.Flavor != self.Flavor || obs.VersionNumber/100 != self.VersionNumber/100 {
		no("runs %s %s, this node %s %s", obs.Flavor, obs.Version, self.Flavor, self.Version)
	}
	if c := f.State.Contents; c.Err != "" {
		no("what it holds is not known: %s", c.Err)
	} else if m := in.method(); m == "clone" || m == "mariabackup" {
		for _, lack := range c.Lacks {
			no("%s", lack)
		}
	}
	if held := f.State.Contents.Engines; len(held) > 0 && !slices.Contains(in.Override, "engines") {
		no("has tables that a copy would bring over empty: %s", strings.Join(held, ", "))
	}
	if obs.OfflineMode {
		no("is offline (offline_mode)")
	}
	if !primary {
		src := obs.Source()
		switch {
		case src == nil:
			no("is neither the primary nor a replica of one source")
		case src.Delay > 0:
			no("is delayed by %s", src.Delay)
		case src.Filters != "":
			no("has replication filters (%s), so its data is not whole", src.Filters)
		case src.Receiver.Running != ThreadRunning || src.Applier.Running != ThreadRunning:
			no("its replication does not run (%s)", f.State.Diagnosis.Class)
		case !src.Lag.Known:
			no("its lag is unknown")
		case src.Lag.Behind > in.Policy.DonorMaxLag:
			no("lags %s, more than %s", src.Lag.Behind, in.Policy.DonorMaxLag)
		}
	}
	for _, a := range []struct {
		Answer
		what string
	}{{f.Missing, "lacks what this node needs"}, {f.Purged, "lacks what the primary has purged"},
		{f.Errant, "has transactions that the primary does not have"}} {
		switch {
		case in.Drill && a.what == "lacks what this node needs": // which loses nothing
		case primary && a.what != "lacks what this node needs":
		case a.Open() != "":
			no("%s? unknown: %s", a.what, a.Open())
		case a.Text != "":
			no("%s: %s", a.what, a.Text)
			waits = a.what == "lacks what this node needs"
		}
	}
	return waits
}

// demotePrimary applies donor.primary: the primary is no donor while a
// replica fits, or would but for the backup that it serves.
func demotePrimary(in Input, cs []Candidate, primary string) {
	replica := ""
	for _, c := range cs {
		if c.Name != primary && (c.Fit || (c.Wait && len(c.Reasons) == 1)) {
			replica = c.Name
		}
	}
	for i := range cs {
		if cs[i].Name != primary {
			continue
		}
		switch {
		case in.Policy.DonorPrimary == PrimaryNever:
			cs[i].Fit = false
			cs[i].Reasons = append(cs[i].Reasons, "is the primary (donor.primary: never)")
		case in.Policy.DonorPrimary == PrimaryLastResort && replica != "" && in.From == "":
			cs[i].Fit = false
			cs[i].Reasons = append(cs[i].Reasons, fmt.Sprintf("is the primary, the last resort; %s comes first", replica))
		}
	}
}

// backuping says what the lease has the node do, empty for nothing.
func backuping(l LeaseState, node string) string {
	switch {
	case l.Lease == nil:
		return ""
	case l.Lease.Donor == node:
		return fmt.Sprintf("is BACKUPING for %s", l.Lease.Holder)
	case l.Lease.Holder == node:
		return "is being rebuilt"
	}
	return ""
}

// failedLast says that this node's last rebuild failed with that donor: any
// other that fits comes first then. Drills say nothing here, neither one that
// failed nor one that passed since.
func failedLast(in Input, donor string) bool {
	for _, r := range in.Lease.History {
		if r.Node == in.View.Self && !r.Ended.IsZero() && Copies(r.Trigger) {
			return r.Donor == donor && r.Outcome == Failed
		}
	}
	return false
}

// donorScore prefers replicas, then the same zone, then little lag; 0 to 200.
func donorScore(f DonorFacts, primary, sameZone bool) float64 {
	if primary {
		return 1
	}
	if f.State == nil {
		return 0
	}
	src := f.State.Observation.Source()
	if src == nil || !src.Lag.Known {
		return 0
	}
	score := 100 / (1 + src.Lag.Behind.Seconds())
	if sameZone {
		score += 100
	}
	return score
}
