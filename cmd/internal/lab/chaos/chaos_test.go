package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// TestCells: every point has a cell for every column, once, and where mysqld
// is down on purpose its supervisor stands in for it.
func TestCells(t *testing.T) {
	for _, engine := range lab.Engines() {
		all := Cells(engine)
		if len(all) != len(Points())*len(Columns()) {
			t.Errorf("%s: %d cells of %d points", engine, len(all), len(Points()))
		}
		seen := map[Cell]bool{}
		for _, c := range all {
			if seen[c] {
				t.Errorf("%s twice", c)
			}
			seen[c] = true
			if down := away(c.Point); c.Victim == Mysqld && down || c.Victim == Supervisor && !down {
				t.Errorf("%s: is mysqld down there? %t", c, down)
			}
		}
	}
	if !Survives("stop.end") || !Survives("settle.end") || Survives("stop.ending") || Survives("preflight.begin") {
		t.Error("a rebuild goes on from stop.end on, and not before")
	}
}

// TestDiagonal: each point once, on one of the engines, and every victim as
// often as any other on each; a supervisor too.
func TestDiagonal(t *testing.T) {
	at := map[string]int{}
	for _, engine := range lab.Engines() {
		turns := map[Victim]int{}
		diagonal := Diagonal(engine)
		for _, c := range diagonal {
			if !slices.Contains(Cells(engine), c) {
				t.Errorf("%s is no cell", c)
			}
			at[c.Point]++
			turns[c.Victim]++
		}
		if turns[Supervisor] == 0 {
			t.Errorf("%s: no supervisor is killed: %v", engine, turns)
		}
		turns[Mysqld] += turns[Supervisor]
		for _, victim := range Columns() {
			if n, share := turns[victim], len(diagonal)/len(Columns()); n < share || n > share+1 {
				t.Errorf("%s: %s has %d turns of %d: %v", engine, victim, n, len(diagonal), turns)
			}
		}
	}
	for _, point := range Points() {
		if at[point] != 1 {
			t.Errorf("%s: %d times", point, at[point])
		}
	}
}

// TestShuffled: a seed is an order and the pauses, of which a part of the
// cells has the same.
func TestShuffled(t *testing.T) {
	all := Cells(lab.MySQL)
	first, pauses := Shuffled(all, 7)
	again, _ := Shuffled(all, 7)
	other, _ := Shuffled(all, 8)
	if !slices.Equal(first, again) || slices.Equal(first, other) || slices.Equal(first, all) {
		t.Error("the order does not follow the seed")
	}
	half, same := Shuffled(all[:len(all)/2], 7)
	var rest []Cell
	for _, c := range first {
		if slices.Contains(half, c) {
			rest = append(rest, c)
			if pauses[c] != same[c] || pauses[c] >= longestPause {
				t.Errorf("%s pauses %s, and %s among fewer", c, pauses[c], same[c])
			}
		}
	}
	if !slices.Equal(rest, half) {
		t.Error("the order is another one among fewer cells")
	}
}

// TestResume: what has a result of this revision is not run again; a line that
// was being written when the run was killed is none, and the next one is whole.
func TestResume(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chaos.jsonl")
	all := Cells(lab.MySQL)
	if rs, err := Load(file); err != nil || len(rs) != 0 {
		t.Fatalf("of no file: %v, %v", rs, err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(Append(file, &Result{Cell: all[0], Revision: "a", Passed: true}))
	must(Append(file, &Result{Cell: all[1], Revision: "b", Reason: "it\nfailed"}))
	torn, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	_, err = torn.WriteString(`{"engine":"mysql","po`)
	must(err)
	must(torn.Close())
	rs, err := Load(file)
	if err != nil || len(rs) != 2 || rs[1].Reason != "it\nfailed" {
		t.Fatalf("%+v, %v", rs, err)
	}
	if left := Left(all, rs, "a"); len(left) != len(all)-1 || slices.Contains(left, all[0]) {
		t.Errorf("%d are left of %d", len(left), len(all))
	}
	must(Append(file, &Result{Cell: all[2], Revision: "a"}))
	if rs, err = Load(file); err != nil || len(rs) != 3 || rs[2].Cell != all[2] {
		t.Fatalf("after a torn line: %+v, %v", rs, err)
	}
	must(os.WriteFile(file, []byte("{}\nno JSON\n"), 0o600))
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "chaos.jsonl:2") {
		t.Errorf("of a damaged file: %v", err)
	}
}

// TestDocument: the page says how much ran, where, when, and what failed; of a
// cell that ran twice the last run counts.
func TestDocument(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	of := func(point string, victim Victim, o Outcome, seconds float64, passed bool) Result {
		return Result{Cell: Cell{lab.MySQL, point, victim}, Version: "mysql 1.2.3", Revision: "abc", Seed: 7, Time: at, Outcome: o, Served: seconds / 2, Healed: seconds, Passed: passed, Reason: "why | not"}
	}
	page, err := Document([]Result{
		of("swap.begin", Supervisor, OldData, 99, false), of("swap.begin", Supervisor, Healed, 4, true), of("stop.begin", Mysqld, Healed, 6, true),
		of("stage.end", DonorMysqld, OldData, 12, true), of("own.end", Sidecar, "", 0, false),
	}, "resilver-lab reliability")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"`resilver-lab reliability`", "`make chaos SEED=7` repeats", "**4 of 320 cells of the crash matrix ran**, on 2026-01-02: 2 healed", " 1 with the old data", " 1 failed",
		"4 at revision `abc`", "## mysql 1.2.3", "4 of 160 cells", "| `swap.begin` | – | new, 2.0 · 4.0 | – | – | – |", "| `stage.end` | – | – | – | old, 6.0 · 12.0 | – |",
		"| mysqld | 2 | 2.0 | 4.0 | 6.0 | `stop.begin` |", "| `own.end` | **FAILED** | – | – | – | – |", "- mysql own.end sidecar: why | not", "## mariadb", "0 of 160 cells"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if _, err := Document(nil, "x"); err == nil {
		t.Error("a page of nothing")
	}
}
