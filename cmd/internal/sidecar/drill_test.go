package sidecar

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"resilver/config"
	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// TestBackupsOnlyWhereTheyMay: without backup.dirs there are none, and a drill
// asks for no directory.
func TestBackupsOnlyWhereTheyMay(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "weekly"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		trigger, to string
		dirs        []string
		want, no    string
	}{
		{watchdog.TriggerDrill, "", nil, "", ""},
		{watchdog.TriggerBackup, dir, nil, "", "backup.dirs"},
		{watchdog.TriggerBackup, dir, []string{filepath.Join(dir, "weekly")}, "", "is in none of"},
		{watchdog.TriggerBackup, filepath.Join(dir, "weekly"), []string{dir}, filepath.Join(dir, "weekly"), ""},
	} {
		d := &daemon{cfg: &config.Config{Backup: config.Backup{Dirs: c.dirs}}}
		got, err := d.into(admin.RebuildRequest{Trigger: c.trigger, To: c.to})
		var no *admin.Error
		if got != c.want || (c.no == "") != (err == nil) || err != nil && (!errors.As(err, &no) || no.Code != admin.CodeUsage || !strings.Contains(no.Message, c.no)) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

// TestCopyIsEstimatedByADrill: the newest rate counts, and a drill has one; one
// that failed, or was of nothing, has not.
func TestCopyIsEstimatedByADrill(t *testing.T) {
	staged := func(seconds float64) []watchdog.StepTime {
		return []watchdog.StepTime{{Name: watchdog.StepPreflight, Seconds: 1}, {Name: watchdog.StepStage, Seconds: seconds}}
	}
	if s := copySeconds(watchdog.Record{Bytes: 100, Steps: staged(10)}, 50); s == nil || *s != 5 {
		t.Errorf("50 bytes at 10 a second: %v", s)
	}
	for _, r := range []watchdog.Record{{Bytes: 100}, {Steps: staged(10)}, {Bytes: 100, Steps: staged(0)}} {
		if s := copySeconds(r, 50); s != nil {
			t.Errorf("%+v tells %v", r, *s)
		}
	}
}

// TestDrillMetrics: a drill is no rebuild, and its failure shows until one
// passes.
func TestDrillMetrics(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), "test", "test")
	value := func(name, outcome string) float64 {
		t.Helper()
		families, err := m.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, one := range f.GetMetric() {
				seen := ""
				for _, l := range one.GetLabel() {
					if l.GetName() == "outcome" {
						seen = l.GetValue()
					}
				}
				if f.GetName() == name && seen == outcome && one.GetCounter() != nil && one.GetCounter().GetValue() > 0 {
					return one.GetCounter().GetValue()
				}
				if f.GetName() == name && one.GetGauge() != nil {
					return one.GetGauge().GetValue()
				}
			}
		}
		return -1
	}
	m.drilled(nil)
	if v := value("resilver_drill_failing", ""); v != -1 {
		t.Errorf("failing is %v before there was a drill", v)
	}
	r := watchdog.Record{Trigger: watchdog.TriggerDrill, Outcome: watchdog.Failed}
	m.ended(r)
	m.drilled(&r)
	if value("resilver_drill_failing", "") != 1 || value("resilver_drills_total", "failed") != 1 || value("resilver_rebuilds_total", "failed") != -1 {
		t.Error("a failed drill is not shown, or as a rebuild")
	}
	r.Outcome = watchdog.Passed
	m.drilled(&r)
	if value("resilver_drill_failing", "") != 0 {
		t.Error("failing after one has passed")
	}
}
