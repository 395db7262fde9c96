package sidecar

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"resilver/watchdog"
)

// TestGuardFailingFollowsTheLastDecision: a guard that an earlier decision
// found failing is 0 again once a later one leaves it out, or nothing is due.
func TestGuardFailingFollowsTheLastDecision(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), "test", "test")
	shown := func(want ...string) {
		t.Helper()
		failing := map[string]bool{}
		for _, id := range want {
			failing[id] = true
		}
		seen := failingGuards(t, m.registry)
		if len(seen) != len(watchdog.GuardIDs()) {
			t.Errorf("%d guards are shown, there are %d", len(seen), len(watchdog.GuardIDs()))
		}
		for id, value := range seen {
			if value != truth(failing[id]) {
				t.Errorf("%s is %v, want %v", id, value, truth(failing[id]))
			}
		}
	}
	decided := func(rung watchdog.Rung, guards ...watchdog.Guard) {
		m.observed(watchdog.Observation{}, watchdog.Diagnosis{}, watchdog.Decision{Rung: rung, Guards: guards})
	}
	errant := watchdog.Guard{ID: "errant", Verdict: watchdog.Fail}
	lease := watchdog.Guard{ID: "lease", Verdict: watchdog.Unknown}
	shown()
	decided(watchdog.RungRebuild, lease, errant)
	shown("errant", "lease")
	decided(watchdog.RungRebuild, lease) // a cheap look: errant was not asked
	shown("lease")
	decided(watchdog.RungNone, lease)
	shown()
}

// failingGuards are the values of resilver_guard_failing by guard.
func failingGuards(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "resilver_guard_failing" {
			continue
		}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if l.GetName() == "guard" {
					out[l.GetValue()] = one.GetGauge().GetValue()
				}
			}
		}
	}
	return out
}
