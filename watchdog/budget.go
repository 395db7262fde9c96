package watchdog

import (
	"fmt"
	"time"
)

// Charged counts the rebuilds in history that were begun since the given
// time and not given back; node is empty for the whole cluster.
func Charged(history []Record, node string, since time.Time) int {
	n := 0
	for _, r := range copying(history) {
		if (node == "" || r.Node == node) && !r.Untouched && r.Started.After(since) {
			n++
		}
	}
	return n
}

// CooldownUntil is when node may be rebuilt again: base after its last
// rebuild, doubled for each failed one in a row. Cancelled ones do not count,
// a healed one ends the row. History is newest first.
func CooldownUntil(history []Record, node string, base time.Duration) time.Time {
	var last time.Time
	wait := base
	for _, r := range copying(history) {
		if r.Node != node || r.Ended.IsZero() || r.Outcome == Cancelled {
			continue
		}
		if last.IsZero() {
			last = r.Ended.Time
		}
		if r.Outcome == Healed {
			break
		}
		if wait < 24*time.Hour {
			wait *= 2
		}
	}
	if last.IsZero() {
		return time.Time{}
	}
	return last.Add(wait)
}

// CheckBudget says why node may not be rebuilt now, nil where it may, as far as
// history goes back. It is a first look: the lease machine keeps its own
// counts, and has the last word.
func CheckBudget(history []Record, node string, b Budget, now time.Time) []Refusal {
	var out []Refusal
	if n := Charged(history, node, now.Add(-24*time.Hour)); n >= b.NodePerDay {
		out = append(out, Refusal{"budget-node", fmt.Sprintf("%d of %d rebuilds of %s begun within a day", n, b.NodePerDay, node)})
	}
	if n := Charged(history, "", now.Add(-time.Hour)); n >= b.ClusterPerHour {
		out = append(out, Refusal{"budget-cluster", fmt.Sprintf("%d of %d rebuilds begun in the cluster within an hour", n, b.ClusterPerHour)})
	}
	if until := CooldownUntil(history, node, b.Cooldown); now.Before(until) {
		out = append(out, Refusal{"cooldown", fmt.Sprintf("%s cools down until %s", node, StampOf(until))})
	}
	return out
}
