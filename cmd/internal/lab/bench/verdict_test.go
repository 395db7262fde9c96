package bench

import (
	"strings"
	"testing"

	"resilver/cmd/internal/lab"
)

// perfect are figures that meet every goal of an engine, each at its limit.
func perfect(engine string) figures {
	fs := declared(engine)
	values := map[string]float64{
		copyPlain: 100, copyTLS: 130, copyPipe: 115, copyStage: 115,
		outageRestart: 10, outageOurs: 3, outageOld: 15, outageRestartLoad: 10, outageOursLoad: 3, outageRestartSmall: 10, outageOursSmall: 3,
		commitDuring: 150, idleRSS: 25, idleAnon: 15, idleCPU: 0.5, idleStatements: 6,
	}
	for name, value := range values {
		if fs.find(name) != nil {
			fs.add(name, value)
		}
	}
	return fs
}

func TestGoalsMetAtTheirLimit(t *testing.T) {
	for _, engine := range lab.Engines() {
		r := Result{Verdicts: judge(engine, perfect(engine))}
		for _, v := range r.Verdicts {
			if !v.Met || !v.Measured || v.Word() != "met" {
				t.Errorf("%s: %s: %v, want it met: %s", engine, v.Goal, v.Value, v.Want())
			}
		}
		if !r.Met() {
			t.Errorf("%s: the run is not met", engine)
		}
	}
}

// TestEachGoalCanFail: every goal is missed by a figure beyond its limit, and
// by one that was not measured.
func TestEachGoalCanFail(t *testing.T) {
	worse := map[string]float64{copyStage: 1000, outageOurs: 1000, outageOursLoad: 1000, outageOursSmall: 1000, outageOld: 1,
		commitDuring: 151, idleRSS: 26, idleAnon: 16, idleCPU: 0.6, idleStatements: 6.1}
	for _, engine := range lab.Engines() {
		failed := map[string]bool{}
		for name, value := range worse {
			fs := perfect(engine)
			f := fs.find(name)
			f.Values = nil
			for _, v := range judge(engine, fs) {
				if !v.Measured && (v.Met || v.Word() != "not measured") {
					t.Errorf("%s: %s: met, though %s was not measured", engine, v.Goal, name)
				}
			}
			fs.add(name, value)
			r := Result{Verdicts: judge(engine, fs)}
			if r.Met() {
				t.Errorf("%s: a run with %s %v is met", engine, name, value)
			}
			for _, v := range r.Verdicts {
				failed[v.Goal] = failed[v.Goal] || !v.Met
			}
		}
		for goal, seen := range failed {
			if !seen {
				t.Errorf("%s: nothing fails the goal %q", engine, goal)
			}
		}
	}
}

func TestNoVerdictsAreNotMet(t *testing.T) {
	if (&Result{}).Met() {
		t.Error("a run that judged nothing is met")
	}
}

func TestEnginesHaveTheirOwnGoals(t *testing.T) {
	for engine, words := range map[string][2]string{lab.MySQL: {"CLONE", "mbstream"}, lab.MariaDB: {"mbstream", "CLONE"}} {
		var all strings.Builder
		for _, v := range judge(engine, declared(engine)) {
			all.WriteString(v.Goal + "\n")
		}
		if !strings.Contains(all.String(), words[0]) || strings.Contains(all.String(), words[1]) {
			t.Errorf("%s has the goals\n%s", engine, all.String())
		}
	}
}

func TestQuantity(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{1.234, seconds, "1.23 s"}, {123.4, seconds, "123.4 s"}, {61.4, milliseconds, "61 ms"}, {24.66, megabytes, "24.7 MB"},
		{240.66, megabytes, "241 MB"}, {0.456, percent, "0.46 %"}, {5, count, "5.0"}, {1.2, times, "1.20 ×"},
	} {
		if got := quantity(c.value, c.unit); got != c.want {
			t.Errorf("%v %q is written %q, want %q", c.value, c.unit, got, c.want)
		}
	}
	v := Verdict{Limit: 25, Unit: megabytes}
	if got := v.Want(); got != "≤ 25 MB" {
		t.Errorf("the goal is written %q", got)
	}
	v = Verdict{Limit: 6, Unit: count, AtLeast: true}
	if got := v.Want(); got != "≥ 6" {
		t.Errorf("the goal is written %q", got)
	}
}
