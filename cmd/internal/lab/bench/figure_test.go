package bench

import (
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{3, 1, 2}, 2},
		{[]float64{100, 1, 3, 2}, 2.5},
	} {
		given := slices.Clone(c.values)
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(given, c.values) {
			t.Errorf("the order of the rounds %v became %v", given, c.values)
		}
	}
}

func TestRoundsRotate(t *testing.T) {
	list := []string{"a", "b", "c"}
	first := map[string]bool{}
	for round := range 3 {
		got := rotated(list, round)
		first[got[0]] = true
		if slices.Compare(slices.Sorted(slices.Values(got)), list) != 0 {
			t.Errorf("round %d has %v, want each of %v once", round, got, list)
		}
	}
	if len(first) != 3 {
		t.Errorf("rounds begin with %v, want each once", first)
	}
	if got := rotated([]string{}, 2); len(got) != 0 {
		t.Errorf("nothing became %v", got)
	}
}

func TestFiguresKeepOrder(t *testing.T) {
	var fs figures
	fs.declare("one", Figure{Name: "a", Unit: seconds}, Figure{Name: "b", Unit: seconds})
	fs.declare("two", Figure{Name: "c", Unit: percent})
	fs.add("c", 1)
	for _, v := range []float64{5, 3, 4} {
		fs.add("a", v)
	}
	got := fs.measured()
	if len(got) != 2 || got[0].Name != "a" || got[1].Name != "c" || got[1].Section != "two" {
		t.Fatalf("measured are %+v, want a and c", got)
	}
	if a := got[0]; a.Median != 4 || !slices.Equal(a.Values, []float64{5, 3, 4}) {
		t.Errorf("a is %+v, want median 4 of 5, 3, 4 in this order", a)
	}
	if _, ok := fs.medianOf("b"); ok {
		t.Error("b has a median without a value")
	}
}

func TestUnknownFigurePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a value without a figure was taken")
		}
	}()
	declared("mysql").add("copy.plian", 1)
}
