package healing

import (
	"errors"
	"slices"
	"testing"
	"time"

	"resilver/config/secret"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// TestWhatAPersonSetMeanwhileStands: a replica whose source was configured anew
// during the copy is left as it is; no secret is told.
func TestWhatAPersonSetMeanwhileStands(t *testing.T) {
	was := replica.SourceConfig{Host: "db1", Port: 3306, User: "repl", Password: secret.New("hush")}
	for name, c := range map[string]struct {
		change  func(*replica.SourceConfig)
		trigger string
		want    string // empty: it goes on
	}{
		"nothing":    {func(*replica.SourceConfig) {}, "", ""},
		"user":       {func(s *replica.SourceConfig) { s.User = "repl2" }, "", `cancelled: its replication was configured anew: user was "repl", is "repl2"`},
		"two things": {func(s *replica.SourceConfig) { s.TLS, s.Delay = true, 60 }, "", "cancelled: its replication was configured anew: delay was 0, is 60, tls was false, is true"},
		"rollback":   {func(s *replica.SourceConfig) { s.User = "repl2" }, watchdog.TriggerRollback, ""},
	} {
		now := was
		now.Password = secret.Secret{} // as it is kept of a dead server
		c.change(&now)
		h := &Healer{o: Options{Known: &Keeper{last: Last{Source: &now}}}}
		r := &rebuild{h: h, set: was, j: Journal{Record: watchdog.Record{Trigger: c.trigger}}}
		err := r.stillConfigured(t.Context(), true)
		if (err != nil) != (c.want != "") || err != nil && (err.Error() != c.want || !errors.Is(err, errCancelled)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	r := &rebuild{h: &Healer{o: Options{Known: &Keeper{}}}, set: was}
	if err := r.stillConfigured(t.Context(), true); !errors.Is(err, replica.ErrNotReplica) {
		t.Errorf("without a source: %v", err)
	}
}

// TestWhatMustStillHold: what changes hours after preflight is asked again; a
// rebuild under way is not stopped by what only a beginning wants.
func TestWhatMustStillHold(t *testing.T) {
	src := watchdog.SourceStatus{Filters: "do-db=a", Delay: time.Hour}
	facts := watchdog.Facts{Self: watchdog.Observation{Reachable: true, Sources: []watchdog.SourceStatus{src}}}
	for name, c := range map[string]struct {
		trigger string
		stands  []string
		not     []string
	}{
		"rebuild":  {watchdog.TriggerAuto, []string{"same-filters", "not-delayed", "role-known", "errant"}, []string{"mode", "paused", "staging-place", "breaker"}},
		"person's": {watchdog.TriggerManual, []string{"same-filters", "not-delayed", "role-known", "errant"}, []string{"paused", "staging-place", "breaker"}},
		"rollback": {watchdog.TriggerRollback, []string{"role-known", "errant", "old-datadir"}, []string{"paused"}},
	} {
		r := &rebuild{j: Journal{Record: watchdog.Record{Trigger: c.trigger}}}
		wish := watchdog.Wish{Manual: c.trigger == watchdog.TriggerManual, Rollback: r.j.Record.Rollback()}
		pause := watchdog.LeaseState{Pauses: []watchdog.Pause{{By: "root"}}}
		d := watchdog.Decide(watchdog.Input{Facts: &facts, Wish: wish, Lease: pause, Policy: watchdog.Policy{Observe: true}}, time.Now())
		var open []string
		for _, g := range watchdog.Failing(d.Guards) {
			if r.stands(g) {
				open = append(open, g.ID)
			}
		}
		for _, id := range c.stands {
			if !slices.Contains(open, id) {
				t.Errorf("%s: guard %s does not stand in the way: %s", name, id, open)
			}
		}
		for _, id := range c.not {
			if slices.Contains(open, id) {
				t.Errorf("%s: guard %s stands in the way", name, id)
			}
		}
	}
}
