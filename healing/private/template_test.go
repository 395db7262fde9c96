package private

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestTemplateReplacesThoseOfOtherVersions: making the template of the server
// that runs now removes what servers before an upgrade left, and nothing else.
func TestTemplateReplacesThoseOfOtherVersions(t *testing.T) {
	o := newArea(t, "")
	version, err := versionOf(t.Context(), o.Program)
	if err != nil {
		t.Fatal(err)
	}
	kept := []string{"new", "old", nameTemplate + version + "-4096"}
	gone := []string{nameTemplate + "8.4.0", nameTemplate + "8.4.0-16384", nameTemplate + "8.4.0.half", nameTemplate + version + "-5", nameTemplate + version + "9"}
	for _, name := range slices.Concat(kept, gone) {
		if err := os.MkdirAll(filepath.Join(o.Area, name, "mysql"), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	area, err := os.OpenRoot(o.Area)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = area.Close() }()
	made, err := template(t.Context(), area, o, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(kept, made) {
		if _, err := os.Stat(filepath.Join(o.Area, name, "mysql")); err != nil {
			t.Errorf("%s was touched: %v", name, err)
		}
	}
	for _, name := range gone {
		if _, err := os.Lstat(filepath.Join(o.Area, name)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}
