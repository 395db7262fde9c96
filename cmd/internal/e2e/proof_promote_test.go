//go:build proof

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

const sidecarProgram = lab.Sidecar

// TestPromotedInStage: while its copy is being made, the broken replica is
// promoted by somebody: one while the bytes flow, and then another one when the
// copy has just arrived. It is the primary now, and left alone.
func TestPromotedInStage(t *testing.T) { onEngines(t, promotedInStage) }

func promotedInStage(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"donor.max_rate": "12MiB", "policy.systemic_window": "3s"}) // db3 diverges after db2
	db2, db3 := c.Node(2), c.Node(3)
	taken := toBePromoted(t, db2)
	breakIt(t, c, db2, "row-missing")
	inStep(t, db2, watchdog.StepStage, time.Minute)
	moving(t, db2)
	must(t, promote(t, db2))
	self, err := db2.Self(t.Context())
	must(t, err)
	if r := self.Rebuild; r == nil || r.Step != watchdog.StepStage || r.Bytes >= r.BytesTotal {
		t.Fatalf("it was not promoted in the middle of the copy: %+v", r)
	}
	taken.leftAlone(t)

	// Demoted, it is nobody's source or replica, and not in the way of db3.
	must(t, db2.SQL(t.Context(), "SET GLOBAL read_only=1"))
	taken = toBePromoted(t, db3)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, db3, "stage.end=wait:"+gate)
	breakIt(t, c, db3, "row-missing")
	reached(t, gate)
	must(t, promote(t, db3))
	must(t, os.WriteFile(gate, nil, 0o644))
	taken.leftAlone(t)
	quiet(t, c, 2, 2*brokenFor) // those that ended
}

// TestTrapR5PromotedInStop: the same between the last look and the kill, when
// the server is closed already.
func TestTrapR5PromotedInStop(t *testing.T) { onEngines(t, promotedInStop) }

func promotedInStop(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	n := c.Node(2)
	taken := toBePromoted(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stop.closed=wait:"+gate)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	// Its write waits behind the lock, until the closing is undone.
	done := make(chan error, 1)
	go func() { done <- promote(t, n) }()
	must(t, lab.WaitFor(t.Context(), 30*time.Second, "the promotion to have begun", func(ctx context.Context) (bool, string) {
		rows, err := n.Rows(ctx, "SHOW REPLICA STATUS")
		return err == nil && len(rows) == 0, fmt.Sprint(len(rows), err)
	}))
	must(t, os.WriteFile(gate, nil, 0o644))
	must(t, <-done)
	taken.leftAlone(t)
	quiet(t, c, 1, 2*brokenFor) // the one that ended
}

// writtenByNew is what a new primary writes first.
const writtenByNew = "written by the new primary"

// promote is what a promoter does, in a hurry and with every privilege: it
// takes the node as it is.
func promote(t *testing.T, n *lab.Node) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return n.SQL(ctx, "STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only=0", // MySQL ends super_read_only with it
		"INSERT INTO lab.faults (note) VALUES ('"+writtenByNew+"')")
}

// promoted is a node as it was before it was promoted.
type promoted struct {
	node *lab.Node
	pid  int
	data uint64
}

func toBePromoted(t *testing.T, n *lab.Node) promoted {
	t.Helper()
	return promoted{n, n.PID(lab.Mysqld), dataOf(t, n)}
}

// leftAlone: its rebuild is given up and says why, and it serves as the primary
// that it is: the same process, on its own data, with what was written since.
func (p promoted) leftAlone(t *testing.T) {
	t.Helper()
	n := p.node
	r := ended(t, n, 1, 3*time.Minute)
	// By what the other nodes say, or by a look at the server itself.
	why := regexp.MustCompile(`several nodes are writable: db1, ` + n.Name + `|was it promoted\?`)
	if r.Outcome != watchdog.Cancelled || !why.MatchString(r.Error) {
		t.Errorf("outcome %s, want cancelled and why: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s: %s", n.Name, r.Outcome, r.Error)
	if now := n.PID(lab.Mysqld); now != p.pid {
		t.Errorf("%s: mysqld is process %d, it was %d: it was ended", n.Name, now, p.pid)
	}
	if dataOf(t, n) != p.data {
		t.Errorf("%s: the promoted node's datadir was replaced", n.Name)
	}
	doors(t, n, primaryDoors)
	rows, err := n.Value(t.Context(), "SELECT COUNT(*) FROM lab.faults WHERE note='"+writtenByNew+"'")
	must(t, err)
	if rows != "1" {
		t.Errorf("%s: %s rows %s, want 1", n.Name, rows, writtenByNew)
	}
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
