package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// ownNames are the server's in the directories of these tests.
var ownNames = []string{`bin\.\d+`, `bin\.index`, `#redo/`}

// outsideOf makes a directory outside a datadir, with old entries in it and
// new ones in the copy, and places the latter.
func outsideOf(t tb, p Place, dir string) Outside {
	t.Helper()
	o, err := FindOutside(p, dir, ownNames)
	must(t, err)
	must(t, o.Prepare("r0"))
	must(t, o.Place(mustRef(t, p.Path(NameNew)), noReserve))
	return o
}

func noReserve(int64) int64 { return 0 }

// without describes a directory without resilver's own area.
func without(t tb, dir string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(snapshot(t, dir)) {
		if !strings.HasPrefix(line, NameOutside) && !strings.HasPrefix(line, ". ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// crasher panics at the n-th point that it is asked at.
type crasher struct{ left int }

func (c *crasher) at(string) {
	if c.left--; c.left == 0 {
		panic(crash{})
	}
}

// until runs do and says whether it came to its end.
func until(t tb, n int, do func(at func(string)) error) (whole bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
		}
	}()
	if err := do((&crasher{left: n}).at); err != nil {
		t.Fatalf("%v", err)
	}
	return true
}

// journalled is an Outside as a later process finds it.
func journalled(t tb, o Outside) *Outside {
	t.Helper()
	data, err := json.Marshal(o)
	must(t, err)
	var again Outside
	must(t, json.Unmarshal(data, &again))
	return &again
}

// forward is what the swap does with one directory elsewhere.
func forward(o *Outside, live, staged Ref, at func(string)) error {
	if err := o.moveOut("r1", at); err != nil {
		return err
	}
	if _, err := exchange(live, staged, at); err != nil {
		return err
	}
	return o.moveIn(at)
}

// backward is the way back, after the new server has ended.
func backward(o *Outside, live, staged Ref, at func(string)) error {
	state, err := Exchanged(live, staged)
	if err != nil {
		return err
	}
	if state == Done {
		if err := o.evict(at); err != nil {
			return err
		}
		undoA, undoB := Undo(live, staged)
		if _, err := exchange(undoA, undoB, at); err != nil {
			return err
		}
	}
	return o.restore("r1", at)
}

// TestInvariant5OutsideIsOldOrNew: over random trees with planted links, a
// crash at any point of a swap with a directory elsewhere, then a resume
// forward or back, ends in exactly the old or exactly the new entries, also
// where the new server had run meanwhile; files of others are never touched.
func TestInvariant5OutsideIsOldOrNew(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		dir := filepath.Join(base, fmt.Sprint(round))
		victim := filepath.Join(dir, "victim")
		write(t, filepath.Join(victim, "deep", "precious"), "precious")
		d, ext := filepath.Join(dir, "mysql"), filepath.Join(dir, "ext")
		newDatadir(t, d, "old")
		must(t, os.Mkdir(ext, 0o755))
		p, err := PlaceFor(d, "")
		must(t, err)
		_, err = p.Prepare()
		must(t, err)
		newDatadir(t, p.Path(NameNew), "new")
		randomTree(t, ext, victim, "foreign")
		foreign := without(t, ext)
		randomOwn(t, ext, "old")
		randomOwn(t, p.Path(NameNew), "new")
		old, precious := without(t, ext), snapshot(t, victim)
		o := outsideOf(t, p, ext)
		fresh := without(t, filepath.Join(ext, NameOutside, NameNew))
		live, staged := p.Live.Ref, mustRef(t, p.Path(NameNew))
		if without(t, ext) != old {
			t.Fatalf("placing has touched what is live")
		}
		must(t, o.List())

		crashes := rapid.SliceOfN(rapid.IntRange(1, 25), 0, 4)
		whole := false
		for _, n := range crashes.Draw(t, "crashes") {
			whole = until(t, n, func(at func(string)) error { return forward(journalled(t, o), live, staged, at) })
		}
		if rapid.Bool().Draw(t, "back") {
			if whole && rapid.Bool().Draw(t, "ran") {
				write(t, filepath.Join(ext, "bin.77"), "of the new server")
			}
			for _, n := range append(crashes.Draw(t, "crashes back"), 0) {
				until(t, n, func(at func(string)) error { return backward(journalled(t, o), live, staged, at) })
			}
			if got := without(t, ext); got != old {
				t.Fatalf("not the old entries:\n%s\nbut\n%s", old, got)
			}
			// The old server runs again: it makes and removes entries, and a
			// way back that is tried once more leaves them alone.
			write(t, filepath.Join(ext, "bin.78"), "of the old server")
			_ = os.Remove(filepath.Join(ext, "bin.1"))
			ran := without(t, ext)
			must(t, backward(journalled(t, o), live, staged, func(string) {}))
			must(t, o.Clear("r1"))
			if got := without(t, ext); got != ran {
				t.Fatalf("the entries of the running old server changed:\n%s", got)
			}
			if exists(filepath.Join(ext, NameOutside, NameOld, "r1")) {
				t.Fatalf("an empty shelf is left")
			}
			checkVictim(t, victim, precious)
			return
		}
		must(t, forward(journalled(t, o), live, staged, func(string) {}))
		if got := without(t, ext); !sameLines(got, foreign+fresh) {
			t.Fatalf("not the new entries:\n%s\nbut\n%s", foreign+fresh, got)
		}
		shelf, err := o.Shelf("r1")
		must(t, err)
		if got := without(t, shelf.Path); !sameLines(got+foreign, old) {
			t.Fatalf("the old entries are not whole:\n%s", got)
		}
		_, err = p.Quarantine(Leaving{ID: "r1", Old: live, Shelves: []Ref{shelf}})
		must(t, err)
		must(t, o.Clear("r1"))
		kept, err := p.Quarantined()
		must(t, err)
		must(t, p.prune(kept[0]))
		if exists(shelf.Path) || exists(p.Path("old/r1")) {
			t.Fatalf("not pruned")
		}
		if got := without(t, ext); !sameLines(got, foreign+fresh) {
			t.Fatalf("pruning has touched the new entries:\n%s", got)
		}
		checkVictim(t, victim, precious)
	})
}

func sameLines(a, b string) bool {
	count := map[string]int{}
	for line := range strings.Lines(a) {
		count[line]++
	}
	for line := range strings.Lines(b) {
		count[line]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// randomOwn adds entries of the server's.
func randomOwn(t *rapid.T, dir, tag string) {
	uid, gid := owner()
	for i := range rapid.IntRange(0, 5).Draw(t, "logs") {
		path := filepath.Join(dir, fmt.Sprintf("bin.%d", i+1))
		write(t, path, tag+rapid.String().Draw(t, "content"))
		must(t, os.Chown(path, uid, gid))
	}
	if rapid.Bool().Draw(t, "redo") {
		_ = os.Remove(filepath.Join(dir, "#redo")) // a file of somebody else's
		for _, name := range []string{"1", "sub/2"} {
			write(t, filepath.Join(dir, "#redo", name), tag)
		}
		for _, name := range []string{"", "1", "sub", "sub/2"} {
			must(t, os.Chown(filepath.Join(dir, "#redo", name), uid, gid))
		}
	}
}

// TestP30PlaceAcrossFileSystems: what belongs elsewhere is copied where it
// cannot be renamed, and gone from the flat copy.
func TestP30PlaceAcrossFileSystems(t *testing.T) {
	p, _ := setUp(t)
	ext, err := os.MkdirTemp("/dev/shm", "resilver-test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(ext)) })
	must(t, os.Chmod(ext, 0o755))
	if mustRef(t, ext).Dev == p.Live.Dev {
		t.Fatal("/dev/shm is on the same file system as the temporary directory: the copy is not tried")
	}
	newDatadir(t, p.Path(NameNew), "new")
	for _, name := range []string{"bin.1", "bin.index", "#redo/1", "#redo/sub/2"} {
		write(t, filepath.Join(p.Path(NameNew), name), "new "+name)
	}
	write(t, filepath.Join(ext, "bin.1"), "old")
	must(t, os.Chown(filepath.Join(ext, "bin.1"), 3, 3))
	o, err := FindOutside(p, ext, ownNames)
	must(t, err)
	must(t, o.Prepare("r0"))
	staged := mustRef(t, p.Path(NameNew))
	before := snapshot(t, staged.Path)
	if err := o.Place(staged, func(total int64) int64 { return total }); err == nil || snapshot(t, staged.Path) != before {
		t.Fatalf("placed without room: %v", err)
	}
	must(t, o.Place(staged, noReserve))
	placed := snapshot(t, filepath.Join(ext, NameOutside, NameNew))
	for _, want := range []string{"bin.1 100640 3:3 \"new bin.1\"", "#redo/sub/2 100640 3:3 \"new #redo/sub/2\""} {
		if !strings.Contains(placed, want+"\n") {
			t.Errorf("no %q in\n%s", want, placed)
		}
	}
	if left := snapshot(t, staged.Path); strings.Contains(left, "bin.") || strings.Contains(left, "redo") {
		t.Errorf("left in the copy:\n%s", left)
	}
	if err := o.Place(staged, noReserve); err == nil {
		t.Error("placed twice")
	}
	must(t, o.List())
	must(t, o.MoveOut("r1"))
	must(t, o.MoveIn())
	if b, err := os.ReadFile(filepath.Join(ext, "bin.1")); err != nil || string(b) != "new bin.1" {
		t.Errorf("bin.1 is %q, %v", b, err)
	}
}

// TestOutsideRefusals: what cannot be told apart or moved is refused before
// anything is touched.
func TestOutsideRefusals(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, p Place, ext string) string{
		"missing": func(_ *testing.T, _ Place, ext string) string { return ext + "/none" },
		"a file": func(t *testing.T, _ Place, ext string) string {
			write(t, filepath.Join(ext, "f"), "")
			return filepath.Join(ext, "f")
		},
		"inside":  func(_ *testing.T, p Place, _ string) string { return filepath.Join(p.Live.Path, "db") },
		"staging": func(_ *testing.T, p Place, _ string) string { return p.Path(NameOld) },
		"area": func(t *testing.T, _ Place, ext string) string {
			must(t, os.Mkdir(filepath.Join(ext, NameOutside), 0o700))
			return filepath.Join(ext, NameOutside)
		},
		"open to all": func(t *testing.T, _ Place, ext string) string {
			must(t, os.Chmod(ext, 0o777))
			return ext
		},
		"linked entry": func(t *testing.T, _ Place, ext string) string {
			must(t, os.Symlink("/", filepath.Join(ext, "#redo")))
			return ext
		},
		"pipe": func(t *testing.T, _ Place, ext string) string {
			must(t, unix.Mkfifo(filepath.Join(ext, "bin.1"), 0o600))
			return ext
		},
		"linked area": func(t *testing.T, _ Place, ext string) string {
			must(t, os.Symlink("/tmp", filepath.Join(ext, NameOutside)))
			return ext
		},
		"area open to all": func(t *testing.T, _ Place, ext string) string {
			must(t, os.Mkdir(filepath.Join(ext, NameOutside), 0o700))
			must(t, os.Chmod(filepath.Join(ext, NameOutside), 0o777))
			return ext
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, base := setUp(t)
			ext := filepath.Join(base, "ext")
			must(t, os.Mkdir(ext, 0o755))
			path := spoil(t, p, ext)
			before := snapshot(t, base)
			_, err := FindOutside(p, path, ownNames)
			var place *PlaceError
			if !errors.As(err, &place) {
				t.Errorf("got %v", err)
			}
			if snapshot(t, base) != before {
				t.Error("something was touched")
			}
		})
	}
}

// TestOutsidePlantedLinks: a link planted in the area, or in an entry's
// place, is never followed.
func TestOutsidePlantedLinks(t *testing.T) {
	p, base := setUp(t)
	ext, victim := filepath.Join(base, "ext"), filepath.Join(base, "victim")
	must(t, os.Mkdir(ext, 0o755))
	write(t, filepath.Join(victim, "bin.1"), "precious")
	write(t, filepath.Join(ext, "bin.1"), "old")
	newDatadir(t, p.Path(NameNew), "new")
	precious := snapshot(t, victim)
	o := outsideOf(t, p, ext)
	must(t, o.List())
	fresh := filepath.Join(ext, NameOutside, NameNew)
	for _, plant := range []struct {
		at string
		do func() error
	}{
		{filepath.Join(ext, NameOutside, NameOld), func() error { return o.MoveOut("r1") }},
		{fresh, o.MoveIn},
		{fresh, func() error { return o.Clear("r1") }},
		{fresh, o.Evict},
		{filepath.Join(ext, NameOutside), func() error { return o.Restore("r1") }},
	} {
		must(t, os.Rename(plant.at, plant.at+".away"))
		must(t, os.Symlink(victim, plant.at))
		if err := plant.do(); err == nil {
			t.Errorf("%s is a link, and was used", plant.at)
		}
		must(t, os.Remove(plant.at))
		must(t, os.Rename(plant.at+".away", plant.at))
	}
	// The entry is another than the one listed.
	must(t, os.Rename(filepath.Join(ext, "bin.1"), filepath.Join(ext, "saved")))
	must(t, os.Symlink(filepath.Join(victim, "bin.1"), filepath.Join(ext, "bin.1")))
	if err := o.MoveOut("r1"); !errors.Is(err, ErrOther) {
		t.Errorf("a link in the place of an entry gave %v", err)
	}
	must(t, os.Remove(filepath.Join(ext, "bin.1")))
	must(t, os.Rename(filepath.Join(ext, "saved"), filepath.Join(ext, "bin.1")))
	// One that nobody listed must not meet the new data.
	write(t, filepath.Join(ext, "bin.9"), "from nowhere")
	wantError(t, o.MoveOut("r1"), "bin.9 has appeared")
	checkVictim(t, victim, precious)
}

// TestPruneRefusesAnotherShelf: only the shelf that the label names, by inode
// and by its place, goes with an old datadir.
func TestPruneRefusesAnotherShelf(t *testing.T) {
	_, base := setUp(t)
	shelf := filepath.Join(base, "ext", NameOutside, NameOld, "r1")
	write(t, filepath.Join(shelf, "bin.1"), "old")
	ref, owner := mustRef(t, shelf), uint32(os.Geteuid())
	for _, wrong := range []struct {
		ref   Ref
		id    string
		owner uint32
	}{
		{ref, "r2", owner}, {ref, "..", owner}, {mustRef(t, filepath.Join(base, "ext")), "r1", owner},
		{Ref{Path: ref.Path, Dev: ref.Dev, Ino: ref.Ino + 1}, "r1", owner},
		{ref, "r1", owner + 1}, // a label that somebody else's user has written
	} {
		if err := discardShelf(wrong.ref, wrong.id, wrong.owner); err == nil {
			t.Errorf("%+v was discarded", wrong)
		}
	}
	if !exists(filepath.Join(shelf, "bin.1")) {
		t.Fatal("it is gone")
	}
	must(t, discardShelf(Ref{Path: ref.Path, Dev: ref.Dev + 1, Ino: ref.Ino}, "r1", owner))
	if exists(shelf) {
		t.Fatal("it is still there")
	}
	must(t, discardShelf(ref, "r1", owner))
}

// TestX4NamesAlone: a schema's directory may have the name of a log, and a
// file that of the redo directory; neither is the server's.
func TestX4NamesAlone(t *testing.T) {
	p, base := setUp(t)
	ext := filepath.Join(base, "ext")
	write(t, filepath.Join(ext, "bin.1", "t.ibd"), "foreign")
	write(t, filepath.Join(ext, "#redo"), "foreign")
	newDatadir(t, p.Path(NameNew), "new")
	write(t, filepath.Join(p.Path(NameNew), "bin.2", "t.ibd"), "a schema")
	before, copied := without(t, ext), snapshot(t, p.Path(NameNew))
	o := outsideOf(t, p, ext)
	must(t, o.List())
	must(t, o.MoveOut("r1"))
	must(t, o.MoveIn())
	if without(t, ext) != before || snapshot(t, p.Path(NameNew)) != copied {
		t.Errorf("moved:\n%s%s", without(t, ext), snapshot(t, p.Path(NameNew)))
	}
}

// TestPrepareSetsAside: what no journal knows is never removed.
func TestPrepareSetsAside(t *testing.T) {
	p, base := setUp(t)
	ext := filepath.Join(base, "ext")
	must(t, os.Mkdir(ext, 0o755))
	o, err := FindOutside(p, ext, ownNames)
	must(t, err)
	must(t, o.Prepare("r1"))
	if exists(filepath.Join(ext, NameOutside, NameOld, "found-r1")) {
		t.Error("nothing was set aside")
	}
	write(t, filepath.Join(ext, NameOutside, NameNew, "bin.1"), "of whom?")
	must(t, o.Prepare("r2"))
	if b, err := os.ReadFile(filepath.Join(ext, NameOutside, NameOld, "found-r2", "bin.1")); err != nil || string(b) != "of whom?" {
		t.Errorf("%q, %v", b, err)
	}
	if left := without(t, filepath.Join(ext, NameOutside, NameNew)); left != "" {
		t.Errorf("left: %s", left)
	}
}
