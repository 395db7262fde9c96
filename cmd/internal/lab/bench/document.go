package bench

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"text/template"
	"time"
)

//go:embed performance.md.tmpl
var templates embed.FS

// Document writes the page of performance from the results of runs, one an
// engine.
func Document(results []*Result) ([]byte, error) {
	t, err := template.New("performance.md.tmpl").Funcs(template.FuncMap{
		"quantity": quantity,
		"rounds":   func(f Figure) string { return eachRound(f) },
		"sections": sections,
		"title":    func(text string) string { return strings.ToUpper(text[:1]) + text[1:] },
		"gb":       func(bytes float64) string { return fmt.Sprintf("%.0f GB", bytes/1e9) },
		"mbs":      func(rate float64) string { return fmt.Sprintf("%.0f MB/s", rate/1e6) },
		"minutes":  func(s float64) string { return fmt.Sprintf("%.1f minutes", s/60) },
		"day":      func(t time.Time) string { return t.Format(time.RFC3339) },
	}).ParseFS(templates, "performance.md.tmpl")
	if err != nil {
		return nil, fmt.Errorf("read the document's template: %w", err)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, results); err != nil {
		return nil, fmt.Errorf("write the document: %w", err)
	}
	return page.Bytes(), nil
}

// eachRound are the values of the rounds, without their unit.
func eachRound(f Figure) string {
	var all []string
	for _, v := range f.Values {
		text, _, _ := strings.Cut(quantity(v, f.Unit), " ")
		all = append(all, text)
	}
	return strings.Join(all, " · ")
}

// section is a group of figures.
type section struct {
	Name    string
	Figures []Figure
}

// sections groups figures that stand in order.
func sections(fs []Figure) []section {
	var out []section
	for _, f := range fs {
		if len(out) == 0 || out[len(out)-1].Name != f.Section {
			out = append(out, section{Name: f.Section})
		}
		last := &out[len(out)-1]
		last.Figures = append(last.Figures, f)
	}
	return out
}

// Text is a result for a terminal.
func (r *Result) Text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %d MB on each node, %d rounds, %.0f s\n", r.Server, r.DataMB, r.Rounds, r.Took)
	for _, s := range sections(r.Figures) {
		fmt.Fprintf(&text, "\n%s\n", s.Name)
		for _, f := range s.Figures {
			fmt.Fprintf(&text, "  %-54s %12s   %s\n", f.Text, quantity(f.Median, f.Unit), eachRound(f))
		}
	}
	fmt.Fprintf(&text, "\nGoals\n")
	for _, v := range r.Verdicts {
		value := "-"
		if v.Measured {
			value = quantity(v.Value, v.Unit)
		}
		fmt.Fprintf(&text, "  %-78s %10s   %-10s %s\n", v.Goal, value, v.Want(), v.Word())
	}
	return text.String()
}
