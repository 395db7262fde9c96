package chaos

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"resilver/cmd/internal/lab"
)

//go:embed reliability.md.tmpl
var templates embed.FS

// page is what the document tells.
type page struct {
	Command      string
	Cells, Ran   int
	Failed       []Result
	Healed, Old  int
	Revisions    []count
	Seeds        []string
	First, Last  string // days of the first and the last kill
	Engines      []table
	Deadline     string
	Columns      []Victim
	LongestPause string
}

// count is how many of the cells have something in common.
type count struct {
	Name  string
	Cells int
}

// table is the cells of an engine.
type table struct {
	Versions []string
	Ran, Of  int
	Rows     []row
	Spans    []span
}

// row is the cells of a point, one a column.
type row struct {
	Point string
	Cells []string
}

// span is how long the cells of a column took that have passed, in seconds
// from the kill.
type span struct {
	Victim         Victim
	Cells          int
	Served, Healed float64 // medians
	Longest        float64 // until healed
	At             string  // which point that was
}

// Document writes the page of reliability from the newest result of each cell.
func Document(results []Result, command string) ([]byte, error) {
	if len(results) == 0 {
		return nil, errors.New("write the document: no results; make chaos makes them")
	}
	latest := map[Cell]Result{}
	for _, r := range results {
		latest[r.Cell] = r
	}
	p := page{Command: command, Deadline: Deadline.String(), Columns: Columns(), LongestPause: longestPause.String()}
	revisions, seeds := map[string]int{}, map[string]bool{}
	for _, engine := range lab.Engines() {
		p.Engines = append(p.Engines, tableOf(engine, latest))
	}
	for _, c := range All() {
		r, ran := latest[c]
		p.Cells++
		if !ran {
			continue
		}
		p.Ran++
		revisions[r.Revision]++
		seeds[fmt.Sprint(r.Seed)] = true
		day := r.Time.UTC().Format("2006-01-02")
		if p.First == "" || day < p.First {
			p.First = day
		}
		p.Last = max(p.Last, day)
		switch {
		case !r.Passed:
			p.Failed = append(p.Failed, r)
		case r.Outcome == Healed:
			p.Healed++
		default:
			p.Old++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(revisions)) {
		p.Revisions = append(p.Revisions, count{name, revisions[name]})
	}
	p.Seeds = slices.Sorted(maps.Keys(seeds))
	t, err := template.New("reliability.md.tmpl").Funcs(template.FuncMap{"join": strings.Join}).ParseFS(templates, "reliability.md.tmpl")
	if err != nil {
		return nil, fmt.Errorf("read the document's template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return nil, fmt.Errorf("write the document: %w", err)
	}
	return out.Bytes(), nil
}

func tableOf(engine string, latest map[Cell]Result) table {
	var t table
	versions := map[string]bool{}
	columns := make([][]Result, len(Columns()))
	for _, point := range Points() {
		r := row{Point: point}
		for i, column := range Columns() {
			result, ran := latest[cell(engine, point, column)]
			t.Of++
			r.Cells = append(r.Cells, told(result, ran))
			if ran {
				t.Ran++
				versions[result.Version] = true
			}
			if result.Passed {
				columns[i] = append(columns[i], result)
			}
		}
		t.Rows = append(t.Rows, r)
	}
	for i, column := range Columns() {
		t.Spans = append(t.Spans, spanOf(column, columns[i]))
	}
	t.Versions = slices.Sorted(maps.Keys(versions))
	if len(t.Versions) == 0 {
		t.Versions = []string{engine}
	}
	return t
}

func spanOf(victim Victim, results []Result) span {
	s := span{Victim: victim, Cells: len(results)}
	var served, healed []float64
	for _, r := range results {
		served, healed = append(served, r.Served), append(healed, r.Healed)
		if r.Healed >= s.Longest {
			s.Longest, s.At = r.Healed, r.Point
		}
	}
	s.Served, s.Healed = median(served), median(healed)
	return s
}

// median is the lower one of an even number; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// told is a cell in the table.
func told(r Result, ran bool) string {
	switch {
	case !ran:
		return "–"
	case !r.Passed:
		return "**FAILED**"
	case r.Outcome == Healed:
		return fmt.Sprintf("new, %.1f · %.1f", r.Served, r.Healed)
	}
	return fmt.Sprintf("old, %.1f · %.1f", r.Served, r.Healed)
}
