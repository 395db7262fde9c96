package healing

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/watchdog"
)

// TestKnownToServer: MySQL uses tablespaces in directories that it was told of
// alone, and so does what comes by replication.
func TestKnownToServer(t *testing.T) {
	paths := map[string]string{"innodb_directories": "/ext;/other/", "innodb_undo_directory": "./", "innodb_data_home_dir": ""}
	for path, known := range map[string]bool{
		"/ext/lab/t.ibd": true, "/ext/g.ibd": true, "/other/lab/t.ibd": true,
		"/external/lab/t.ibd": false, "/lab/t.ibd": false, "/otherwise/t.ibd": false,
	} {
		err := knownToServer("mysql", paths, []string{path})
		var place *datadir.PlaceError
		if known != (err == nil) || err != nil && (!errors.As(err, &place) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %v", path, err)
		}
		if err := knownToServer("mariadb", nil, []string{path}); err != nil {
			t.Errorf("MariaDB: %s: %v", path, err)
		}
	}
}

// TestLastScattered: that nobody read a dead server's tablespaces is not that
// it had none.
func TestLastScattered(t *testing.T) {
	if _, err := (&Last{}).scattered(); !errors.Is(err, errNeverRead) {
		t.Errorf("got %v", err)
	}
	if own, err := (&Last{Scattered: []string{}}).scattered(); err != nil || len(own) > 0 {
		t.Errorf("got %v, %v", own, err)
	}
}

// newFar is a half of which the copy has one tablespace at a path of its own, as
// a backup of MariaDB's has it, and a link to that path.
func newFar(t *testing.T) (h half, r *rebuild, ext string) {
	t.Helper()
	h = newHalf(t, watchdog.StepRehearse, false)
	ext = filepath.Join(filepath.Dir(h.j.Live.Path), "ext", "lab")
	flat := filepath.Join(h.j.Staged.Path, "lab")
	h.do(t, os.MkdirAll(ext, 0o700), os.MkdirAll(flat, 0o700),
		os.WriteFile(filepath.Join(ext, "far.ibd"), []byte("old"), 0o600),
		os.WriteFile(filepath.Join(ext, "other.ibd"), []byte("foreign"), 0o600),
		os.WriteFile(filepath.Join(flat, "far.ibd"), []byte("new"), 0o600),
		os.WriteFile(filepath.Join(flat, "far.isl"), []byte(filepath.Join(ext, "far.ibd")), 0o600))
	p, err := datadir.PlaceFor(h.j.Live.Path, "")
	h.do(t, err)
	h.j.Scattered = []string{filepath.Join(ext, "far.ibd")}
	h.j.Outside, err = datadir.FindScattered(p, h.j.Scattered, h.j.Scattered)
	h.do(t, err, h.j.Outside[0].Prepare("r1"))
	healer := &Healer{o: Options{StateDir: h.state, Logger: quiet(), MinFree: func(int64) int64 { return 0 }}}
	return h, &rebuild{h: healer, j: *h.j, log: quiet(), place: p, fitness: method.Facts{Flavor: "mariadb"}}, ext
}

// TestPlaceScattered: a backup's tablespace goes to where its link says, and
// one whose directory nobody has looked at is refused.
func TestPlaceScattered(t *testing.T) {
	h, r, ext := newFar(t)
	links, err := datadir.HideLinks(h.j.Staged)
	h.do(t, err, r.placeScattered(nil, links))
	if v := h.load(t).Version; v != journalWider {
		t.Errorf("version %d", v)
	}
	if o := h.load(t).Outside[0]; len(o.New) != 1 || o.New[0].Name != "far.ibd" {
		t.Errorf("the journal has %+v", o)
	}
	h.do(t, datadir.Mark(h.j.Live.Path, "r1"), r.note(func(j *Journal) { j.Step = watchdog.StepSwap }), Finish(h.state, quiet()))
	for name, want := range map[string]string{"far.ibd": "new", "other.ibd": "foreign", ".resilver/old/r1/far.ibd": "old"} {
		if text, err := os.ReadFile(filepath.Join(ext, name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
	if _, err := os.Stat(filepath.Join(h.j.Live.Path, "lab", "far.isl")); err != nil || h.live(t) != "new" {
		t.Errorf("%v, and the %s data are live", err, h.live(t))
	}

	h, r, _ = newFar(t)
	h.do(t, os.WriteFile(filepath.Join(h.j.Staged.Path, "lab", "far2.isl"), []byte("/elsewhere/lab/far2.ibd"), 0o600))
	links, err = datadir.HideLinks(h.j.Staged)
	h.do(t, err)
	if err := r.placeScattered(nil, links); err == nil || !strings.Contains(err.Error(), "not there when the rebuild began") {
		t.Errorf("got %v", err)
	}
}
