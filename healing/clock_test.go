package healing

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"resilver/watchdog"
)

// TestClockOfAStepStandsStill: while a copy is compared the deadline of its
// rehearsal stands still, and what was left of it holds for all that comes after.
func TestClockOfAStepStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rebuild{log: slog.New(slog.DiscardHandler), h: &Healer{o: Options{StateDir: t.TempDir(), Checksum: ChecksumFull,
			Failpoint: func(string) {}, Stepped: func(watchdog.Step, time.Duration) {}}}}
		for _, compared := range []time.Duration{0, 10 * time.Hour} {
			began := time.Now()
			err := r.step(t.Context(), step{watchdog.StepRehearse, 30 * time.Minute, func(r *rebuild, ctx context.Context) error {
				time.Sleep(20 * time.Minute)
				r.clock.pause()
				time.Sleep(compared)
				r.clock.resume()
				<-ctx.Done()
				return ctx.Err()
			}})
			if took := time.Since(began) - compared; took != 30*time.Minute || err == nil || !strings.Contains(err.Error(), "not done within 30m0s") {
				t.Errorf("compared for %s: ended after %s more: %v", compared, took, err)
			}
		}
	})
}
