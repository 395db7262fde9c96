package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// farAway is a datadir with tablespaces at paths of their own, beside files of
// others, and a copy of which a private server has put its own into the covers.
type farAway struct {
	p            Place
	ext          string
	own, wanted  []string
	all          []Outside
	live, staged Ref
}

func newFarAway(t *testing.T) *farAway {
	t.Helper()
	p, base := setUp(t)
	f := &farAway{p: p, ext: filepath.Join(base, "ext"), live: p.Live.Ref}
	write(t, filepath.Join(f.ext, "notes"), "foreign")
	write(t, filepath.Join(f.ext, "lab", "foreign.ibd"), "foreign")
	write(t, filepath.Join(f.ext, "lab", "far.ibdx"), "foreign")
	for _, name := range []string{"g.ibd", "lab/far.ibd", "lab/gone.ibd"} {
		write(t, filepath.Join(f.ext, name), "old "+name)
		uid, gid := owner()
		must(t, os.Chown(filepath.Join(f.ext, name), uid, gid))
		f.own = append(f.own, filepath.Join(f.ext, name))
	}
	for _, name := range []string{"g.ibd", "lab/far.ibd", "lab/fresh.ibd", "made/x.ibd"} {
		f.wanted = append(f.wanted, filepath.Join(f.ext, name))
	}
	newDatadir(t, p.Path(NameNew), "new")
	f.staged = mustRef(t, p.Path(NameNew))
	must(t, MakeScattered(p, f.wanted))
	var err error
	f.all, err = FindScattered(p, f.own, f.wanted)
	must(t, err)
	if len(f.all) != 3 {
		t.Fatalf("directories: %+v", f.all)
	}
	for i := range f.all {
		o := &f.all[i]
		must(t, o.Prepare("r0"))
		files, err := o.FilesIn(f.wanted)
		must(t, err)
		for _, name := range files {
			write(t, filepath.Join(o.Cover(), name), "new "+name)
		}
		must(t, os.MkdirAll(filepath.Join(o.Cover(), "lab"), 0o755)) // a cover was mounted there
		must(t, o.Adopt(files))
	}
	return f
}

// lines are the files in the directories, without resilver's areas.
func (f *farAway) lines(t *testing.T) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(snapshot(t, f.ext)) {
		if !strings.Contains(line, NameOutside) && strings.Contains(line, `"`) {
			path, _, _ := strings.Cut(line, " ")
			_, text, _ := strings.Cut(line, `"`)
			out = append(out, path+" "+strings.TrimSuffix(strings.TrimSpace(text), `"`))
		}
	}
	return strings.Join(out, "\n")
}

const (
	farForeign = "lab/far.ibdx foreign\nlab/foreign.ibd foreign\nnotes foreign"
	farOld     = "g.ibd old g.ibd\nlab/far.ibd old lab/far.ibd\nlab/far.ibdx foreign\nlab/foreign.ibd foreign\nlab/gone.ibd old lab/gone.ibd\nnotes foreign"
	farNew     = "g.ibd new g.ibd\nlab/far.ibd new far.ibd\nlab/far.ibdx foreign\nlab/foreign.ibd foreign\nlab/fresh.ibd new fresh.ibd\nmade/x.ibd new x.ibd\nnotes foreign"
)

// forwardAll and backwardAll are the swap and the way back for all of them.
func (f *farAway) forwardAll(t *testing.T, at func(string)) error {
	all := make([]*Outside, len(f.all))
	for i := range f.all {
		all[i] = journalled(t, f.all[i])
		if err := all[i].moveOut("r1", at); err != nil {
			return err
		}
	}
	if _, err := exchange(f.live, f.staged, at); err != nil {
		return err
	}
	for _, o := range all {
		if err := o.moveIn(at); err != nil {
			return err
		}
	}
	return nil
}

func (f *farAway) backwardAll(t *testing.T, at func(string)) error {
	state, err := Exchanged(f.live, f.staged)
	if err != nil {
		return err
	}
	if state == Done {
		for i := range f.all {
			if err := f.all[i].evict(at); err != nil {
				return err
			}
		}
		undoA, undoB := Undo(f.live, f.staged)
		if _, err := exchange(undoA, undoB, at); err != nil {
			return err
		}
	}
	for i := range f.all {
		if err := f.all[i].restore("r1", at); err != nil {
			return err
		}
	}
	return nil
}

// TestInvariant5ScatteredIsOldOrNew: wherever a swap is interrupted, going on
// ends in exactly the new tablespaces and going back in exactly the old ones;
// files of others, whatever they are called, are never touched.
func TestInvariant5ScatteredIsOldOrNew(t *testing.T) {
	for n := 1; n <= 40; n += 3 {
		for _, back := range []bool{false, true} {
			f := newFarAway(t)
			if got := f.lines(t); got != farOld {
				t.Fatalf("placing has touched what is live:\n%s", got)
			}
			for i := range f.all {
				must(t, f.all[i].List())
			}
			whole := until(t, n, func(at func(string)) error { return f.forwardAll(t, at) })
			end, want := f.forwardAll, farNew
			if back {
				end, want = f.backwardAll, farOld
			}
			until(t, n/2, func(at func(string)) error { return end(t, at) })
			must(t, end(t, func(string) {}))
			if got := f.lines(t); got != want {
				t.Fatalf("crash at %d, back %v:\n%s\nbut\n%s", n, back, want, got)
			}
			if back {
				continue
			}
			var kept []Ref
			for i := range f.all {
				shelf, err := f.all[i].Shelf("r1")
				must(t, err)
				kept = append(kept, shelf)
			}
			if b, err := os.ReadFile(filepath.Join(f.ext, "lab", NameOutside, NameOld, "r1", "gone.ibd")); err != nil || string(b) != "old lab/gone.ibd" {
				t.Fatalf("an old tablespace that the copy has not is not kept: %q, %v", b, err)
			}
			_, err := f.p.Quarantine(Leaving{ID: "r1", Old: f.live, Shelves: kept})
			must(t, err)
			for i := range f.all {
				must(t, f.all[i].Clear("r1"))
			}
			if got := f.lines(t); got != farNew {
				t.Fatalf("settled:\n%s", got)
			}
			if whole && n < 40 {
				return // no point is left to crash at
			}
		}
	}
}

// TestScatteredRefusals: what cannot be told, moved or covered is refused
// before anything is touched.
func TestScatteredRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		spoil       func(t *testing.T, p Place, ext string)
		own, wanted string // below base
		text        string
	}{
		"another's file": {wanted: "ext/lab/foreign.ibd", text: "is in the way"},
		"a link in the way": {func(t *testing.T, _ Place, ext string) {
			must(t, os.Symlink("/nowhere", filepath.Join(ext, "lab", "x.ibd")))
		}, "", "ext/lab/x.ibd", "is in the way"},
		"own is a link": {func(t *testing.T, _ Place, ext string) {
			must(t, os.Symlink("/nowhere", filepath.Join(ext, "lab", "x.ibd")))
		}, "ext/lab/x.ibd", "", "symbolic link"},
		"undo":               {own: "ext/uu.ibu", text: "only InnoDB's .ibd files"},
		"no parent":          {wanted: "none/lab/x.ibd", text: "cannot be made here"},
		"in the datadir":     {wanted: "mysql/sub/x.ibd", text: "inside the datadir"},
		"in the area":        {wanted: "mysql.resilver/sub/x.ibd", text: "staging area"},
		"above the datadir":  {wanted: "x.ibd", text: "lies in it"},
		"beside the datadir": {own: "mysql/x.ibd", text: "under another name"},
		"open to all": {func(t *testing.T, _ Place, ext string) {
			must(t, os.Chmod(filepath.Join(ext, "lab"), 0o777))
		}, "", "ext/lab/x.ibd", "writable by everybody"},
		"parent open to all": {func(t *testing.T, _ Place, ext string) { must(t, os.Chmod(ext, 0o1777)) },
			"", "ext/other/x.ibd", "writable by everybody"},
		"a dangling directory": {func(t *testing.T, _ Place, ext string) {
			must(t, os.WriteFile(filepath.Join(ext, "other"), nil, 0o644))
		}, "", "ext/other/x.ibd", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			p, base := setUp(t)
			ext := filepath.Join(base, "ext")
			write(t, filepath.Join(ext, "lab", "foreign.ibd"), "foreign")
			if c.spoil != nil {
				c.spoil(t, p, ext)
			}
			before := snapshot(t, base)
			var own, wanted []string
			if c.own != "" {
				own = []string{filepath.Join(base, c.own)}
			}
			if c.wanted != "" {
				wanted = []string{filepath.Join(base, c.wanted)}
			}
			_, err := FindScattered(p, own, wanted)
			var place *PlaceError
			if !errors.As(err, &place) {
				t.Fatalf("got %v", err)
			}
			wantError(t, err, c.text)
			if snapshot(t, base) != before {
				t.Error("something was touched")
			}
		})
	}
	for _, path := range []string{"t.fara", "../x.ibd", "", "/ext//x.ibd", "/ext/../x.ibd"} {
		if _, err := locate(path); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
}

// TestClaim: tablespaces come and go between the copy and the stop.
func TestClaim(t *testing.T) {
	f := newFarAway(t)
	must(t, Claim(f.all, f.own[:1], f.wanted[:1]))
	wantError(t, Claim(f.all, f.own[:1], f.wanted), "lab/far.ibd is in the way") // dropped there, and now another's
	elsewhere := filepath.Join(f.ext, "new", "t.ibd")
	write(t, elsewhere, "live")
	wantError(t, Claim(f.all, append(f.own, elsewhere), f.wanted), "has appeared")
	wantError(t, Claim(f.all, append([]string{filepath.Join(f.ext, "gone", "t.ibd")}, f.own...), f.wanted), "is it mounted?")
	created := filepath.Join(f.ext, "lab", "fresh.ibd")
	write(t, created, "live")
	wantError(t, Claim(f.all, f.own, f.wanted), "fresh.ibd is in the way")
	must(t, Claim(f.all, append(f.own, created), f.wanted))
	for i := range f.all {
		must(t, f.all[i].List())
	}
	must(t, f.forwardAll(t, func(string) {}))
	if got := f.lines(t); !sameLines(got+"\n", farNew+"\nnew/t.ibd live\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestScatteredStrangerStops: a file of another's that appears at a path of the
// copy's is neither moved nor replaced.
func TestScatteredStrangerStops(t *testing.T) {
	f := newFarAway(t)
	for i := range f.all {
		must(t, f.all[i].List())
	}
	write(t, filepath.Join(f.ext, "lab", "fresh.ibd"), "foreign")
	if err := f.forwardAll(t, func(string) {}); err == nil {
		t.Fatal("it was replaced")
	}
	must(t, f.backwardAll(t, func(string) {}))
	if got := f.lines(t); !sameLines(got+"\n", farOld+"\nlab/fresh.ibd foreign\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestAdoptRefusesStrangers: only the copy's own tablespaces are taken up, and
// no link is one.
func TestAdoptRefusesStrangers(t *testing.T) {
	p, base := setUp(t)
	ext := filepath.Join(base, "ext")
	write(t, filepath.Join(ext, "far.ibd"), "old")
	all, err := FindScattered(p, []string{filepath.Join(ext, "far.ibd")}, nil)
	must(t, err)
	o := &all[0]
	must(t, o.Prepare("r0"))
	write(t, filepath.Join(o.Cover(), "far.ibd"), "new")
	write(t, filepath.Join(o.Cover(), "other.ibd"), "of whom?")
	wantError(t, o.Adopt([]string{"far.ibd"}), "other.ibd is in")
	must(t, os.Remove(filepath.Join(o.Cover(), "other.ibd")))
	wantError(t, o.Adopt([]string{"far.ibd", "lost.ibd"}), "no such file")
	must(t, os.Symlink("/etc/passwd", filepath.Join(o.Cover(), "lost.ibd")))
	wantError(t, o.Adopt([]string{"lost.ibd"}), "far.ibd is in")
	wantError(t, o.Adopt([]string{"far.ibd", "lost.ibd"}), "is not a file")
}

// TestLinks: a flat copy's tablespaces are taken to where their links name,
// and another schema's of the same name is left.
func TestLinks(t *testing.T) {
	p, base := setUp(t)
	ext := filepath.Join(base, "ext")
	must(t, os.MkdirAll(filepath.Join(ext, "db"), 0o755))
	newDatadir(t, p.Path(NameNew), "new")
	flat := mustRef(t, p.Path(NameNew))
	target := filepath.Join(ext, "db", "t.ibd")
	write(t, filepath.Join(flat.Path, "db", "t.isl"), target+"\n")
	write(t, filepath.Join(flat.Path, "other", "t.ibd"), "stays")
	links, err := HideLinks(flat)
	must(t, err)
	if len(links) != 1 || links[0].Target != target || exists(filepath.Join(flat.Path, "db", "t.isl")) {
		t.Fatalf("links %+v", links)
	}
	all, err := FindScattered(p, nil, []string{target})
	must(t, err)
	must(t, all[0].Prepare("r0"))
	must(t, all[0].PlaceFiles(links[0].Schema, []string{links[0].File()}, noReserve))
	wantError(t, all[0].PlaceFiles(links[0].Schema, []string{"lost.ibd"}, noReserve), "is not in")
	must(t, links[0].Show())
	if text, err := os.ReadFile(filepath.Join(flat.Path, "db", "t.isl")); err != nil || string(text) != target+"\n" {
		t.Errorf("the link is %q, %v", text, err)
	}
	if exists(filepath.Join(flat.Path, "db", "t.ibd")) || !exists(filepath.Join(flat.Path, "other", "t.ibd")) || !exists(filepath.Join(flat.Path, "mysql.ibd")) {
		t.Errorf("the copy is\n%s", snapshot(t, flat.Path))
	}
	must(t, all[0].List())
	must(t, all[0].MoveIn())
	if text, err := os.ReadFile(target); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
	for i, bad := range []string{"relative/t.ibd", "/ext/db/other.ibd", "", "/ext/../t.ibd"} {
		dir := filepath.Join(base, fmt.Sprint("bad", i))
		write(t, filepath.Join(dir, "db", "t.isl"), bad)
		if _, err := HideLinks(mustRef(t, dir)); err == nil {
			t.Errorf("a link to %q was taken", bad)
		}
	}
}
