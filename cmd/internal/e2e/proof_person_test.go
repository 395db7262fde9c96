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

// TestShutDownWhileCopying: a person shuts mysqld down while its copy is being
// made. The copy is given up, and mysqld stays down until the person starts it.
func TestShutDownWhileCopying(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	n := c.Node(2)
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "rehearse.end=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	must(t, n.SQL(t.Context(), "SHUTDOWN"))
	must(t, lab.WaitFor(t.Context(), time.Minute, "mysqld to be down", func(context.Context) (bool, string) {
		return n.PID(lab.Mysqld) == 0, ""
	}))
	notRunning(t, n)
	must(t, os.WriteFile(gate, nil, 0o644))

	r := ended(t, n, 1, 2*time.Minute)
	if r.Outcome != watchdog.Cancelled || !strings.Contains(r.Error, "service") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	notRunning(t, n)
	must(t, n.StartServer(t.Context()))
	before.untouched(t, n)
	healed(t, n, 2)
	before.unchanged(t, n)
	equal(t, c)
}
