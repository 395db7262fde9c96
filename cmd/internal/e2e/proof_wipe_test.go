//go:build proof

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/healing"
	"resilver/healing/datadir"
	"resilver/watchdog"
)

// TestWipeFirst: a person has a broken replica rebuilt without room for its old
// data. It is refused where another replica is broken, and where something
// exists only here. The sidecar is killed before anything is lost, and the old
// data are in service again; it is killed between the wipe and the removal, and
// in the middle of the copy, and the node is rebuilt by itself, without a
// server ever running on no data, or open to writers.
func TestWipeFirst(t *testing.T) { onEngines(t, wipeFirst) }

func wipeFirst(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.mode": "observe", "policy.systemic_window": "3s"})
	n, other := c.Node(2), c.Node(3)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	refusesToWipe(t, c, n, other)
	closed := neverWritable(t, n)
	breakIt(t, c, n, "row-missing")
	diagnosed(t, n, watchdog.ClassDivergent)
	if code, said := resilver(t, n, "plan", "--wipe-first"); code != 0 || !strings.Contains(said, "wipe-first") || !strings.Contains(said, "once the old data are gone") {
		t.Errorf("plan --wipe-first: exit code %d: %s", code, said)
	}

	// Killed where everything leads back: the old data are in service again.
	for i, point := range []string{"wipe.begin", "wipe.closed", "wipe.ending"} {
		killedWipe(t, c, n, point)
		if r := ended(t, n, i+1, 2*time.Minute); r.Outcome != watchdog.Cancelled {
			t.Fatalf("killed at %s: outcome %s: %s", point, r.Outcome, r.Error)
		}
		settled(t, n)
		before.untouched(t, n)
		doors(t, n, replicaDoors)
		letBe(t, n)
		nothingGoing(t, n)
	}

	// From the exchange on it leads forward; nobody starts a server on nothing.
	killedWipe(t, c, n, "wipe.exchanged")
	r := ended(t, n, 4, 2*time.Minute)
	if r.Outcome != watchdog.Cancelled {
		t.Fatalf("killed at wipe.exchanged: outcome %s: %s", r.Outcome, r.Error)
	}
	settled(t, n)
	isWiped(t, n)
	saysWiped(t, n)
	bootsNothing(t, n)
	nothingGoing(t, n)
	if _, err := os.Stat(filepath.Join(n.Datadir, "resilver.no-start")); err != nil {
		t.Fatal(err)
	}
	quiet(t, c, begun(t, c), brokenFor+2*time.Second) // policy.mode is observe

	// As it goes on by itself: killed in the middle of the copy.
	must(t, n.Set(map[string]string{"policy.mode": "heal"}))
	killedCopying(t, n)
	isWiped(t, n)
	n.Env()
	must(t, n.StartSidecar())
	if r := ended(t, n, 5, 2*time.Minute); r.Outcome != watchdog.Cancelled || r.Trigger != "auto" {
		t.Fatalf("killed in the copy: %s, outcome %s: %s", r.Trigger, r.Outcome, r.Error)
	}
	healed(t, n, 6)
	settled(t, n)
	closed()
	stopLoad()
	before.unchanged(t, n)
	doors(t, n, replicaDoors)
	nothingGoing(t, n)
	nothingWiped(t, n)
	equal(t, c)

	wipedAtOnce(t, c, n)
	copySpoilt(t, c, n)

	must(t, n.SQL(t.Context(), onReplica(n, "INSERT INTO lab.faults (note) VALUES ('nobody else has this')")...))
	refusesWipe(t, n, "transactions that the primary lacks")
}

// wipedAtOnce: nobody is killed, and one rebuild does it all.
func wipedAtOnce(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	must(t, n.Set(map[string]string{"policy.mode": "observe"}))
	restart(t, c, n)
	known(t, n)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	closed := neverWritable(t, n)
	breakIt(t, c, n, "row-missing")
	diagnosed(t, n, watchdog.ClassDivergent)
	if code, said := resilver(t, n, slices.Concat(wipeNow, []string{"--follow"})...); code != 0 {
		t.Errorf("rebuild --wipe-first --follow: exit code %d: %s", code, said)
	}
	r := healed(t, n, 7)
	settled(t, n)
	closed()
	stopLoad()
	names := []watchdog.Step{}
	for _, s := range r.Steps {
		names = append(names, s.Name)
	}
	if i := slices.Index(names, watchdog.StepWipe); i < 0 || slices.Index(names, watchdog.StepStage) != i+1 {
		t.Errorf("steps %v", names)
	}
	if r.OutageSeconds == nil || r.By == "" {
		t.Errorf("outage %v, by %q", r.OutageSeconds, r.By)
	}
	before.unchanged(t, n)
	doors(t, n, replicaDoors)
	nothingGoing(t, n)
	nothingWiped(t, n)
	equal(t, c)
}

// killedCopying: the sidecar is killed while the copy comes in.
func killedCopying(t *testing.T, n *lab.Node) {
	t.Helper()
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stage.begin=wait:"+gate)
	reached(t, gate)
	must(t, os.WriteFile(gate, nil, 0o644))
	must(t, lab.WaitFor(t.Context(), time.Minute, "the copy to come in", func(context.Context) (bool, string) {
		return exists(filepath.Join(areaOf(t, n), "new")) || exists(filepath.Join(areaOf(t, n), "scratch")), "nothing is there"
	}))
	must(t, n.Kill(t.Context(), sidecarProgram))
}

// wipeNow asks for a wipe, however many rebuilds there were just now.
var wipeNow = []string{"rebuild", "--wipe-first", "--override", "budget-node", "--override", "budget-cluster", "--override", "cooldown", "--override", "breaker"}

// copySpoilt: the sidecar is killed while the old data are being removed, and
// the copy does not boot once it is in their place. There is nothing to go
// back to: it is thrown away, and the next copy comes by itself.
func copySpoilt(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	must(t, n.Set(map[string]string{"policy.mode": "heal"}))
	known(t, n)
	before := identityOf(t, n)
	killedWipeWith(t, c, n, "wipe.removing")
	gate := filepath.Join(t.TempDir(), "go-on")
	n.Env("RESILVER_FAILPOINT=swap.exchanged=wait:" + gate)
	must(t, n.StartSidecar())
	closed := neverWritableAgain(t, n)
	reached(t, gate)
	must(t, os.Truncate(filepath.Join(n.Datadir, vital[n.Engine()]), 0))
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, n, 9, 3*time.Minute)
	if r.Outcome != watchdog.Failed || !strings.Contains(r.Error, "no data here since") {
		t.Fatalf("spoilt copy: outcome %s: %s", r.Outcome, r.Error)
	}
	t.Logf("%s: %s", r.Outcome, r.Error)
	healed(t, n, 10)
	settled(t, n)
	closed()
	before.unchanged(t, n)
	doors(t, n, replicaDoors)
	nothingGoing(t, n)
	nothingWiped(t, n)
	cli(t, n, 0, "ack")
	equal(t, c)
}

// neverWritableAgain is neverWritable for a server that does not run now.
func neverWritableAgain(t *testing.T, n *lab.Node) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	answered, open := 0, 0
	done.Go(func() {
		for ctx.Err() == nil {
			if v, err := n.Value(ctx, "SELECT @@global.read_only"); err == nil {
				answered++
				if v != "1" {
					open++
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		done.Wait()
		if open > 0 || answered < 10 {
			t.Errorf("%s: %d of %d polls saw read_only=0", n.Name, open, answered)
		}
	})
	t.Cleanup(stop)
	return stop
}

// killedWipe: the sidecar dies at a point of a wipe, and is started again.
func killedWipe(t *testing.T, c *lab.Cluster, n *lab.Node, point string) {
	t.Helper()
	killedWipeWith(t, c, n, point)
	if point == "wipe.exchanged" {
		isWiped(t, n)
	}
	n.Env()
	must(t, n.StartSidecar())
}

func killedWipeWith(t *testing.T, c *lab.Cluster, n *lab.Node, point string) {
	t.Helper()
	restartWith(t, n, point+"=kill")
	together(t, c)
	known(t, n)
	cli(t, n, 0, wipeNow...)
	died(t, n)
}

// isWiped checks that there are no data, and that nobody starts a server.
func isWiped(t *testing.T, n *lab.Node) {
	t.Helper()
	ref, err := datadir.RefOf(n.Datadir)
	must(t, err)
	if is, err := datadir.IsHusk(ref); err != nil || !is {
		t.Fatalf("%s: its datadir is a husk: %t, %v", n.Name, is, err)
	}
	if err := healing.StartGuard(n.StateDir(), n.Datadir); err == nil {
		t.Fatalf("%s: mysqld may start on no data", n.Name)
	}
	if err := healing.StartGuard(t.TempDir(), n.Datadir); err == nil {
		t.Fatalf("%s: mysqld may start on no data where the state directory is lost", n.Name)
	}
	notRunning(t, n)
}

// saysWiped checks that status and plan say what this node is.
func saysWiped(t *testing.T, n *lab.Node) {
	t.Helper()
	for _, args := range [][]string{{"status"}, {"plan"}} {
		want := map[string]string{"status": watchdog.ReasonWiped, "plan": "no data here since"}[args[0]]
		must(t, lab.WaitFor(t.Context(), time.Minute, args[0]+" to say that there are no data", func(context.Context) (bool, string) {
			code, said := resilver(t, n, args...)
			return code == 0 && strings.Contains(said, want), said
		}))
	}
}

// bootsNothing starts mysqld by hand on what there is, past every guard and
// without asking for a password: it does not come up, and what says that there
// are no data still says so.
func bootsNothing(t *testing.T, n *lab.Node) {
	t.Helper()
	last, err := healing.LoadLast(n.StateDir())
	must(t, err)
	info, err := os.Stat(n.Datadir)
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := slices.Concat(last.Program.Prefix[1:], last.Program.Args, []string{"--skip-grant-tables", "--skip-networking", "--log-error=" + filepath.Join(areaOf(t, n), "rehearse", "by-hand.err")})
	cmd := exec.CommandContext(ctx, last.Program.Prefix[0], args...)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: st.Uid, Gid: st.Gid}}
	}
	said, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Fatalf("%s: mysqld came up on no data, or hung: %v: %s", n.Name, err, said)
	}
	told, readErr := os.ReadFile(filepath.Join(areaOf(t, n), "rehearse", "by-hand.err"))
	must(t, readErr)
	// MariaDB misses the redo log that belongs to it first.
	if !strings.Contains(string(told), datadir.SystemTablespace) && !strings.Contains(string(told), "ib_logfile0 was not found") {
		t.Errorf("%s: mysqld failed for something else: %s%s", n.Name, said, told)
	}
	t.Logf("%s: mysqld on no data: %v: %s", n.Name, err, told)
	must(t, os.Remove(filepath.Join(areaOf(t, n), "rehearse", "by-hand.err")))
	isWiped(t, n)
}

func nothingGoing(t *testing.T, n *lab.Node) {
	t.Helper()
	for _, name := range []string{"going", "new"} {
		if exists(filepath.Join(areaOf(t, n), name)) {
			t.Errorf("%s: %s is left in the staging area", n.Name, name)
		}
	}
	old, err := os.ReadDir(filepath.Join(areaOf(t, n), "old"))
	must(t, err)
	if len(old) > 0 {
		t.Errorf("%s: %d entries are in quarantine, the first %s", n.Name, len(old), old[0].Name())
	}
}

func nothingWiped(t *testing.T, n *lab.Node) {
	t.Helper()
	for _, path := range []string{filepath.Join(n.StateDir(), "wiped.json"), filepath.Join(n.StateDir(), "attach.secret"), filepath.Join(n.Datadir, "resilver.no-start")} {
		if exists(path) {
			t.Errorf("%s: %s is left", n.Name, path)
		}
	}
}

// refusesToWipe: what the ordinary guards let pass, or a person overrides, is
// no for a wipe.
func refusesToWipe(t *testing.T, c *lab.Cluster, n, other *lab.Node) {
	t.Helper()
	cli(t, n, 2, "rebuild", "--wipe-first", "--override", "wipe-first")
	sneakSQL(t, n, "CREATE TABLE lab.mine (id INT PRIMARY KEY)")
	refusesWipe(t, n, "objects made by SQL here alone", "--override", "local-objects")
	sneakSQL(t, n, "DROP TABLE lab.mine")
	must(t, other.Kill(t.Context(), sidecarProgram))
	refusesWipe(t, n, "fewer than two other nodes", "--override", "keep-serving")
	must(t, other.StartSidecar())
	together(t, c)
	breakIt(t, c, other, "row-missing")
	diagnosed(t, other, watchdog.ClassDivergent)
	refusesWipe(t, n, "fewer than two other nodes", "--override", "keep-serving")
	cli(t, other, 0, "rebuild", "--override", "keep-serving")
	healed(t, other, 1)
	settled(t, other)
}

// refusesWipe checks that a wipe is refused for that, and nothing was touched.
func refusesWipe(t *testing.T, n *lab.Node, why string, args ...string) {
	t.Helper()
	dir := statOf(t, n)
	must(t, lab.WaitFor(t.Context(), time.Minute, "a refusal for "+why, func(context.Context) (bool, string) {
		code, said := resilver(t, n, append([]string{"rebuild", "--wipe-first"}, args...)...)
		return code == 3 && strings.Contains(said, "wipe-first") && strings.Contains(said, why), said
	}))
	if now := statOf(t, n); now != dir || n.PID(lab.Mysqld) == 0 {
		t.Fatalf("refused for %s, and its data were touched", why)
	}
}
