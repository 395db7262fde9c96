package healing

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// newHalfWhole is newHalf for a datadir that is a mount point, with the system
// tablespace in it or elsewhere, and binary logs elsewhere. That it is mounted
// does not matter once its place is known.
func newHalfWhole(t *testing.T, home bool) (h half, logs string) {
	t.Helper()
	h = newHalf(t, watchdog.StepSwap, false)
	live := h.j.Live.Path
	area := filepath.Join(live, ".resilver")
	logs = filepath.Join(filepath.Dir(live), "logs")
	h.do(t, os.Mkdir(area, 0o700), os.Rename(h.j.Staged.Path, filepath.Join(area, "new")), os.Mkdir(logs, 0o700),
		os.WriteFile(filepath.Join(logs, "binlog.000001"), []byte("old"), 0o600),
		os.WriteFile(filepath.Join(logs, "error.log"), []byte("foreign"), 0o600))
	h.j.Staged.Path = filepath.Join(area, "new")
	h.do(t, os.WriteFile(filepath.Join(h.j.Staged.Path, "binlog.000001"), []byte("new"), 0o600),
		os.WriteFile(filepath.Join(h.j.Staged.Path, "auto.cnf"), []byte("[auto]\n"), 0o600))
	paths := map[string]string{"log_bin_basename": filepath.Join(logs, "binlog"), "innodb_data_file_path": "ibdata1:12M:autoextend"}
	if home {
		paths["innodb_data_home_dir"] = logs
		h.do(t, os.Rename(filepath.Join(live, "ibdata1"), filepath.Join(logs, "ibdata1")))
	}
	var err error
	h.j.Was, err = datadir.Inspect(live)
	h.do(t, err)
	p := datadir.PlaceInside(h.j.Was)
	_, err = p.Prepare()
	h.do(t, err)
	h.j.Outside, err = outside(p, paths, "")
	h.do(t, err)
	if len(h.j.Outside) != 2 || h.j.whole() == nil {
		t.Fatalf("outside: %+v", h.j.Outside)
	}
	for i := range h.j.Outside {
		h.do(t, h.j.Outside[i].Prepare("r1"))
	}
	r := rebuild{h: &Healer{o: Options{StateDir: h.state, MinFree: func(int64) int64 { return 0 }}}, j: *h.j, place: p, paths: paths}
	h.do(t, r.placeOutside(), datadir.Mark(live, "r1"))
	*h.j = r.j
	h.save(t)
	return h, logs
}

// which is the data that lies in the datadir, none in the middle of the swap.
func (h half) which(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.j.Live.Path, "which"))
	if err != nil {
		return "none"
	}
	return string(text)
}

// TestP32SwapOfAMountPoint: wherever the swap of a datadir that is a mount
// point was interrupted, finish completes it, and mysqld may not start before;
// both system tablespaces are found and locked all the while.
func TestP32SwapOfAMountPoint(t *testing.T) {
	want := map[string]string{"swap.moved-out": "none", "swap.exchanged": "new", "swap.moved-in": "new", "": "new"}
	for _, home := range []bool{false, true} {
		for point, data := range want {
			h, logs := newHalfWhole(t, home)
			h.swapUntil(t, point)
			if got := h.which(t); got != data {
				t.Errorf("%s: the %s data are live, want %s", point, got, data)
			}
			h.locked(t)
			if StartGuard(h.state, "") == nil {
				t.Errorf("%s: mysqld may start", point)
			}
			for range 2 {
				h.do(t, Finish(h.state, quiet()), StartGuard(h.state, ""))
				if got := h.at(t, logs); got != "new data, new logs" {
					t.Errorf("%s: finished with %s", point, got)
				}
			}
			h.locked(t)
		}
	}
}

// TestNewUUIDOnAMountPoint: a server_uuid that is chosen in stop replaces a file
// of the copy, whose entries are in the journal by then; the swap takes it.
func TestNewUUIDOnAMountPoint(t *testing.T) {
	h, logs := newHalfWhole(t, false)
	r := rebuild{h: &Healer{o: Options{StateDir: h.state, Logger: quiet()}}, j: *h.j, log: quiet()}
	name := filepath.Join(h.j.Staged.Path, "auto.cnf")
	before := inodeOf(t, name)
	h.do(t, r.renew())
	if inodeOf(t, name) == before {
		t.Fatal("auto.cnf was not replaced")
	}
	h.do(t, r.renew()) // once more changes nothing
	*h.j = r.j
	h.save(t)
	h.do(t, Finish(h.state, quiet()))
	text, err := os.ReadFile(filepath.Join(h.j.Live.Path, "auto.cnf"))
	h.do(t, err)
	if got := h.at(t, logs); got != "new data, new logs" || !strings.Contains(string(text), r.j.NewUUID) {
		t.Errorf("%s, with %s", got, text)
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// locked checks that the old and the new system tablespace can be found and
// locked, and no third one is taken for one of them.
func (h half) locked(t *testing.T) {
	t.Helper()
	locks, err := h.load(t).lock()
	h.do(t, err)
	if len(locks) != 2 || locks[0].ino == locks[1].ino {
		t.Errorf("locked %+v", locks)
	}
	if _, err := h.load(t).lock(); err == nil {
		t.Error("what is locked was locked once more")
	}
	h.do(t, unlock(locks))
}

// TestP32WayBackOfAMountPoint: the same on the way back, where the new server
// may have run, and the process may die between any two directories.
func TestP32WayBackOfAMountPoint(t *testing.T) {
	for _, home := range []bool{false, true} {
		for _, point := range []string{"swap.moved-out", "swap.exchanged", "swap.moved-in", ""} {
			for dies := range 4 {
				h, logs := newHalfWhole(t, home)
				h.swapUntil(t, point)
				h.do(t, h.note(func(j *Journal) { j.Back = true }))
				if point == "" {
					h.do(t, os.WriteFile(filepath.Join(logs, "binlog.000002"), []byte("new"), 0o600),
						os.WriteFile(filepath.Join(h.j.Live.Path, "ibtmp1"), []byte("new"), 0o600))
				}
				h.back(t, dies)
				if StartGuard(h.state, "") == nil {
					t.Errorf("%s: mysqld may start half way back", point)
				}
				if state, err := h.load(t).exchanged(); err != nil || state == datadir.Done {
					h.do(t, err, h.load(t).exchangeBack())
				} // else the machine goes away before the old entries are back
				h.do(t, Finish(h.state, quiet()), StartGuard(h.state, ""))
				if got := h.at(t, logs); got != "old data, old logs" {
					t.Errorf("%s, dead after %d: back with %s", point, dies, got)
				}
				for _, path := range []string{filepath.Join(logs, "binlog.000002"), filepath.Join(h.j.Live.Path, "ibtmp1")} {
					if _, err := os.Stat(path); err == nil {
						t.Errorf("%s, dead after %d: %s of the new server lies beside the old data", point, dies, path)
					}
				}
			}
		}
	}
}

// back does the first parts of the way back that there are to do.
func (h half) back(t *testing.T, parts int) {
	t.Helper()
	j := h.load(t)
	state, err := j.exchanged()
	h.do(t, err)
	todo := []func() error{
		func() error { return j.Outside[1].Evict() }, func() error { return j.Outside[0].Evict() },
		func() error { return j.Outside[0].Restore("r1") },
	}
	if state == datadir.Done {
		h.do(t, datadir.Mark(j.Live.Path, "r1"))
		for _, do := range todo[:parts] {
			h.do(t, do())
		}
	}
}

// TestP32EvictsTheDatadirLast: where one directory cannot be cleared of what the
// new server has made, it stays known that this is left to do.
func TestP32EvictsTheDatadirLast(t *testing.T) {
	h, logs := newHalfWhole(t, false)
	h.swapUntil(t, "")
	h.do(t, os.Rename(logs, logs+".away"))
	if err := h.j.exchangeBack(); err == nil {
		t.Error("a directory that is gone was cleared")
	}
	if state, err := h.j.exchanged(); err != nil || state != datadir.Done {
		t.Errorf("state %q, %v: the %s data are live", state, err, h.which(t))
	}
	h.do(t, os.Rename(logs+".away", logs), h.j.exchangeBack())
	if got := h.at(t, logs); got != "old data, old logs" {
		t.Error(got)
	}
}

// TestKeepOldOfAMountPoint: what was moved out is the quarantine, and nothing
// of the copy's directory is left for the next rebuild to find.
func TestKeepOldOfAMountPoint(t *testing.T) {
	h, logs := newHalfWhole(t, false)
	h.swapUntil(t, "")
	place, err := h.j.place()
	h.do(t, err)
	r := rebuild{h: &Healer{o: Options{StateDir: h.state}}, j: *h.j, place: place}
	for range 2 {
		h.do(t, r.keepOld(), r.clearOutside())
	}
	if got := h.at(t, logs); got != "new data, new logs" {
		t.Error(got)
	}
	kept, err := place.Quarantined()
	h.do(t, err)
	if len(kept) != 1 || kept[0].Ref.Path != filepath.Join(place.Root, "old", "r1") || len(kept[0].Outside) != 1 {
		t.Fatalf("quarantined: %+v", kept)
	}
	if text, err := os.ReadFile(filepath.Join(kept[0].Ref.Path, "which")); err != nil || string(text) != "old" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := place.Find(datadir.NameNew); err == nil {
		t.Error("the copy's directory is left")
	}
}

// TestJournalOfAMountPoint: one that an older sidecar must not take up, and
// that is not taken up where something else is mounted.
func TestJournalOfAMountPoint(t *testing.T) {
	h, _ := newHalfWhole(t, false)
	if v := h.load(t).Version; v != 3 {
		t.Errorf("version %d", v)
	}
	h.j.Live.Ino++
	if _, err := h.j.place(); err == nil {
		t.Error("another directory is taken for the datadir")
	}
}

// TestP32MariaDBMustIgnoreTheArea: mariadb-upgrade fails at a directory in the
// datadir that is none of the server's, so that it must be told. MySQL cannot
// be, and need not.
func TestP32MariaDBMustIgnoreTheArea(t *testing.T) {
	p, _ := laidOut(t)
	inside := datadir.PlaceInside(p.Live)
	for names, fits := range map[string]bool{"": false, "lost+found": false, ".resilver": true, "lost+found,.resilver": true, "x.resilver": false} {
		paths := map[string]string{"aria_log_dir_path": "./", "ignore_db_dirs": names}
		_, err := outside(inside, paths, "")
		var place *datadir.PlaceError
		if fits != (err == nil) || !fits && !errors.As(err, &place) {
			t.Errorf("ignore_db_dirs=%s: %v", names, err)
		}
		if _, err := outside(p, paths, ""); err != nil {
			t.Errorf("where nothing is put into the datadir: %v", err)
		}
	}
	if _, err := outside(inside, map[string]string{}, ""); err != nil {
		t.Errorf("on MySQL: %v", err)
	}
}
