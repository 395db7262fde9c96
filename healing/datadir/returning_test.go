package datadir

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestInvariant5ReturningIsOldOrNew: a datadir with entries elsewhere was set
// aside as r1, and goes back into service from where it lies. After a crash at
// any point it is finished or undone: then every directory holds exactly the
// entries of one of the two, and the other is whole in quarantine, under the
// one label that there is.
func TestInvariant5ReturningIsOldOrNew(t *testing.T) {
	for point := range 24 {
		for _, undo := range []bool{false, true} {
			t.Run(fmt.Sprint(point, " ", undo), func(t *testing.T) { returning(t, point, undo) })
		}
	}
}

func returning(t *testing.T, point int, undo bool) {
	p, base := setUp(t)
	ext := filepath.Join(base, "ext")
	must(t, os.Mkdir(ext, 0o755))
	write(t, filepath.Join(ext, "bin.1"), "old")
	write(t, filepath.Join(ext, "theirs"), "foreign")
	newDatadir(t, p.Path(NameNew), "new")
	write(t, filepath.Join(p.Path(NameNew), "bin.1"), "new")
	first := outsideOf(t, p, ext)
	live, staged := p.Live.Ref, mustRef(t, p.Path(NameNew))
	must(t, first.List())
	must(t, forward(&first, live, staged, func(string) {}))
	shelf, err := first.Shelf("r1")
	must(t, err)
	served := &Served{Executed: "u:1-5"}
	_, err = p.Quarantine(Leaving{ID: "r1", Old: live, Shelves: []Ref{shelf}, Served: served})
	must(t, err)
	must(t, first.Clear("r1"))
	fresh, old := snapshot(t, p.Live.Path), snapshot(t, p.Path("old/r1"))

	kept, err := p.Quarantined()
	must(t, err)
	if len(kept) != 1 || *kept[0].Served != *served {
		t.Fatalf("kept %+v", kept)
	}
	here, err := FindOutside(p, ext, first.Own)
	must(t, err)
	must(t, here.Returning(kept[0].Outside[0]))
	must(t, here.List())
	now, back := mustRef(t, p.Live.Path), kept[0].Ref
	swap := func(at func(string)) error {
		o := journalled(t, here)
		if err := o.moveOut("r2", at); err != nil {
			return err
		}
		if _, err := exchange(now, back, at); err != nil {
			return err
		}
		return o.moveIn(at)
	}
	away := func(at func(string)) error {
		o := journalled(t, here)
		state, err := Exchanged(now, back)
		if err != nil {
			return err
		}
		if state == Done {
			if err := o.evict(at); err != nil {
				return err
			}
			a, b := Undo(now, back)
			if _, err := exchange(a, b, at); err != nil {
				return err
			}
		}
		return o.restore("r2", at)
	}
	until(t, point, swap)
	if undo {
		until(t, point, away)
		until(t, 0, away)
		must(t, journalled(t, here).Clear("r2"))
		wantTree(t, p, ext, fresh, "r1", old)
		return
	}
	until(t, 0, swap)
	leaving := func(at func(string)) error {
		shelf, err := journalled(t, here).Shelf("r2")
		must(t, err)
		_, err = p.quarantine(Leaving{ID: "r2", Old: now, Shelves: []Ref{shelf}, For: "r1"}, kept[0].Since, at)
		return err
	}
	until(t, point%5, leaving)
	until(t, 0, leaving)
	must(t, journalled(t, here).Clear("r2"))
	wantTree(t, p, ext, old, "r2", fresh)
}

// wantTree wants one set of data in service and the other, as id, in quarantine.
func wantTree(t *testing.T, p Place, ext, live, id, aside string) {
	t.Helper()
	if got := snapshot(t, p.Live.Path); got != live {
		t.Errorf("in service:\n%s\nwanted\n%s", got, live)
	}
	if got := snapshot(t, p.Path("old/"+id)); got != aside {
		t.Errorf("in quarantine:\n%s\nwanted\n%s", got, aside)
	}
	text, err := os.ReadFile(filepath.Join(ext, "bin.1"))
	must(t, err)
	other, err := os.ReadFile(filepath.Join(ext, NameOutside, NameOld, id, "bin.1"))
	must(t, err)
	want := map[string][2]string{"r1": {"new", "old"}, "r2": {"old", "new"}}[id]
	if string(text) != want[0] || string(other) != want[1] {
		t.Errorf("elsewhere is %q, kept %q; wanted %q", text, other, want)
	}
	if !exists(filepath.Join(ext, "theirs")) {
		t.Error("a file of others is gone")
	}
	all, err := filepath.Glob(filepath.Join(p.Path(NameOld), "*"))
	must(t, err)
	if len(all) != 2 {
		t.Errorf("in quarantine are %q", all)
	}
	kept, err := p.Quarantined()
	must(t, err)
	if len(kept) != 1 || kept[0].ID != id {
		t.Errorf("kept %+v, want %s", kept, id)
	}
}

// TestArchiveStaysInQuarantine: what was archived of a datadir goes to the one
// that lies in its place.
func TestArchiveStaysInQuarantine(t *testing.T) {
	p, _ := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	live, staged := p.Live.Ref, mustRef(t, p.Path(NameNew))
	a, err := p.Archive("r1")
	must(t, err)
	must(t, a.Replace("manifest.json", []byte("{}")))
	_, err = Exchange(live, staged)
	must(t, err)
	back, err := p.Quarantine(Leaving{ID: "r1", Old: live})
	must(t, err)
	now := mustRef(t, p.Live.Path)
	_, err = p.Quarantine(Leaving{ID: "r2", Old: now, For: "r1"})
	wantError(t, err, "exchange has not taken place")
	_, err = Exchange(now, back)
	must(t, err)
	_, err = p.Quarantine(Leaving{ID: "r2", Old: now, For: "r1"})
	must(t, err)
	kept, err := p.Quarantined()
	must(t, err)
	if len(kept) != 1 || kept[0].ID != "r2" || kept[0].Archive == nil || !exists(filepath.Join(kept[0].Archive.Path, "manifest.json")) {
		t.Errorf("kept %+v", kept)
	}
}

func TestPersistedOpen(t *testing.T) {
	p, _ := setUp(t)
	path := filepath.Join(p.Live.Path, "mysqld-auto.cnf")
	for text, want := range map[string]string{
		"": "",
		`{"Version":2,"mysql_dynamic_parse_early_variables":{"super_read_only":{"Value":"ON"}}}`:  "",
		`{"Version":2,"mysql_dynamic_parse_early_variables":{"super_read_only":{"Value":"OFF"}}}`: "super_read_only",
		`{"Version":1,"mysql_server":{"read_only":{"Value":"OFF"}}}`:                              "read_only",
		`{"Version":1,"mysql_server":{"mysql_server_static_options":{"read_only":"OFF"}}}`:        "read_only",
		`{"Version":2,"mysql_dynamic_variables":{"max_connections":{"Value":"99"}}}`:              "",
	} {
		_ = os.Remove(path)
		if text != "" {
			write(t, path, text)
		}
		if got, err := PersistedOpen(p.Live.Ref); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", text, got, err, want)
		}
	}
	write(t, path, "not JSON")
	if _, err := PersistedOpen(p.Live.Ref); err == nil {
		t.Error("a damaged file says nothing")
	}
}
