//go:build proof

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestConfiguredAnewInStage: while its copy waits, a person gives the replica
// another account; the rebuild is given up before it touches anything, and the
// next one attaches with what the person set. Then, in the next copy, the
// source locks that account out: given up too.
func TestConfiguredAnewInStage(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	primary, n := c.Node(1), c.Node(2)
	must(t, primary.SQL(t.Context(), "CREATE USER repl2@'%' IDENTIFIED BY 'in-no-error'", "GRANT REPLICATION SLAVE ON *.* TO repl2@'%'"))
	must(t, n.WaitReplicating(t.Context(), time.Minute))

	left := toBeLeft(t, n)
	gate := gated(t, c, n)
	must(t, n.SQL(t.Context(), "STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_USER='repl2', SOURCE_PASSWORD='in-no-error'", "START REPLICA"))
	must(t, os.WriteFile(gate, nil, 0o644))
	left.givenUp(t, 1, `its replication was configured anew: user was "repl", is "repl2", password is another`)
	cli(t, n, 0, "resume")
	healed(t, n, 2)
	if status, err := n.Replica(t.Context()); err != nil || status["Source_User"] != "repl2" {
		t.Errorf("it replicates as %s, want repl2: %v", status["Source_User"], err)
	}

	left = toBeLeft(t, n)
	gate = gated(t, c, n)
	must(t, primary.SQL(t.Context(), "ALTER USER repl2@'%' ACCOUNT LOCK"))
	must(t, os.WriteFile(gate, nil, 0o644))
	left.givenUp(t, 3, "guard source-account: ")
}

// gated breaks a replica and returns when its copy is there; the file that is
// returned lets it go on.
func gated(t *testing.T, c *lab.Cluster, n *lab.Node) string {
	t.Helper()
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stage.end=wait:"+gate)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	cli(t, n, 0, "pause", "--reason", "no other rebuild yet") // which stop does not mind
	return gate
}

// left is a node as it was before a rebuild that is given up.
type left struct {
	node *lab.Node
	pid  int
	data uint64
}

func toBeLeft(t *testing.T, n *lab.Node) left {
	t.Helper()
	return left{n, n.PID(lab.Mysqld), dataOf(t, n)}
}

// givenUp: the n-th rebuild ended for that reason, and has not touched the
// server: the same process, on the same data, and never marked.
func (l left) givenUp(t *testing.T, n int, why string) {
	t.Helper()
	r := ended(t, l.node, n, 3*time.Minute)
	t.Logf("%s: %s: %s", l.node.Name, r.Outcome, r.Error)
	if r.Outcome != watchdog.Cancelled || !strings.Contains(r.Error, why) || strings.Contains(r.Error, "in-no-error") {
		t.Errorf("outcome %s, want cancelled for %q: %s", r.Outcome, why, r.Error)
	}
	if r.OutageSeconds != nil {
		t.Errorf("it was away for %v s", *r.OutageSeconds)
	}
	if now := l.node.PID(lab.Mysqld); now != l.pid {
		t.Errorf("mysqld is process %d, it was %d: it was ended", now, l.pid)
	}
	if dataOf(t, l.node) != l.data {
		t.Error("the datadir was replaced")
	}
}
