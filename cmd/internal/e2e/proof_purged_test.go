//go:build proof

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestTrapP16PurgedWhileCopying: the primary purges logs that the copy would
// need while it is made. The old server is closed, compared, opened again and
// never ended; the next rebuild takes a copy that is new enough.
func TestTrapP16PurgedWhileCopying(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	primary, n := c.Node(1), c.Node(2)
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "rehearse.end=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	must(t, primary.SQL(t.Context(), "INSERT INTO lab.faults (note) VALUES ('after the copy')", "FLUSH BINARY LOGS"))
	must(t, lab.WaitFor(t.Context(), time.Minute, "the primary to purge all but its last log", func(ctx context.Context) (bool, string) {
		logs, err := primary.Rows(ctx, "SHOW BINARY LOGS")
		if err == nil && len(logs) > 1 {
			err = primary.SQL(ctx, "PURGE BINARY LOGS TO '"+logs[len(logs)-1]["Log_name"]+"'")
		}
		return err == nil && len(logs) == 1, present(ctx, primary)
	}))
	must(t, os.WriteFile(gate, nil, 0o644))

	r := ended(t, n, 1, 2*time.Minute)
	if r.Outcome != watchdog.Cancelled || !strings.Contains(r.Error, "purged logs that the new server would need") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	before.untouched(t, n)
	healed(t, n, 2)
	before.unchanged(t, n)
	equal(t, c)
}
