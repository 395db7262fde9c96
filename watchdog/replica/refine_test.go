package replica

import (
	"testing"
	"time"

	"resilver/watchdog"
)

// TestRefineNamesTheCause: of several workers, the one that failed counts,
// not those that stopped after it to keep the order of commits, as seen on
// MySQL 9.7 with four workers under load.
func TestRefineNamesTheCause(t *testing.T) {
	const gtid = "72c6865e-e715-11f1-8c17-02fc00000001:75"
	at := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	cause := detail{place: "applier", errno: 1032, at: at.Add(time.Millisecond),
		message: "Worker 1 failed executing transaction '" + gtid + "' at source log b.000001, end_log_pos 4; Could not execute Update_rows event on table lab.t"}
	follower := detail{place: "applier", errno: stoppedByAnother, at: at, message: "Replica worker has stopped after at least one previous worker"}
	for name, shown := range map[string]int{"the cause was shown": 1032, "the follower was shown": stoppedByAnother} {
		status := watchdog.ThreadStatus{Running: watchdog.ThreadStopped, Errno: shown, Message: "Coordinator stopped"}
		refine(&status, "applier", "", []detail{follower, cause})
		if status.Errno != 1032 || status.Message != cause.message || status.GTID != gtid {
			t.Errorf("%s: refined to %d %q at %q", name, status.Errno, status.Message, status.GTID)
		}
	}
	status := watchdog.ThreadStatus{Errno: stoppedByAnother, Message: "Coordinator stopped"}
	if refine(&status, "applier", "", []detail{follower}); status.Errno != stoppedByAnother {
		t.Errorf("without a cause it became %d", status.Errno)
	}
}
