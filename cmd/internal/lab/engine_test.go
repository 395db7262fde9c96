package lab

import "testing"

func TestPositionsMissing(t *testing.T) {
	for _, tt := range []struct{ want, have, missing string }{
		{"", "", ""},
		{"0-1-5", "", "0-1-5"},
		{"0-1-5", "0-1-5", ""},
		{"0-1-5", "0-2-4", "0-1-5"},
		{"0-1-5", "0-2-6", ""},
		{"0-1-5,3-1-2", "0-1-9", "3-1-2"},
		{"", "0-1-9", ""},
	} {
		got, err := positionsMissing(tt.want, tt.have)
		if err != nil || got != tt.missing {
			t.Errorf("%q without %q: %q, %v, want %q", tt.want, tt.have, got, err, tt.missing)
		}
	}
	for _, text := range []string{"0-1", "0-1-x", "a-b-c-d", "0-1-5, 1-1"} {
		if got, err := positionsMissing(text, ""); err == nil {
			t.Errorf("%q: read as %q", text, got)
		}
	}
}

func TestLayouts(t *testing.T) {
	for _, name := range Layouts() {
		if err := checkLayout(name, identity{root: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, id := range map[string]identity{"square": {root: true}, "": {root: true}, LayoutMount: {}} {
		if err := checkLayout(name, id); err == nil {
			t.Errorf("layout %q is taken from %+v", name, id)
		}
	}
}
