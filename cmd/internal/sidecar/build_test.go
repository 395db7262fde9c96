package sidecar

import (
	"slices"
	"testing"
)

// TestToolDirs: a PATH decides alone, where there is one.
func TestToolDirs(t *testing.T) {
	for path, want := range map[string][]string{
		"/nowhere":          {"/nowhere"},
		"/a:/b/c:/usr/bin":  {"/a", "/b/c", "/usr/bin"},
		"here:./there::/a:": {"/a"}, // not what lies where a sidecar happens to be
		"":                  {"/usr/bin", "/usr/sbin"},
	} {
		t.Setenv("PATH", path)
		if got := toolDirs(); !slices.Equal(got, want) {
			t.Errorf("PATH %q: %v, want %v", path, got, want)
		}
	}
}
