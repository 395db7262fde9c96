package healing

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"resilver/healing/datadir"
	"resilver/watchdog"
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

// TestBackupIsRefusedInTime: what a backup would lack, or a directory that is
// this node's own, ends it before anything is made; tablespaces of this node's
// at paths of their own are not in the copy, and in nobody's way.
func TestBackupIsRefusedInTime(t *testing.T) {
	f := newHalf(t, "", false)
	place, err := datadir.PlaceFor(f.j.Live.Path, "")
	f.do(t, err)
	apart := datadir.Ref{Path: "/backups"}
	own := []datadir.Outside{{Scattered: true}}
	for name, c := range map[string]struct {
		j    Journal
		want string
	}{
		"nothing odd":                  {Journal{Into: apart}, ""},
		"this node's tablespaces":      {Journal{Into: apart, Outside: own}, ""},
		"the donor's tablespaces":      {Journal{Into: apart, Scattered: []string{"/else/db/t.ibd"}}, "/else/db/t.ibd"},
		"in the datadir":               {Journal{Into: datadir.Ref{Path: place.Live.Path + "/x"}}, " is in "},
		"in the staging area":          {Journal{Into: datadir.Ref{Path: place.Root}}, " is in "},
		"a drill, which keeps nothing": {Journal{Scattered: []string{"/else/db/t.ibd"}}, ""},
	} {
		r := &rebuild{h: &Healer{o: Options{StateDir: f.state}}, place: place, log: quiet(), j: c.j}
		r.j.Record.Trigger = watchdog.TriggerBackup
		if c.j.Into.Path == "" {
			r.j.Record.Trigger = watchdog.TriggerDrill
		}
		err := r.keepable()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, errCancelled) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		f.do(t, os.RemoveAll(place.Root))
		if err := r.quarantine(t.Context()); !errors.Is(err, errCancelled) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(place.Root); err == nil {
			t.Errorf("%s: the staging area was made", name)
		}
	}
}

// TestManifestSaysWhatIsMissing: no backup holds what this node preserves, and
// its manifest says so, and what must be moved.
func TestManifestSaysWhatIsMissing(t *testing.T) {
	for flavor, moved := range map[string][]string{
		"mysql":   {"innodb_data_home_dir (ibdata*)", "#innodb_redo or ib_logfile*", "undo*"},
		"mariadb": {"innodb_data_home_dir (ibdata*)", "ib_logfile*", "undo*", "aria_log_dir_path (aria_log*)", "log_bin", ".state"},
	} {
		r := &rebuild{h: &Healer{o: Options{Preserve: []string{"auto.cnf", "*.pem", "keyring"}}}}
		r.donor.Flavor = flavor
		if got := r.leave(); !slices.Equal(got, []string{"*.pem", "auto.cnf", "keyring", "mysqld-auto.cnf*"}) {
			t.Errorf("left out: %q", got)
		}
		text, err := r.manifest(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range append(moved, "auto.cnf, keyring, mysqld-auto.cnf*") {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: the manifest does not say %q: %s", flavor, want, text)
			}
		}
		if strings.Contains(string(text), "aria_log") != (flavor == "mariadb") {
			t.Errorf("%s: %s", flavor, text)
		}
	}
}
