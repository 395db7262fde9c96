//go:build proof

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestRolledBack: the new copy does not boot. The old server is back in
// service with its own data, the breaker is open, and only a person's ack lets
// the next rebuild begin. Then a person goes back (personRollsBack).
func TestRolledBack(t *testing.T) { onEngines(t, rolledBack) }

func rolledBack(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.cooldown": "1s", "rebuild.deadlines": "{start: 1m}"})
	n := c.Node(2)
	refusesRollback(t, n, "old-datadir")
	refusesRollback(t, c.Node(1), "not-primary")
	before := identityOf(t, n)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "swap.exchanged=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	must(t, os.Truncate(filepath.Join(n.Datadir, vital[engine]), 0))
	must(t, os.WriteFile(gate, nil, 0o644))

	r := ended(t, n, 1, 4*time.Minute)
	if r.Outcome != watchdog.RolledBack {
		t.Fatalf("outcome %s, want rolled-back: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	before.untouched(t, n)
	doors(t, n, replicaDoors)
	refuses(t, n, "breaker", time.Minute)
	n.Env()
	must(t, n.StopSidecar(t.Context()))
	must(t, n.StartSidecar())
	together(t, c)
	refuses(t, n, "breaker", time.Minute)
	cli(t, c.Node(1), 0, "ack")
	r = healed(t, n, 2)
	before.unchanged(t, n)
	equal(t, c)
	personRollsBack(t, c, n, before, r)
}

// TestStoppedInStop: the sidecar is told to end, as systemd would, while the
// old server is closed. It brings the replica back before it goes, or the next
// one does.
func TestStoppedInStop(t *testing.T) { onEngines(t, stoppedInStop) }

func stoppedInStop(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	n := c.Node(3)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stop.closed=wait:"+gate)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	reached(t, gate)
	must(t, n.Signal(lab.Sidecar, syscall.SIGTERM))
	must(t, os.WriteFile(gate, nil, 0o644))
	died(t, n)
	n.Env()
	must(t, n.StartSidecar())
	must(t, lab.WaitFor(t.Context(), 2*time.Minute, "db3 to be healed", func(ctx context.Context) (bool, string) {
		rs, err := records(ctx, n, n.Name)
		return err == nil && len(rs) > 0 && rs[0].Outcome == watchdog.Healed, present(ctx, n)
	}))
	must(t, n.WaitReplicating(t.Context(), time.Minute))
	stopLoad()
	before.unchanged(t, n)
	equal(t, c)
}

// TestServerDiesAfterTheSwap: mysqld is killed when it has just come up on the
// new copy, before it is attached and while it is verified; its manager starts
// it again, and the rebuild goes on.
func TestServerDiesAfterTheSwap(t *testing.T) { onEngines(t, serverDies) }

func serverDies(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.cooldown": "1s"})
	n := c.Node(2)
	for i, point := range []string{"start.end", "verify.begin"} {
		before := identityOf(t, n)
		gate := filepath.Join(t.TempDir(), "go-on")
		restartWith(t, n, point+"=wait:"+gate)
		together(t, c)
		breakIt(t, c, n, "duplicate-key")
		reached(t, gate)
		must(t, n.Kill(t.Context(), lab.Mysqld))
		must(t, os.WriteFile(gate, nil, 0o644))
		r := healed(t, n, i+1)
		before.unchanged(t, n)
		quarantined(t, n, before, r.ID)
	}
	equal(t, c)
}

// TestDonorVanishes: the donor's sidecar dies in mid-copy. The copy is given
// up, and the node is as it was; then another donor serves.
func TestDonorVanishes(t *testing.T) { onEngines(t, donorVanishes) }

func donorVanishes(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.cooldown": "1s", "donor.max_rate": "4MiB", "rebuild.stall_timeout": "10s"})
	db2, db3 := c.Node(2), c.Node(3)
	before := identityOf(t, db2)
	breakIt(t, c, db2, "row-missing")
	inStep(t, db2, watchdog.StepStage, time.Minute)
	moving(t, db2)
	must(t, db3.Kill(t.Context(), lab.Sidecar))
	r := ended(t, db2, 1, 3*time.Minute)
	if r.Outcome != watchdog.Failed || !strings.Contains(r.Error, "stall") && !strings.Contains(r.Error, "donor") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	before.untouched(t, db2)
	if r := healed(t, db2, 2); r.Donor != "db1" {
		t.Errorf("healed from %s, want the primary as the last resort", r.Donor)
	}
	must(t, db3.StartSidecar())
	together(t, c)
	equal(t, c)
}
