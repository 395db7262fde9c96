package healing

import (
	"fmt"
	"testing"
	"time"

	"resilver/watchdog"
)

// TestVerifyEnds: a copy that fetches and applies nothing is given up, and one
// that applies a long transaction, or gets on however slowly, is not.
func TestVerifyEnds(t *testing.T) {
	const stall, pace = time.Minute, 10 * time.Second
	always := func(int) bool { return true }
	never := func(int) bool { return false }
	for name, c := range map[string]struct {
		fetches, applies, runs func(look int) bool
		end                    time.Duration // about; 0: not within two hours
	}{
		"nothing moves":               {never, never, always, stall},
		"fetches for ever":            {always, never, always, (fetchingStalls + 1) * stall},
		"fetches, then no more":       {func(i int) bool { return i < 30 }, never, always, 30*pace + stall},
		"applies":                     {never, always, always, 0},
		"a long transaction":          {always, func(i int) bool { return i%50 == 49 }, always, 0},
		"applies too rarely":          {never, func(i int) bool { return i%50 == 49 }, always, stall},
		"threads do not run":          {always, always, never, stall},
		"threads fail time and again": {always, never, func(i int) bool { return i%3 > 0 }, (fetchingStalls + 1) * stall},
	} {
		begin := time.Now()
		a := advance{stall: stall, applied: begin, at: begin}
		fetched, executed, end := 0, 1, time.Duration(0)
		for i := 0; i < 720 && end == 0; i++ {
			now := begin.Add(time.Duration(i) * pace)
			if c.fetches(i) {
				fetched++
			}
			if c.applies(i) {
				executed++
			}
			state := map[bool]watchdog.Thread{true: watchdog.ThreadRunning, false: watchdog.ThreadStopped}[c.runs(i)]
			a.look(watchdog.Observation{Reachable: true, Executed: fmt.Sprint("u:", executed), Sources: []watchdog.SourceStatus{{
				Retrieved: fmt.Sprint("s:", fetched), Receiver: watchdog.ThreadStatus{Running: state}, Applier: watchdog.ThreadStatus{Running: state}}}}, now)
			if a.stalled(now) {
				end = now.Sub(begin)
			}
		}
		if (end == 0) != (c.end == 0) || (end-c.end).Abs() > 4*pace {
			t.Errorf("%s: given up after %s, want %s", name, end, c.end)
		}
	}
}
