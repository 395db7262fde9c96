package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// milestone is one line of the story of a rebuild.
type milestone int

const (
	untold milestone = iota
	noticed
	confirmed
	leased
	copying
	rehearsed
	swapped
	replicating
)

func (m milestone) String() string {
	return []string{"", "noticed", "confirmed", "lease", "copying", "rehearsed", "swapped", "replicating"}[m]
}

// snapshot is what a node's sidecar says at one moment; a part that could not
// be had is nil.
type snapshot struct {
	self   *admin.NodeStatus
	lease  *admin.LeaseStatus
	plan   *admin.Plan
	record *watchdog.Record // of the rebuild that the story is about
}

// story tells the rebuild of one node, each milestone once and in order, also
// those that went by between two looks.
type story struct {
	node string
	told milestone
	at   map[milestone]time.Time
}

func newStory(node string) *story { return &story{node: node, at: map[milestone]time.Time{}} }

// line is a milestone with its words.
type line struct {
	what milestone
	text string
}

// tell returns what is new.
func (s *story) tell(now time.Time, snap snapshot) []line {
	var lines []line
	reached := s.reached(snap)
	for m := s.told + 1; m <= reached; m++ {
		s.at[m] = now
		lines = append(lines, line{m, s.words(m, snap)})
	}
	s.told = max(s.told, reached)
	return lines
}

// reached is the last milestone that a snapshot proves.
func (s *story) reached(snap snapshot) milestone {
	if snap.record != nil && snap.record.Outcome == watchdog.Healed {
		return replicating
	}
	if snap.self != nil && snap.self.Rebuild != nil {
		return stepMilestone(snap.self.Rebuild.Step)
	}
	if snap.lease != nil && snap.lease.Holder == s.node {
		return leased
	}
	if snap.plan == nil || !snap.plan.Diagnosis.Class.Curable() {
		return untold
	}
	if snap.plan.WouldAct {
		return confirmed
	}
	return noticed
}

// stepMilestone is what a rebuild in a step has behind it.
func stepMilestone(step watchdog.Step) milestone {
	at := func(s watchdog.Step) int { return slices.Index(watchdog.Steps(), s) }
	switch i := at(step); {
	case i < at(watchdog.StepStage), step == watchdog.StepSettle: // a failed one is settled, too
		return leased
	case i <= at(watchdog.StepRehearse):
		return copying
	case i <= at(watchdog.StepSwap):
		return rehearsed
	default:
		return swapped
	}
}

func (s *story) words(m milestone, snap snapshot) string {
	switch m {
	case noticed:
		if snap.plan == nil {
			return s.node + " is broken"
		}
		d := snap.plan.Diagnosis
		return fmt.Sprintf("%s is %s (%s): %s", s.node, d.Class, d.Reason, shorten(gist(string(d.Detail)), 96))
	case confirmed:
		return "it stays broken, nothing but a new copy cures it, and no guard objects"
	case leased:
		return s.leaseWords(snap)
	case copying:
		return "a copy is made beside the live data, which stays as it is"
	case rehearsed:
		return "the copy booted privately, and holds the transactions it should"
	case swapped:
		return "copy and live data exchanged in one step; the old data is kept aside"
	case replicating:
		return s.node + " replicates again, and follows the primary"
	}
	return ""
}

func (s *story) leaseWords(snap snapshot) string {
	text := "the cluster allows one rebuild at a time: " + s.node + " has the right"
	switch {
	case snap.lease != nil:
		text += fmt.Sprintf(" (token %d), %s gives the copy", snap.lease.Token, snap.lease.Donor)
	case snap.self != nil && snap.self.Rebuild != nil:
		text += ", " + snap.self.Rebuild.Donor + " gives the copy"
	}
	return text
}

// preamble is what MySQL says before it comes to the point.
var preamble = regexp.MustCompile(`^.*(?:end_log_pos \d+; |from binary log: ')`)

// gist is an error of the server without its preamble.
func gist(text string) string { return preamble.ReplaceAllString(text, "") }

// leastTotal is the size from which the server's estimate of a copy is one.
const leastTotal = 1e6

// bar draws the progress of a copy; empty where there is none to draw.
func bar(p *watchdog.Progress) string {
	if p == nil || p.Step != watchdog.StepStage || p.BytesTotal < leastTotal {
		return ""
	}
	const width = 24
	share := min(1, float64(p.Bytes)/float64(p.BytesTotal))
	full := int(share * width)
	text := fmt.Sprintf("[%s%s] %3.0f%%  %.0f of %.0f MB", strings.Repeat("#", full), strings.Repeat(".", width-full),
		share*100, megabytes(p.Bytes), megabytes(p.BytesTotal))
	if p.Rate > 0 {
		text += fmt.Sprintf("  %.0f MB/s", p.Rate/1e6)
	}
	if p.ETASeconds != nil {
		text += fmt.Sprintf("  %.0f s left", *p.ETASeconds)
	}
	return text
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.TrimSpace(text[:n]) + "..."
}
