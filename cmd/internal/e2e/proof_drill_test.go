//go:build proof

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestDrill: a healthy replica goes through a drill under steady writes, one is
// killed in the middle, one gives way to a rebuild, one fails and changes
// nothing, and none leaves anything where logs, redo and undo lie elsewhere; and a backup starts as a server that holds what its donor held.
func TestDrill(t *testing.T) { onEngines(t, drill) }

func drill(t *testing.T, engine string) {
	c := upSplit(t, engine, map[string]string{"policy.cooldown": "1h", "policy.budget": "{node_per_day: 1, cluster_per_hour: 1}"})
	db2, n := c.Node(2), c.Node(3)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	stopPolls := undisturbed(t, n)

	scheduled := engine == lab.MySQL // which does not differ by engine, and takes its time
	if scheduled {
		atTheNextMinute(t, c, n)
	} else {
		cli(t, n, 0, "drill")
	}
	r := ended(t, n, 1, 3*time.Minute)
	if r.Outcome != watchdog.Passed || r.Trigger != watchdog.TriggerDrill || (r.By == "policy.drill") != scheduled || r.OutageSeconds != nil || len(r.Steps) != 6 || r.Bytes == 0 {
		t.Fatalf("drill: %+v", r)
	}
	nothingLeft(t, n)
	plan, err := n.Plan(t.Context())
	must(t, err)
	if plan.Estimate.CopySeconds == nil {
		t.Errorf("the plan has no estimate after a drill: %+v", plan.Estimate)
	}
	if code, said := resilver(t, c.Node(1), "drill"); code != 3 || !strings.Contains(said, "not-primary") {
		t.Errorf("a drill of the primary: exit code %d: %s", code, said)
	}

	restartWith(t, n, "rehearse.begin=kill")
	together(t, c)
	cli(t, n, 0, "drill")
	died(t, n)
	noPrivateServers(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	n.Env("RESILVER_FAILPOINT=stage.begin=wait:" + gate)
	must(t, n.Set(map[string]string{"rebuild.deadlines": "{rehearse: 1ms}"}))
	must(t, n.StartSidecar())
	if r = ended(t, n, 2, time.Minute); r.Outcome != watchdog.Cancelled {
		t.Errorf("killed in the middle: %s: %s", r.Outcome, r.Error)
	}
	nothingLeft(t, n)
	together(t, c)

	givesWay(t, c, n, db2, gate)
	nothingLeft(t, n)
	together(t, c)
	fails(t, n)
	nothingLeft(t, n)
	stopLoad()
	must(t, n.WaitReplicating(t.Context(), time.Minute))
	backsUp(t, c, n)
	stopPolls()
	before.untouched(t, n)
	equal(t, c)
}

// atTheNextMinute has the node's sidecar drill by itself, as soon as it can
// have read that.
func atTheNextMinute(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	at := time.Now().UTC().Add(time.Minute + 12*time.Second)
	must(t, n.Set(map[string]string{"policy.drill": fmt.Sprintf("'%d %d * * *'", at.Minute(), at.Hour())}))
	sidecarAnew(t, n)
	together(t, c)
}

// resilver runs a command that may take as long as a copy.
func resilver(t *testing.T, n *lab.Node, args ...string) (code int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stdout, stderr, code, err := n.Resilver(ctx, args...)
	must(t, err)
	return code, stdout + stderr
}

// nothingLeft checks that no copy is left of a drill, and nobody holds the
// lease.
func nothingLeft(t *testing.T, n *lab.Node) {
	t.Helper()
	noneLeft(t, n) // waits: the lease and the record come before the copy is gone
	for _, name := range []string{"new", "scratch"} {
		if _, err := os.Stat(filepath.Join(areaOf(t, n), name)); err == nil {
			t.Errorf("%s: %s was left behind", n.Name, name)
		}
	}
	must(t, lab.WaitFor(t.Context(), 10*time.Second, "the lease to be free", func(ctx context.Context) (bool, string) {
		s, err := n.Status(ctx)
		return err == nil && s.Lease == nil, fmt.Sprint(s.Lease, err)
	}))
}

// givesWay: a replica breaks while another one drills, which gives the lease up
// at once; the rebuild finds budgets and cooldown as if there had been no drill.
func givesWay(t *testing.T, c *lab.Cluster, n, broken *lab.Node, gate string) {
	t.Helper()
	cli(t, n, 0, "drill")
	reached(t, gate)
	breakIt(t, c, broken, "row-missing")
	must(t, lab.WaitFor(t.Context(), time.Minute, "the drill to give way", func(context.Context) (bool, string) {
		b, err := os.ReadFile(n.SidecarLog())
		return err == nil && strings.Contains(string(b), "drill gives way"), fmt.Sprint(err)
	}))
	must(t, os.WriteFile(gate, nil, 0o644))
	if r := ended(t, n, 3, time.Minute); r.Outcome != watchdog.Cancelled || !strings.Contains(r.Error, broken.Name+" is divergent") {
		t.Errorf("the drill: %s: %s", r.Outcome, r.Error)
	}
	healed(t, broken, 1)
}

// fails: a drill that cannot pass is told, and is all there is.
func fails(t *testing.T, n *lab.Node) {
	t.Helper()
	code, said := resilver(t, n, "drill", "--follow")
	r := ended(t, n, 4, time.Minute)
	if code != 1 || r.Outcome != watchdog.Failed || !strings.Contains(r.Error, "not done within 1ms") {
		t.Errorf("exit code %d, %s: %s: %s", code, r.Outcome, r.Error, said)
	}
	s, err := n.Status(t.Context())
	must(t, err)
	for _, node := range s.Nodes {
		if node.Name == n.Name && (node.Drill == nil || node.Drill.Outcome != watchdog.Failed || node.Health != watchdog.HealthHealthy) {
			t.Errorf("status shows %s, drill %+v", node.Health, node.Drill)
		}
	}
	if s.Breaker.Open {
		t.Errorf("the breaker is open: %s", s.Breaker.Reason)
	}
}

// undisturbed polls a replica that nobody may notice anything of: the same
// process on the same datadir, which answers, replicates and is as open as
// before.
func undisturbed(t *testing.T, n *lab.Node) (stop func()) {
	t.Helper()
	look := func() string {
		s, err := n.Replica(t.Context())
		if err != nil {
			return err.Error()
		}
		doors, err := n.Value(t.Context(), doorsOf[n.Engine()])
		info, statErr := os.Stat(n.Datadir)
		if err := errors.Join(err, statErr); err != nil {
			return err.Error()
		}
		return fmt.Sprintln("pid", n.PID(lab.Mysqld), "inode", info.Sys().(*syscall.Stat_t).Ino, "doors", doors,
			"source", s["Source_Host"], s["Source_Port"], "threads", s["Replica_IO_Running"], s["Replica_SQL_Running"])
	}
	want := look()
	t.Logf("%s: %s", n.Name, want)
	end := make(chan struct{})
	var done sync.WaitGroup
	polls := 0
	done.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if polls++; t.Context().Err() == nil {
				if now := look(); now != want {
					t.Errorf("%s: seen at poll %d: %s", n.Name, polls, now)
					return
				}
			}
		}
	})
	var once sync.Once
	stop = func() {
		once.Do(func() {
			close(end)
			done.Wait()
			t.Logf("%s: %d polls", n.Name, polls)
			if polls < 100 {
				t.Errorf("only %d polls", polls)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}
