//go:build proof

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/cmd/internal/lab/chaos"
	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// TestInvariant5CrashMatrix: at a point of a rebuild one of the programs
// involved dies by SIGKILL, or the power of the replica's machine fails, and it
// is brought back. Every time the rebuild goes on
// and heals the replica, or the old data are in service, broken as before,
// until another rebuild has healed it; no row is missing anywhere, and no
// process and no file is left. Each point once, engines and victims taking
// turns; with RESILVER_CHAOS, see make chaos, every victim at every point.
func TestInvariant5CrashMatrix(t *testing.T) { onEngines(t, crashMatrix) }

func crashMatrix(t *testing.T, engine string) {
	run := chaosRun(t, engine)
	for cluster, before := 1, -1; len(run.todo) > 0 && len(run.todo) != before && !run.late(t); cluster++ {
		before = len(run.todo)
		// A cell that has failed has spoilt its cluster for the others.
		t.Run(fmt.Sprintf("cluster-%d", cluster), func(t *testing.T) {
			m := upMatrix(t, engine)
			for ok := true; ok && len(run.todo) > 0 && !run.late(t); {
				ok = run.next(t, m)
			}
		})
	}
}

// cells is a run through some of the matrix.
type cells struct {
	todo     []chaos.Cell
	pauses   map[chaos.Cell]time.Duration
	seed     uint64
	file     string // of results; empty: none
	revision string
}

// chaosRun is what the environment asks for.
func chaosRun(t *testing.T, engine string) *cells {
	t.Helper()
	r := &cells{seed: 1, file: os.Getenv("RESILVER_CHAOS"), revision: os.Getenv("RESILVER_CHAOS_REVISION"), todo: chaos.Diagonal(engine)}
	only := os.Getenv("RESILVER_CHAOS_CELLS")
	if r.file != "" || only != "" {
		r.todo = nil
		match, err := regexp.Compile(only)
		must(t, err)
		for _, cell := range chaos.Cells(engine) {
			if match.MatchString(cell.String()) {
				r.todo = append(r.todo, cell)
			}
		}
	}
	if text := os.Getenv("RESILVER_CHAOS_SEED"); text != "" {
		var err error
		r.seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	asked := len(r.todo)
	if r.file != "" {
		done, err := chaos.Load(r.file)
		must(t, err)
		r.todo = chaos.Left(r.todo, done, r.revision)
	}
	r.todo, r.pauses = chaos.Shuffled(r.todo, r.seed)
	t.Logf("%d of %d cells to run, seed %d", len(r.todo), asked, r.seed)
	return r
}

// late says that another cell might not end before the test's own deadline:
// the next run goes on from there.
func (r *cells) late(t *testing.T) bool {
	end, ok := t.Deadline()
	if !ok || r.file == "" || time.Until(end) > chaos.Deadline+time.Minute {
		return false
	}
	t.Logf("%d cells are left to the next run", len(r.todo))
	return true
}

// next runs a cell and notes what came of it.
func (r *cells) next(t *testing.T, m *matrix) bool {
	t.Helper()
	cell := r.todo[0]
	r.todo = r.todo[1:]
	result := chaos.Result{Cell: cell, Version: m.c.Version(), Revision: r.revision, Seed: r.seed, Pause: r.pauses[cell], Time: time.Now().UTC(), Left: []string{},
		Reason: "the cell did not come to its end; the log of the run says more"}
	result.Passed = t.Run(strings.ReplaceAll(cell.Point+" "+string(cell.Victim), " ", "-"), func(t *testing.T) {
		result.Reason = said(m.run(t, &result))
		if result.Reason != "" {
			t.Fatal(result.Reason)
		}
	})
	if r.file != "" {
		must(t, chaos.Append(r.file, &result))
	}
	t.Logf("%s %s: %s, back in service after %.1f s, healed after %.1f s; %d to go", time.Now().Format("15:04:05"), cell, result.Outcome, result.Served, result.Healed, len(r.todo))
	return result.Passed
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// matrix is a cluster whose db2 is rebuilt again and again.
type matrix struct {
	c     *lab.Cluster
	n     *lab.Node
	gates string // a file for each point: there, it is open
}

func upMatrix(t *testing.T, engine string) *matrix {
	// Without the option a relay log that lost its end with the power keeps the
	// threads down for good.
	c := upWith(t, lab.Options{Engine: engine, Layout: lab.LayoutSplit, DataMB: 5, Mysqld: []string{"relay_log_recovery=ON"}, Set: map[string]string{
		"policy.cooldown": "1s", "policy.broken_for": "1100ms", "policy.errant_confirm": "500ms", "quarantine.keep": "1s",
		"policy.budget": "{node_per_day: 10000, cluster_per_hour: 10000}",
	}})
	m := &matrix{c: c, n: c.Node(2), gates: t.TempDir()}
	onOwnDisk(t, m.n)
	var points []string
	for _, point := range chaos.Points() {
		must(t, m.open(point))
		points = append(points, point+"=wait:"+m.gate(point))
	}
	restartWith(t, m.n, strings.Join(points, ","))
	underLoad(t, c)
	return m
}

func (m *matrix) gate(point string) string { return filepath.Join(m.gates, point) }

func (m *matrix) open(point string) error { return os.WriteFile(m.gate(point), nil, 0o644) }

// run is one cell: break, hold, kill, bring back, judge.
func (m *matrix) run(t *testing.T, r *chaos.Result) error {
	must(t, m.c.WaitAgreed(t.Context(), chaos.Deadline))
	before := identityOf(t, m.n)
	known, err := records(t.Context(), m.n, m.n.Name)
	must(t, err)
	gate := m.gate(r.Point)
	for _, path := range []string{gate, gate + ".reached"} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	breakIt(t, m.c, m.n, "row-missing")
	reached(t, gate)
	victim, err := m.victim(t.Context(), r.Victim)
	must(t, err)

	seen := m.watch(t)
	if err := m.kill(t, victim, r); err != nil {
		return err
	}
	mine, err := m.healed(t.Context(), known, r.Time)
	looks := seen()
	r.Healed = time.Since(r.Time).Seconds()
	r.Served = servedAfter(looks, r.Time)
	if err != nil {
		return err
	}
	if err := m.judge(r, mine, looks, before.inode); err != nil {
		return err
	}
	before.unchanged(t, m.n)
	doors(t, m.n, replicaDoors)
	quarantined(t, m.n, before, mine[0].ID)
	must(t, m.c.WaitAgreed(t.Context(), chaos.Deadline))
	equal(t, m.c)
	if r.Left = m.left(t); len(r.Left) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(r.Left, ", "))
	}
	return nil
}

// program is one that can be killed; without a kind it is all of the node's.
type program struct {
	of   *lab.Node
	kind lab.Program
}

func (m *matrix) victim(ctx context.Context, v chaos.Victim) (program, error) {
	switch v {
	case chaos.Sidecar:
		return program{m.n, lab.Sidecar}, nil
	case chaos.Power:
		return program{of: m.n}, nil
	case chaos.Mysqld:
		return program{m.n, lab.Mysqld}, nil
	case chaos.Supervisor:
		if pid := m.n.PID(lab.Mysqld); pid != 0 {
			return program{}, fmt.Errorf("mysqld runs as process %d, where it should be down", pid)
		}
		return program{m.n, lab.Supervisor}, nil
	}
	donor, err := m.donor(ctx)
	if v == chaos.DonorSidecar {
		return program{donor, lab.Sidecar}, err
	}
	return program{donor, lab.Mysqld}, err
}

// donor is that of the rebuild under way, or of the last one.
func (m *matrix) donor(ctx context.Context) (*lab.Node, error) {
	s, err := m.n.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Lease != nil {
		return m.c.Named(string(s.Lease.Donor))
	}
	rs, err := records(ctx, m.n, m.n.Name)
	if err != nil || len(rs) == 0 {
		return nil, fmt.Errorf("neither a lease nor a rebuild names a donor: %w", err)
	}
	return m.c.Named(rs[0].Donor)
}

// kill ends a program, lets the rebuild go on without it, and brings it back
// as its manager would. That of mysqld is its supervisor.
func (m *matrix) kill(t *testing.T, p program, r *chaos.Result) error {
	if err := m.end(t.Context(), p); err != nil {
		return err
	}
	r.Time = time.Now().UTC()
	t.Logf("%s of %s killed at %s", r.Victim, p.of.Name, r.Point)
	if err := m.open(r.Point); err != nil {
		return err
	}
	switch p.kind {
	case lab.Sidecar:
		await(t, r.Pause)
		return p.of.StartSidecar()
	case lab.Supervisor:
		await(t, r.Pause)
		return p.of.StartServer(t.Context())
	case "":
		await(t, r.Pause)
		return errors.Join(p.of.StartSidecar(), p.of.StartServer(t.Context()))
	}
	return nil
}

func (m *matrix) end(ctx context.Context, p program) error {
	if p.kind == "" {
		return p.of.PowerCut(ctx)
	}
	return p.of.Kill(ctx, p.kind)
}

func await(t *testing.T, d time.Duration) {
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}

// healed waits until a rebuild that is not known yet has healed the node and
// left nothing to do, and returns those, newest first.
func (m *matrix) healed(ctx context.Context, known []watchdog.Record, since time.Time) (mine []watchdog.Record, err error) {
	old := map[string]bool{}
	for _, r := range known {
		old[r.ID] = true
	}
	opened := ""
	err = lab.WaitFor(ctx, chaos.Deadline-time.Since(since), m.n.Name+" to be healed", func(ctx context.Context) (bool, string) {
		s, err := m.n.Status(ctx)
		if err != nil {
			return false, err.Error()
		}
		if s.Breaker.Open {
			opened = string(s.Breaker.Reason)
			return true, ""
		}
		rs, err := records(ctx, m.n, m.n.Name)
		if err != nil {
			return false, err.Error()
		}
		mine = nil
		for _, r := range rs {
			if !old[r.ID] {
				mine = append(mine, r)
			}
		}
		if len(mine) == 0 || mine[0].Outcome != watchdog.Healed || s.Lease != nil || exists(filepath.Join(m.n.StateDir(), "journal.json")) {
			return false, fmt.Sprintf("%s; %s", present(ctx, m.n), told(mine))
		}
		return m.replicates(ctx, &s)
	})
	if opened != "" {
		return mine, fmt.Errorf("the breaker opened: %s", opened)
	}
	return mine, err
}

// replicates says whether the node does, and its own sidecar knows it.
func (m *matrix) replicates(ctx context.Context, s *admin.Status) (bool, string) {
	if well, why := foundHealthy(m.n, s); !well {
		return false, "healed, and " + why
	}
	status, err := m.n.Replica(ctx)
	if err != nil {
		return false, err.Error()
	}
	return status["Replica_IO_Running"] == "Yes" && status["Replica_SQL_Running"] == "Yes", "healed, and its threads do not run"
}

// told are rebuilds in a few words, newest first.
func told(rs []watchdog.Record) string {
	out := []string{}
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%s (%s)", r.Outcome, r.Error))
	}
	return strings.Join(out, ", ")
}
