package datadir

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// wipe is what a rebuild does that wipes first, up to the removal.
func wipe(p Place, at func(string)) error {
	husk, err := p.husk("no data here", []string{"auto.cnf", "*.pem"}, at)
	if err != nil {
		return err
	}
	if _, err := exchange(p.Live.Ref, husk, at); err != nil {
		return err
	}
	at("exchanged")
	gone := Ref{Path: p.Path(NameGoing), Dev: p.Live.Dev, Ino: p.Live.Ino}
	dir, err := gone.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := names(dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		at("removing")
		if err := remove(dir, name, gone.Dev); err != nil {
			return err
		}
	}
	at("emptied")
	return p.Discard(gone)
}

// TestInvariant5WipeIsOldOrHusk: after a crash at any point of a wipe either
// the live datadir is the old one, whole, as long as nothing of it was removed,
// or a husk is in its place, marked, with what is preserved. From there it goes
// on to its end, or nothing of it is left.
func TestInvariant5WipeIsOldOrHusk(t *testing.T) {
	wiped := false
	for point := range 24 {
		t.Run(fmt.Sprint(point), func(t *testing.T) { wiped = crashedWipe(t, point) || wiped })
	}
	if !wiped {
		t.Error("no crash came after the exchange")
	}
}

func crashedWipe(t *testing.T, point int) (wiped bool) {
	p, _ := setUp(t)
	write(t, filepath.Join(p.Live.Path, "auto.cnf"), "uuid")
	write(t, filepath.Join(p.Live.Path, "server-key.pem"), "key")
	must(t, os.Chmod(filepath.Join(p.Live.Path, "server-key.pem"), 0o600))
	old := snapshot(t, p.Live.Path)
	until(t, point, func(at func(string)) error { return wipe(p, at) })

	live := mustRef(t, p.Live.Path)
	is, err := IsHusk(live)
	must(t, err)
	if is == live.Same(p.Live.Ref) {
		t.Fatalf("a husk: %t, the old inode: %t", is, live.Same(p.Live.Ref))
	}
	if !is {
		if now := snapshot(t, p.Live.Path); now != old {
			t.Errorf("the old datadir is %s\nit was %s", now, old)
		}
		must(t, p.DropHusk())
		if exists(p.Path(NameGoing)) {
			t.Error("what was begun of the husk is left")
		}
		return false
	}
	isHusk(t, p, live)
	wantError(t, p.Discard(Ref{Path: p.Path(NameGoing), Dev: live.Dev, Ino: live.Ino}), "live datadir")
	must(t, p.Discard(Ref{Path: p.Path(NameGoing), Dev: p.Live.Dev, Ino: p.Live.Ino}))
	if exists(p.Path(NameGoing)) {
		t.Error("the old data are left")
	}
	again, err := PlaceFor(p.Live.Path, "")
	must(t, err)
	if again.Live.UID != p.Live.UID || again.Live.GID != p.Live.GID || again.Live.Mode != p.Live.Mode {
		t.Errorf("the husk is %+v, the datadir was %+v", again.Live, p.Live)
	}
	return true
}

func isHusk(t *testing.T, p Place, live Ref) {
	t.Helper()
	if marked, reason, err := Marked(live.Path); err != nil || !marked || reason != "no data here" {
		t.Errorf("marked %t, %q, %v", marked, reason, err)
	}
	for name, want := range map[string]string{"auto.cnf": "uuid", "server-key.pem": "key"} {
		if got, err := os.ReadFile(filepath.Join(live.Path, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(live.Path, "server-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	for _, name := range []string{"mysql.ibd", "db"} {
		if exists(filepath.Join(live.Path, name)) {
			t.Errorf("%s is in the husk", name)
		}
	}
}

// TestHuskIsNeverMistaken: what is not a husk is neither put into service as
// one nor thrown away as one.
func TestHuskIsNeverMistaken(t *testing.T) {
	p, _ := setUp(t)
	newDatadir(t, p.Path(NameGoing), "somebody's")
	theirs := snapshot(t, p.Path(NameGoing))
	_, err := p.Husk("no data here", nil)
	wantError(t, err, "file exists")
	wantError(t, p.DropHusk(), "no husk of resilver's")
	_, err = Wipe(p.Live.Ref, mustRef(t, p.Path(NameGoing)))
	wantError(t, err, "is none")
	if now := snapshot(t, p.Path(NameGoing)); now != theirs {
		t.Errorf("theirs is %s\nit was %s", now, theirs)
	}
	if is, err := IsHusk(p.Live.Ref); is || err != nil {
		t.Errorf("the live datadir is a husk: %t, %v", is, err)
	}
	size, err := Bytes(p.Live.Ref)
	if err != nil || size <= 0 {
		t.Errorf("%d bytes, %v", size, err)
	}
}
