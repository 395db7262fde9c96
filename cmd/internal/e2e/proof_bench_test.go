//go:build proof

package e2e

import (
	"testing"
	"time"

	"resilver/cmd/internal/lab/bench"
)

// TestBench: the whole bench runs on both engines, with everything measured as
// often as was asked for. That all rebuilds healed and all nodes are equal it
// sees to itself. How long things took says nothing here.
func TestBench(t *testing.T) {
	onEngines(t, func(t *testing.T, engine string) {
		r, err := bench.Run(t.Context(), bench.Options{Engine: engine, DataMB: 64, SmallMB: 20, PoolMB: 128, Rounds: 1, Rate: 100,
			Soak: time.Second, Idle: 3 * time.Second, Binary: binary, Command: t.Name(), Out: logWriter{t}})
		must(t, err)
		checkBench(t, r)
	})
}

func checkBench(t *testing.T, r *bench.Result) {
	t.Helper()
	if r.Machine.Cores < 1 || r.Machine.Memory <= 0 || r.Machine.Writes <= 0 || r.Machine.Kernel == "" || r.Machine.Disk == "" || r.Server == "" || r.Resilver == "" {
		t.Errorf("machine and versions are not all known: %+v, %s, %s", r.Machine, r.Server, r.Resilver)
	}
	const least = 30 // 40 on MySQL, 39 on MariaDB
	if len(r.Figures) < least {
		t.Errorf("%d figures, want %d or more", len(r.Figures), least)
	}
	value := map[string]float64{}
	for _, f := range r.Figures {
		if len(f.Values) != 1 || f.Median != f.Values[0] || f.Median < 0 {
			t.Errorf("%s has %v and median %v, want one value", f.Name, f.Values, f.Median)
		}
		value[f.Name] = f.Median
	}
	for _, v := range r.Verdicts {
		if !v.Measured {
			t.Errorf("not measured: %s", v.Goal)
		}
	}
	for _, order := range [][2]string{
		{"heal.noticed", "heal.lease"}, {"heal.lease", "heal.replicating"}, {"heal.replicating", "heal.caught_up"},
		{"outage.resilver", "heal.replicating"}, {"step.stage", "heal.replicating"}, {"idle.anonymous", "idle.rss"},
	} {
		if value[order[0]] <= 0 || value[order[0]] > value[order[1]] {
			t.Errorf("%s is %v, and %s %v", order[0], value[order[0]], order[1], value[order[1]])
		}
	}
	if _, err := bench.Document([]*bench.Result{r}); err != nil {
		t.Error(err)
	}
	t.Log("\n" + r.Text())
}
