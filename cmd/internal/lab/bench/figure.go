package bench

import (
	"slices"
)

// Units of figures.
const (
	seconds      = "s"
	milliseconds = "ms"
	megabytes    = "MB"
	percent      = "%"
	pages        = "pages"
	count        = ""
)

// Figure is one thing that was measured, once a round. Its name is what it is
// judged by and found by in the JSON.
type Figure struct {
	Name    string    `json:"name"`
	Section string    `json:"section"`
	Text    string    `json:"text"` // for a person
	Unit    string    `json:"unit"`
	Values  []float64 `json:"values"` // in the order of the rounds
	Median  float64   `json:"median"`
}

// median is the middle of the values, or the mean of the two in the middle; 0
// where there is none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// figures are all figures of a run, in the order in which they are shown.
type figures []Figure

// declare puts a figure in its place before anything is measured: rounds that
// rotate would else decide on the order.
func (fs *figures) declare(section string, list ...Figure) {
	for _, f := range list {
		f.Section, f.Values = section, []float64{}
		*fs = append(*fs, f)
	}
}

// add notes one round's value. A name that was not declared is a mistake of
// this program.
func (fs figures) add(name string, value float64) {
	f := fs.find(name)
	if f == nil {
		panic("bench: no figure " + name)
	}
	f.Values = append(f.Values, value)
	f.Median = median(f.Values)
}

func (fs figures) find(name string) *Figure {
	for i := range fs {
		if fs[i].Name == name {
			return &fs[i]
		}
	}
	return nil
}

// measured are the figures that have values.
func (fs figures) measured() figures {
	return slices.DeleteFunc(slices.Clone(fs), func(f Figure) bool { return len(f.Values) == 0 })
}

// medianOf is a figure's median, and whether there is one.
func (fs figures) medianOf(name string) (float64, bool) {
	f := fs.find(name)
	if f == nil || len(f.Values) == 0 {
		return 0, false
	}
	return f.Median, true
}

// rotated is the order of a round: each round begins one further on, so that
// what comes first or last, or after which other, does not favour anybody.
func rotated[T any](list []T, round int) []T {
	if len(list) == 0 {
		return nil
	}
	at := round % len(list)
	return append(slices.Clone(list[at:]), list[:at]...)
}
