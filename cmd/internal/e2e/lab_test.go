package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// binary is the resilver under test, built once.
var binary string

func TestMain(m *testing.M) {
	lab.Janitor()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "resilver-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	// A program with the race detector sleeps for a second before it exits, and
	// the proofs run thousands of them.
	if err := os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	binary = filepath.Join(dir, "resilver")
	build := exec.Command("go", "build", "-race", "-o", binary, "resilver/cmd/resilver") //nolint:noctx // go test has a deadline
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: build resilver:", err)
		return 1
	}
	return m.Run()
}

// logWriter shows what the lab says as it goes.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s %s", time.Now().Format("15:04:05"), trim(p))
	return len(p), nil
}

func trim(p []byte) string {
	for len(p) > 0 && p[len(p)-1] == '\n' {
		p = p[:len(p)-1]
	}
	return string(p)
}

// onEngines runs a proof on each engine, side by side.
func onEngines(t *testing.T, proof func(t *testing.T, engine string)) {
	t.Parallel()
	for _, engine := range lab.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			proof(t, engine)
		})
	}
}

// up starts a lab of three MySQL nodes that ends with the test.
func up(t *testing.T, set map[string]string) *lab.Cluster {
	t.Helper()
	return upOn(t, lab.MySQL, set)
}

// upOn does so on an engine.
func upOn(t *testing.T, engine string, set map[string]string) *lab.Cluster {
	t.Helper()
	return upWith(t, lab.Options{Engine: engine, Set: set})
}

// brokenFor is the threshold of the labs here, shorter than it is by hand.
const brokenFor = 2 * time.Second

// upWith does so with more of the lab's options.
func upWith(t *testing.T, o lab.Options) *lab.Cluster {
	t.Helper()
	base, err := lab.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(base), "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	release, err := lab.Tether(dir)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]string{"policy.broken_for": brokenFor.String()}
	maps.Copy(set, o.Set)
	o.Dir, o.Binary, o.Set, o.Out = dir, binary, set, logWriter{t}
	if o.DataMB == 0 {
		o.DataMB = 20
	}
	c, err := lab.Up(t.Context(), o)
	if err != nil {
		t.Fatal(errors.Join(err, release()))
	}
	t.Logf("servers: %s", c.Version())
	t.Cleanup(func() {
		noRaces(t, c)
		if t.Failed() {
			showLogs(t, c)
		}
		if err := errors.Join(c.Close(), release()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// noRaces: the race detector has found nothing in the sidecars and supervisors.
func noRaces(t *testing.T, c *lab.Cluster) {
	for _, n := range c.Nodes {
		for _, path := range []string{n.SidecarLog(), n.SuperviseLog()} {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			if _, race, found := strings.Cut(string(b), "WARNING: DATA RACE"); found {
				t.Errorf("%s: data race: %.4000s", n.Name, race)
			}
		}
	}
}

// showLogs copies what the sidecars wrote into the test's output.
func showLogs(t *testing.T, c *lab.Cluster) {
	for _, n := range c.Nodes {
		for _, path := range []string{n.SidecarLog(), n.SuperviseLog(), n.ErrorLog} {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Log(err)
				continue
			}
			const most = 12000
			if len(b) > most {
				b = b[len(b)-most:]
			}
			t.Logf("=== the end of %s\n%s", path, b)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// breakIt injects a fault by name.
func breakIt(t *testing.T, c *lab.Cluster, n *lab.Node, fault string) {
	t.Helper()
	must(t, c.Break(t.Context(), n, fault))
	t.Logf("%s: %s", n.Name, fault)
}

// records are the rebuilds of a node that have ended, newest first.
func records(ctx context.Context, via *lab.Node, node string) ([]watchdog.Record, error) {
	all, err := via.History(ctx)
	if err != nil {
		return nil, err
	}
	var out []watchdog.Record
	for _, r := range all {
		if r.Node == node && !r.Ended.IsZero() {
			out = append(out, r)
		}
	}
	return out, nil
}

// ended waits for the n-th ended rebuild of a node and returns the newest.
func ended(t *testing.T, node *lab.Node, n int, within time.Duration) watchdog.Record {
	t.Helper()
	var last watchdog.Record
	must(t, lab.WaitFor(t.Context(), within, fmt.Sprintf("rebuild %d of %s to end", n, node.Name), func(ctx context.Context) (bool, string) {
		rs, err := records(ctx, node, node.Name)
		if err != nil {
			return false, err.Error()
		}
		if len(rs) < n {
			return false, fmt.Sprintf("%d ended; %s", len(rs), present(ctx, node))
		}
		last = rs[0]
		return true, ""
	}))
	return last
}

// present says in one line where a node stands.
func present(ctx context.Context, node *lab.Node) string {
	self, err := node.Self(ctx)
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("%s is %s (%s)", node.Name, self.Health, self.Reason)
	if self.Rebuild != nil {
		s += fmt.Sprintf(", rebuild in %s", self.Rebuild.Step)
	}
	return s
}

// healed waits for the n-th rebuild of a node to have healed it.
func healed(t *testing.T, node *lab.Node, n int) watchdog.Record {
	t.Helper()
	r := ended(t, node, n, 3*time.Minute)
	if r.Outcome != watchdog.Healed {
		t.Fatalf("%s: outcome %s: %s", node.Name, r.Outcome, r.Error)
	}
	t.Logf("%s healed from %s in %.1f s, away %.2f s", node.Name, r.Donor, r.Ended.Sub(r.Started.Time).Seconds(), outage(r))
	must(t, node.WaitReplicating(t.Context(), time.Minute))
	wellAgain(t, node)
	return r
}

// wellAgain waits until a node's own sidecar finds it healthy: for a probe or
// two after a heal it says only that the threads run again.
func wellAgain(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), time.Minute, n.Name+" to be found healthy", func(ctx context.Context) (bool, string) {
		s, err := n.Status(ctx)
		if err != nil {
			return false, err.Error()
		}
		return foundHealthy(n, &s)
	}))
}

func foundHealthy(n *lab.Node, s *admin.Status) (bool, string) {
	for _, seen := range s.Nodes {
		if seen.Name == n.Name && seen.Health != watchdog.HealthHealthy {
			return false, fmt.Sprintf("it is %s (%s)", seen.Health, seen.Reason)
		}
	}
	return true, ""
}

func outage(r watchdog.Record) float64 {
	if r.OutageSeconds == nil {
		return -1
	}
	return *r.OutageSeconds
}

// equal checks that every node holds the same, and every acknowledged row.
func equal(t *testing.T, c *lab.Cluster) {
	t.Helper()
	res, err := c.Check(t.Context(), 2*time.Minute)
	must(t, err)
	if !res.OK() {
		t.Fatalf("check: %s", res)
	}
	t.Logf("check: %s", res)
}

// underLoad writes steadily until the test stops it.
func underLoad(t *testing.T, c *lab.Cluster) (stop func()) {
	t.Helper()
	load, err := c.StartLoad(t.Context(), 50)
	must(t, err)
	var once sync.Once
	stop = func() {
		once.Do(func() {
			res, err := load.Stop()
			if err != nil {
				t.Errorf("load: %v", err)
			}
			t.Logf("load: %+v", res)
			if res.Acknowledged == 0 {
				t.Error("load: not one row was acknowledged")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// together waits until every sidecar knows a leader and every node's role,
// whatever state the replicas are in.
func together(t *testing.T, c *lab.Cluster) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), 2*time.Minute, "the sidecars to find each other", func(ctx context.Context) (bool, string) {
		for _, n := range c.Nodes {
			s, err := n.Status(ctx)
			if err != nil {
				return false, err.Error()
			}
			if s.Leader == "" || len(s.Nodes) != len(c.Nodes) {
				return false, fmt.Sprintf("%s knows leader %q and %d nodes", n.Name, s.Leader, len(s.Nodes))
			}
			for _, seen := range s.Nodes {
				if seen.Role == watchdog.RoleUnknown {
					return false, fmt.Sprintf("%s does not know the role of %s", n.Name, seen.Name)
				}
			}
		}
		return true, ""
	}))
}
