//go:build proof

package e2e

import (
	"testing"
	"time"

	"resilver/watchdog"
)

// TestInvariant5KilledFromStopOn: the sidecar dies by SIGKILL at each point
// from the closing of the old server to the release of the lease. Before the
// old server was ended on purpose it goes on serving, opened again; after
// that the rebuild goes forward. Every time the replica ends healed.
func TestInvariant5KilledFromStopOn(t *testing.T) { onEngines(t, killedFromStopOn) }

func killedFromStopOn(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.cooldown": "1s"})
	n := c.Node(2)
	stopLoad := underLoad(t, c)
	done := 0
	for _, kill := range []struct {
		point  string
		undone bool // the killed rebuild is given up, and another one heals
	}{
		{"stop.begin", true}, {"stop.closed", true}, {"stop.ending", true},
		{"swap.begin", false}, {"start.begin", false}, {"attach.begin", false}, {"verify.begin", false},
		{"verify.end", false}, {"settle.begin", false},
	} {
		t.Logf("killed at %s", kill.point)
		before := identityOf(t, n)
		restartWith(t, n, kill.point+"=kill")
		together(t, c)
		breakIt(t, c, n, "row-missing")
		died(t, n)
		n.Env()
		must(t, n.StartSidecar())
		done++
		if kill.undone {
			if r := ended(t, n, done, 2*time.Minute); r.Outcome != watchdog.Cancelled {
				t.Fatalf("outcome %s, want cancelled: %s", r.Outcome, r.Error)
			}
			done++
		}
		r := healed(t, n, done)
		before.unchanged(t, n)
		quarantined(t, n, before, r.ID)
	}
	stopLoad()
	equal(t, c)
}
