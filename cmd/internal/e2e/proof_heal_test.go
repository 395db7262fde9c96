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

// TestTwoBrokenAtOnce: one replica lacks a row, the other was left behind by a
// purge. They are rebuilt one after the other, from whatever is healthy.
func TestTwoBrokenAtOnce(t *testing.T) { onEngines(t, twoBrokenAtOnce) }

func twoBrokenAtOnce(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.broken_for": "5s"}) // so that both are broken before the first copy
	db2, db3 := c.Node(2), c.Node(3)
	id2, id3 := identityOf(t, db2), identityOf(t, db3)
	stopLoad := underLoad(t, c)
	breakIt(t, c, db3, "purged")
	breakIt(t, c, db2, "row-missing")

	r2, r3 := healed(t, db2, 1), healed(t, db3, 1)
	stopLoad()
	id2.unchanged(t, db2)
	id3.unchanged(t, db3)
	quarantined(t, db2, id2, r2.ID)
	quarantined(t, db3, id3, r3.ID)
	first, second := r2, r3
	if r3.Started.Before(r2.Started.Time) {
		first, second = r3, r2
	}
	if second.Started.Before(first.Ended.Time) {
		t.Errorf("%s began at %s, before %s ended at %s", second.Node, second.Started, first.Node, first.Ended)
	}
	if !second.Cause.Since.Before(first.Ended.Time) {
		t.Errorf("%s broke at %s, after %s ended at %s: they were not broken at once", second.Node, second.Cause.Since, first.Node, first.Ended)
	}
	if second.Token <= first.Token {
		t.Errorf("token %d came after token %d", second.Token, first.Token)
	}
	if r3.Cause.Class != watchdog.ClassPurged {
		t.Errorf("db3's cause is %+v, want purged", r3.Cause)
	}
	equal(t, c)
}

// TestCurableFaultsHeal: purged under steady writes, and the other curable faults one after
// the other on the same replica.
func TestCurableFaultsHeal(t *testing.T) { onEngines(t, curableFaultsHeal) }

func curableFaultsHeal(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.cooldown": "1s"})
	n := c.Node(2)
	stopLoad := underLoad(t, c)
	for i, fault := range []string{"purged", "duplicate-key", "table-missing"} {
		before := identityOf(t, n)
		stopPolls := neverWritable(t, n)
		breakIt(t, c, n, fault)
		r := healed(t, n, i+1)
		stopPolls()
		before.unchanged(t, n)
		quarantined(t, n, before, r.ID)
	}
	stopLoad()
	equal(t, c)
}

// TestKilledInStage: a sidecar that dies by SIGKILL in the middle of the copy
// throws the copy away, starts over and heals.
func TestKilledInStage(t *testing.T) { onEngines(t, killedInStage) }

func killedInStage(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	n := c.Node(2)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	restartWith(t, n, "stage.begin=kill")
	breakIt(t, c, n, "row-missing")
	died(t, n)
	before.untouched(t, n)

	n.Env()
	must(t, n.StartSidecar())
	r := healed(t, n, 2)
	stopLoad()
	rs, err := records(t.Context(), n, n.Name)
	must(t, err)
	if first := rs[len(rs)-1]; first.Outcome != watchdog.Cancelled && first.Outcome != watchdog.Failed {
		t.Errorf("the killed rebuild is recorded as %s", first.Outcome)
	}
	before.unchanged(t, n)
	quarantined(t, n, before, r.ID)
	equal(t, c)
}

// TestInvariant4KilledWhileCopying lets the copy run for a moment before the sidecar is
// killed from outside, and looks for what it may have left running.
func TestInvariant4KilledWhileCopying(t *testing.T) { onEngines(t, killedWhileCopying) }

func killedWhileCopying(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"donor.max_rate": "4MiB"})
	n := c.Node(3)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	breakIt(t, c, n, "duplicate-key")
	inStep(t, n, watchdog.StepStage, time.Minute)
	moving(t, n)
	must(t, n.Kill(t.Context(), sidecarProgram))
	noPrivateServers(t, n)
	before.untouched(t, n)
	for _, other := range c.Nodes {
		must(t, other.Set(map[string]string{"donor.max_rate": `""`}))
		must(t, other.StopSidecar(t.Context()))
		must(t, other.StartSidecar())
	}
	together(t, c)
	healed(t, n, 2)
	stopLoad()
	before.unchanged(t, n)
	equal(t, c)
}

// noPrivateServers checks that nothing that the sidecar ran outlived it.
func noPrivateServers(t *testing.T, n *lab.Node) {
	t.Helper()
	area := n.Datadir + ".resilver/"
	must(t, lab.WaitFor(t.Context(), 30*time.Second, "the private servers to be gone", func(context.Context) (bool, string) {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return false, err.Error()
		}
		for _, path := range lines {
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), area) {
				return false, path
			}
		}
		return true, ""
	}))
}
