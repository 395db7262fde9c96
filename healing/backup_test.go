package healing

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resilver/healing/datadir"
)

// TestUntidyBackupHoldsNothingUp: whatever is wrong with the directory for
// backups, the node goes on, and is told what is left there.
func TestUntidyBackupHoldsNothingUp(t *testing.T) {
	for name, spoil := range map[string]func(into string) error{
		"nothing left": func(into string) error { return os.RemoveAll(filepath.Join(into, ".resilver-r1")) },
		"a file": func(into string) error {
			path := filepath.Join(into, ".resilver-r1")
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o600)
		},
		"not a directory": func(into string) error {
			if err := os.RemoveAll(into); err != nil {
				return err
			}
			return os.WriteFile(into, nil, 0o600)
		},
		"another one": func(into string) error {
			if err := os.Rename(into, into+"2"); err != nil {
				return err
			}
			return os.Mkdir(into, 0o700)
		},
		"gone": os.RemoveAll,
	} {
		f := newHalf(t, "", false)
		into := filepath.Join(filepath.Dir(f.j.Live.Path), "backups")
		f.do(t, os.MkdirAll(filepath.Join(into, ".resilver-r1", "data"), 0o700))
		ref, err := datadir.RefOf(into)
		f.do(t, err, spoil(into))
		var told bytes.Buffer
		place, err := datadir.PlaceFor(f.j.Live.Path, "")
		f.do(t, err)
		r := &rebuild{h: &Healer{o: Options{StateDir: f.state}}, place: place, log: slog.New(slog.NewTextHandler(&told, nil)), j: *f.j}
		r.j.Into = ref
		if err := r.tidy(t.Context()); err != nil {
			t.Errorf("%s: not tidied: %v", name, err)
		}
		want := name != "nothing left"
		if got := strings.Contains(told.String(), filepath.Join(into, ".resilver-r1")); got != want {
			t.Errorf("%s: told %q", name, told.String())
		}
	}
}
