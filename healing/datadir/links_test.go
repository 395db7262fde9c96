package datadir

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// canary is a tree of somebody else's. Its names are those that the attacked
// code uses, so that who is led into it finds what it looks for.
type canary struct{ dir, file, was string }

var canaryNames = []string{"secret", "ibdata1", "mysql.ibd", "auto.cnf", MarkerName, "t.ibd", "bin.1", "bin.index", "r1.json", "manifest.json",
	"db/t.ibd", "new/ibdata1", "new/bin.1", "old/r1/ibdata1", "old/r1.json", "old/r1.archive/manifest.json", "rehearse/x", "#redo/1", "scratch/x", ".resilver/old/r1/bin.1", "r1/ibdata1"}

func newCanary(t tb, base string) *canary {
	t.Helper()
	c := &canary{dir: filepath.Join(base, "canary")}
	c.file = filepath.Join(c.dir, "secret")
	uid, gid := stranger()
	for _, name := range canaryNames {
		path := filepath.Join(c.dir, name)
		write(t, path, "canary of "+name)
		must(t, os.Chmod(path, 0o600))
		must(t, os.Lchown(path, uid, gid))
	}
	must(t, os.Chmod(c.dir, 0o700))
	return c
}

// see describes the tree bit for bit: what changes an owner or a mode changes
// the time of the last change too.
func (c *canary) see(t tb) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(snapshot(t, c.dir))
	must(t, filepath.WalkDir(c.dir, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		err = errors.Join(err, unix.Lstat(path, &st))
		if path == c.file { // it may be given names, and lose them, as it may be read
			st.Nlink, st.Ctim = 0, unix.Timespec{}
		}
		if err == nil {
			fmt.Fprintln(&b, path, st.Ino, st.Nlink, st.Size, st.Mtim, st.Ctim)
		}
		return err
	}))
	return b.String()
}

// plants are what mysqld's user could put at a name.
var plants = map[string]func(c *canary, path string) error{
	"link to a directory": func(c *canary, path string) error { return os.Symlink(c.dir, path) },
	"link to a file":      func(c *canary, path string) error { return os.Symlink(c.file, path) },
	"relative link": func(c *canary, path string) error {
		to, err := filepath.Rel(filepath.Dir(path), c.dir)
		return errors.Join(err, os.Symlink(to, path))
	},
	"second name": func(c *canary, path string) error { return os.Link(c.file, path) },
	"pipe":        func(_ *canary, path string) error { return unix.Mkfifo(path, 0o666) },
	"socket": func(_ *canary, path string) error {
		return unix.Mknod(path, unix.S_IFSOCK|0o666, 0)
	},
	"link to a device": func(_ *canary, path string) error { return os.Symlink("/dev/zero", path) },
}

// plant puts something at a path, and what was there out of the way, as who may
// write to the directory can.
func plant(t tb, c *canary, kind, path string) {
	t.Helper()
	if exists(path) {
		must(t, os.Rename(path, path+".was"))
	}
	if !exists(filepath.Dir(path)) {
		return // its directory was planted or is not made yet
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return
	}
	must(t, plants[kind](c, path))
	uid, gid := owner()
	if kind != "second name" {
		must(t, os.Lchown(path, uid, gid))
	}
}

// ways is how many steps it has.
const ways = 21

// way is everything that a rebuild does to a datadir, its copy and directories
// elsewhere, step by step; each is tried whatever became of the others.
func way(t tb, base string) []func() error {
	live := filepath.Join(base, "mysql")
	p, err := PlaceFor(live, "")
	must(t, err)
	ext := filepath.Join(base, "ext")
	for _, name := range []string{"bin.1", "bin.index", "#redo/1"} {
		write(t, filepath.Join(ext, name), "old")
		write(t, p.Path(filepath.Join(NameNew, name)), "new")
	}
	uid, gid := owner()
	for _, path := range []string{ext, p.Root, filepath.Join(ext, "bin.1"), filepath.Join(ext, "bin.index"), filepath.Join(ext, "#redo"), filepath.Join(ext, "#redo", "1")} {
		must(t, os.Lchown(path, uid, gid))
	}
	write(t, p.Path(filepath.Join(NameScratch, "x")), "scratch")
	newDatadir(t, p.Path(NameNew), "new")
	o, err := FindOutside(p, ext, ownNames)
	must(t, err)
	staged := mustRef(t, p.Path(NameNew))
	discard := func(name string) error {
		ref, err := p.Find(name)
		return errors.Join(err, p.Discard(ref))
	}
	return []func() error{
		func() error { _, err := p.Prepare(); return err },
		func() error { return errors.Join(p.ProveExchange(), p.ProveMode(), o.Prepare("r1")) },
		func() error { return discard(NameScratch) },
		func() error { return Own(context.Background(), staged, p.Live, []string{"auto.cnf"}) },
		func() error { return EditFile(staged, "bin.index", func(b []byte) []byte { return append(b, '\n') }) },
		func() error { return o.Place(staged, noReserve) },
		func() error { _, err := HideLinks(staged); return err },
		func() error { return Sync(staged.Path) },
		func() error {
			a, err := p.Archive("r1")
			return errors.Join(err, a.Create("bin.1", func(f *os.File) error { _, err := f.WriteString("x"); return err }), a.Replace("manifest.json", []byte("{}")))
		},
		func() error { return errors.Join(Mark(live, "r1"), Mark(staged.Path, "r1")) },
		func() error { unlock, err := LockSystemTablespace(staged.Path); return errors.Join(err, done(unlock)) },
		func() error { return errors.Join(o.List(), o.MoveOut("r1")) },
		func() error { _, err := Exchange(p.Live.Ref, staged); return err },
		func() error { return errors.Join(o.MoveIn(), Unmark(live), SyncFiles(live, "*.info")) },
		func() error { _, err := Exchange(Undo(p.Live.Ref, staged)); return err },
		func() error { return errors.Join(o.Evict(), o.Restore("r1")) },
		func() error { _, err := Exchange(p.Live.Ref, staged); return err },
		func() error {
			_, err := p.Quarantine(Leaving{ID: "r1", Old: p.Live.Ref, Shelves: shelfOf(o)})
			return err
		},
		func() error { return discard(NameOld + "/r1") },
		func() error { _, err := p.Prune(Limits{Now: time.Now().Add(time.Hour)}); return err },
		func() error { return errors.Join(o.Clear("r1"), p.DiscardArchive("r1")) },
	}
}

func shelfOf(o Outside) []Ref {
	if ref, err := o.Shelf("r1"); err == nil {
		return []Ref{ref}
	}
	return nil
}

func done(unlock func() error) error {
	if unlock == nil {
		return nil
	}
	return unlock()
}

// attacked are the names that the code makes, opens, gives away or removes.
var attacked = []string{
	"mysql.resilver", "mysql.resilver/rehearse", "mysql.resilver/old", "mysql.resilver/scratch", "mysql.resilver/new",
	"mysql.resilver/old/r1", "mysql.resilver/old/r1.json", "mysql.resilver/old/r1.archive", "mysql.resilver/old/r1.archive/manifest.json", "mysql.resilver/old/r1.archive/bin.1",
	"mysql.resilver/new/" + MarkerName, "mysql.resilver/new/auto.cnf", "mysql.resilver/new/bin.1", "mysql.resilver/new/bin.index", "mysql.resilver/new/#redo", "mysql.resilver/new/db", "mysql.resilver/new/db/t.ibd", "mysql.resilver/new/db/t.isl", "mysql.resilver/new/ibdata1",
	"mysql", "mysql/" + MarkerName, "mysql/auto.cnf", "mysql/ibdata1", "mysql/db", "mysql/x.info",
	"ext", "ext/.resilver", "ext/.resilver/new", "ext/.resilver/old", "ext/.resilver/old/r1", "ext/.resilver/new/bin.1", "ext/bin.1", "ext/#redo", "ext/.resilver/old/found-r1",
}

// TestPlantedLinksLeadNowhere: whatever mysqld's user puts at a name in the
// datadir, in the staging area or in a directory elsewhere, and at whatever
// moment, nothing outside of them is changed, and nothing waits for it.
func TestPlantedLinksLeadNowhere(t *testing.T) {
	kinds := slices.Sorted(maps.Keys(plants))
	for i, name := range attacked {
		for k, kind := range kinds {
			for when := (i + k) % 3; when < ways; when += 3 { // each kind at each name, at every third moment
				attack(t, name, kind, when)
			}
		}
	}
}

// inMemory is where some thousand trees cost no disk.
func inMemory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func attack(t *testing.T, name, kind string, when int) {
	t.Helper()
	base, err := os.MkdirTemp(inMemory(), "links-")
	must(t, err)
	defer func() { must(t, os.RemoveAll(base)) }()
	must(t, os.Chmod(base, 0o755))
	newDatadir(t, filepath.Join(base, "mysql"), "old")
	write(t, filepath.Join(base, "mysql", "auto.cnf"), "[auto]\n")
	c := newCanary(t, base)
	steps := way(t, base)
	if len(steps) != ways {
		t.Fatalf("there are %d steps", len(steps))
	}
	did := make(chan struct{})
	go func() {
		defer close(did)
		for i, step := range steps {
			if i == when {
				plant(t, c, kind, filepath.Join(base, name))
				c.was = c.see(t)
			}
			_ = step()
		}
	}()
	select {
	case <-did:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s as a %s before step %d: it waits", name, kind, when)
	}
	if now := c.see(t); now != c.was {
		t.Errorf("%s as a %s before step %d: the canary was\n%s\nand is\n%s", name, kind, when, c.was, now)
	}
}
