//go:build proof

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

const sidecarProgram = lab.Sidecar

// TestPromotedInStage: while its copy is being made, the broken replica is
// promoted by somebody. It is the primary now, and left alone.
func TestPromotedInStage(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) { promotedAt(t, engine, "stage.end") })
}

// TestTrapR5PromotedInStop: the same between the last look and the kill, when
// the server is closed already.
func TestTrapR5PromotedInStop(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) { promotedAt(t, engine, "stop.closed") })
}

func promotedAt(t *testing.T, engine, point string) {
	c := upOn(t, engine, nil)
	n := c.Node(2)
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, point+"=wait:"+gate)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	pid := n.PID(lab.Mysqld)

	// A promoter, in a hurry and with every privilege, takes the node as it is.
	promote := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		promote <- n.SQL(ctx, "STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only=0", // MySQL ends super_read_only with it
			"INSERT INTO lab.faults (note) VALUES ('written by the new primary')")
	}()
	if point != "stop.closed" {
		must(t, <-promote)
		must(t, os.WriteFile(gate, nil, 0o644))
	} else {
		// Its write waits behind the lock, until the closing is undone.
		must(t, lab.WaitFor(t.Context(), 30*time.Second, "the promotion to have begun", func(ctx context.Context) (bool, string) {
			rows, err := n.Rows(ctx, "SHOW REPLICA STATUS")
			return err == nil && len(rows) == 0, fmt.Sprint(len(rows), err)
		}))
		must(t, os.WriteFile(gate, nil, 0o644))
		must(t, <-promote)
	}
	r := ended(t, n, 1, 3*time.Minute)
	if r.Outcome != watchdog.Cancelled {
		t.Errorf("outcome %s, want cancelled: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	if now := n.PID(lab.Mysqld); now != pid {
		t.Errorf("mysqld is process %d, it was %d: it was ended", now, pid)
	}
	if ino := dataOf(t, n); ino != before.inode {
		t.Error("the promoted node's datadir was replaced")
	}
	doors(t, n, primaryDoors)
	quiet(t, c, 1, 2*brokenFor) // the one that ended
}

// TestTrapR6PrimaryChangesDuringTheCopy: another replica is promoted while
// the copy is made. That rebuild is given up; the next one attaches to the
// present primary.
func TestTrapR6PrimaryChangesDuringTheCopy(t *testing.T) { onEngines(t, primaryChanges) }

func primaryChanges(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	db2, db3 := c.Node(2), c.Node(3)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, db2, "stage.end=wait:"+gate)
	breakIt(t, c, db2, "row-missing")
	reached(t, gate)
	must(t, c.Promote(t.Context(), db3))
	must(t, os.WriteFile(gate, nil, 0o644))
	first := ended(t, db2, 1, 3*time.Minute)
	if first.Outcome != watchdog.Cancelled {
		t.Errorf("outcome %s, want cancelled: %s", first.Outcome, first.Error)
	}
	t.Logf("%s: %s", first.Outcome, first.Error)

	healed(t, db2, 2)
	status, err := db2.Replica(t.Context())
	must(t, err)
	if status["Source_Host"] != db3.Address {
		t.Errorf("its source is %s, want the present primary %s", status["Source_Host"], db3.Address)
	}
	equal(t, c)
}

func reached(t *testing.T, gate string) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), 3*time.Minute, "the failpoint to be reached", func(context.Context) (bool, string) {
		_, err := os.Stat(gate + ".reached")
		return err == nil, "not reached"
	}))
}

// inStep waits until the node's rebuild is in a step.
func inStep(t *testing.T, n *lab.Node, step watchdog.Step, within time.Duration) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), within, fmt.Sprintf("%s to be in %s", n.Name, step), func(ctx context.Context) (bool, string) {
		self, err := n.Self(ctx)
		return err == nil && self.Rebuild != nil && self.Rebuild.Step == step, present(ctx, n)
	}))
}

// moving waits until some of the copy has arrived.
func moving(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), time.Minute, n.Name+"'s copy to move", func(ctx context.Context) (bool, string) {
		self, err := n.Self(ctx)
		return err == nil && self.Rebuild != nil && self.Rebuild.Bytes > 1<<20, present(ctx, n)
	}))
}
