package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestHeal: a replica that lacks a row heals itself under steady writes, and
// is afterwards who it was before. Its metrics say what its history says.
func TestHeal(t *testing.T) { onEngines(t, heal) }

func heal(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	n := c.Node(2)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	stopPolls := neverWritable(t, n)
	breakIt(t, c, n, "row-missing")

	r := healed(t, n, 1)
	stopPolls()
	stopLoad()
	before.unchanged(t, n)
	quarantined(t, n, before, r.ID)
	if r.Cause.Class != watchdog.ClassDivergent || r.Cause.Reason != "row-missing" || r.Trigger != "auto" {
		t.Errorf("cause %+v, trigger %s", r.Cause, r.Trigger)
	}
	if len(r.Steps) < 11 || len(r.Guards) == 0 {
		t.Errorf("the history explains too little: %d steps, %d guards", len(r.Steps), len(r.Guards))
	}
	equal(t, c)
	measured(t, c, n)
}

// TestRefusal: a person's rebuild of the primary is refused with exit code 3
// and the guard, and nothing happens to it; overriding a guard that nobody may
// override is a mistake of usage, and nothing happens either. A replica is
// refused by the other engine's method.
func TestRefusal(t *testing.T) { onEngines(t, refusal) }

func refusal(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	before := statOf(t, c.Node(1))
	for _, r := range []struct {
		args []string
		code int
	}{
		{[]string{"rebuild"}, 3},
		{[]string{"rebuild", "--from", "db2"}, 3},
		{[]string{"rebuild", "--override", "keep-serving"}, 3},
		{[]string{"rebuild", "--override", "not-primary", "--override", "role-known"}, 2},
	} {
		_, stderr, code, err := c.Node(1).Resilver(t.Context(), r.args...)
		must(t, err)
		if code != r.code || !strings.Contains(stderr, "not-primary") {
			t.Errorf("%v: exit code %d, want %d and the guard not-primary: %s", r.args, code, r.code, stderr)
		}
	}
	other := map[string]string{lab.MySQL: "mariabackup", lab.MariaDB: "clone"}[engine]
	_, stderr, code, err := c.Node(2).Resilver(t.Context(), "rebuild", "--method", other)
	must(t, err)
	if code != 3 || !strings.Contains(stderr, "versions") {
		t.Errorf("by %s: exit code %d, want 3 with guard versions: %s", other, code, stderr)
	}
	rs, err := c.Node(1).History(t.Context())
	must(t, err)
	if len(rs) != 0 {
		t.Errorf("history has %d rebuilds, want none", len(rs))
	}
	if now := statOf(t, c.Node(1)); now != before {
		t.Errorf("the primary's datadir changed: %v, was %v", now, before)
	}
}

// TestKilledInSwap: a sidecar that dies by SIGKILL right after the exchange,
// with the replica away, heals it when it is started again.
func TestKilledInSwap(t *testing.T) { onEngines(t, killedInSwap) }

func killedInSwap(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	n := c.Node(3)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	stopPolls := neverWritable(t, n) // by whichever sidecar it is healed
	restartWith(t, n, "swap.exchanged=kill")
	breakIt(t, c, n, "row-missing")
	died(t, n)
	notRunning(t, n)
	// Nor does a person start it, by the way that is there for one.
	stdout, stderr, code, err := n.Resilver(t.Context(), "supervise", "--start", "--config", n.Config, "-o", "json")
	must(t, err)
	if code != 3 || !strings.Contains(stderr, "holds mysqld") || !strings.Contains(stdout, `"code": "refused"`) {
		t.Errorf("supervise --start in mid-swap: exit code %d: %s%s", code, stderr, stdout)
	}
	notRunning(t, n)

	n.Env()
	must(t, n.StartSidecar())
	r := healed(t, n, 1)
	stopPolls()
	stopLoad()
	before.unchanged(t, n)
	quarantined(t, n, before, r.ID)
	equal(t, c)
	shutDownAndStarted(t, n)
}

// shutDownAndStarted: what was shut down by SHUTDOWN is started again by its
// supervisor where it is asked to.
func shutDownAndStarted(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, n.SQL(t.Context(), "SHUTDOWN"))
	must(t, lab.WaitFor(t.Context(), 3*time.Minute, n.Name+"'s mysqld to end", func(context.Context) (bool, string) {
		return n.PID(lab.Mysqld) == 0, "it runs"
	}))
	supervisor := n.PID(lab.Supervisor)
	must(t, n.StartServer(t.Context()))
	var said struct {
		Running bool
		PID     int
	}
	must(t, n.Ask(t.Context(), &said, "supervise", "--start", "--config", n.Config))
	if pid := n.PID(lab.Mysqld); pid == 0 || n.PID(lab.Supervisor) != supervisor || !said.Running || said.PID == 0 {
		t.Errorf("%s: mysqld %d under supervisor %d, was %d; it says %+v", n.Name, pid, n.PID(lab.Supervisor), supervisor, said)
	}
	must(t, n.WaitReplicating(t.Context(), time.Minute))
}

// statOf is the identity of a datadir on disk.
func statOf(t *testing.T, n *lab.Node) uint64 {
	t.Helper()
	return identityOfDir(t, n.Datadir)
}

// restartWith starts a node's sidecar anew with a failpoint.
func restartWith(t *testing.T, n *lab.Node, failpoint string) {
	t.Helper()
	must(t, n.StopSidecar(t.Context()))
	n.Env("RESILVER_FAILPOINT=" + failpoint)
	must(t, n.StartSidecar())
}

// died waits until a node's sidecar is gone.
func died(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), 3*time.Minute, n.Name+"'s sidecar to die", func(ctx context.Context) (bool, string) {
		return n.PID(lab.Sidecar) == 0, present(ctx, n)
	}))
}

// notRunning checks that the start guard keeps mysqld down.
func notRunning(t *testing.T, n *lab.Node) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Second)
	for time.Now().Before(deadline) {
		if pid := n.PID(lab.Mysqld); pid != 0 {
			t.Fatalf("%s: mysqld %d runs in the middle of the swap", n.Name, pid)
		}
		if _, err := os.Stat(n.Socket); err == nil {
			if _, err := n.Value(t.Context(), "SELECT 1"); err == nil {
				t.Fatalf("%s: mysqld answers in the middle of the swap", n.Name)
			}
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
