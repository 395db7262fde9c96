package gossip

import (
	"testing"
	"time"

	"resilver/watchdog"
)

// What is new is broadcast at once, and what is not only now and then: an idle
// cluster is quiet, and its reports stay fresh.
func TestRepeats(t *testing.T) {
	r := newReports("db1", 1000)
	lag := func(s float64) *float64 { return &s }
	say := func(after time.Duration, lag *float64) watchdog.Report {
		return watchdog.Report{Seq: uint64(after), Time: watchdog.StampOf(time.Unix(0, 0).Add(after)),
			Health: watchdog.HealthHealthy, LagSeconds: lag}
	}
	began := time.Now()
	for _, c := range []struct {
		after time.Duration
		lag   *float64
		want  bool
	}{
		{0, lag(0), false},
		{time.Second, lag(0), true},
		{2 * time.Second, lag(0), true},
		{repeatEvery, lag(0), false},
		{repeatEvery + time.Second, lag(1), false},
		{repeatEvery + 2*time.Second, lag(1), true},
		{repeatEvery + 3*time.Second, nil, false},
	} {
		if got := r.repeats(say(c.after, c.lag), began.Add(c.after)); got != c.want {
			t.Errorf("after %s: repeats %v, want %v", c.after, got, c.want)
		}
	}
}
