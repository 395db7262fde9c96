package datadir

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInspectReadsTheDatadir(t *testing.T) {
	p, base := setUp(t)
	d, err := Inspect(filepath.Join(base, "mysql") + "/")
	must(t, err)
	uid, gid := owner()
	if d.UID != uint32(uid) || d.GID != uint32(gid) || d.Mode != 0o750 || d.Path != p.Live.Path || d.Ino == 0 {
		t.Fatalf("inspected %+v", d)
	}
	if d.MountPoint || len(d.Mounts) > 0 || len(d.LinkedDirs) > 0 || !d.ParentWritable {
		t.Fatalf("inspected %+v", d)
	}
}

// TestX2DatadirIsNamedByInode: X2, the directory that is worked on is the one
// that was inspected, by device and inode, whatever path led to it.
func TestX2DatadirIsNamedByInode(t *testing.T) {
	p, base := setUp(t)
	must(t, os.Symlink(base, base+"-link"))
	defer os.Remove(base + "-link")
	d, err := Inspect(base + "-link/mysql")
	must(t, err)
	if !d.Same(p.Live.Ref) || d.Path != p.Live.Path {
		t.Fatalf("through a link: %+v, directly: %+v", d, p.Live)
	}
	newDatadir(t, filepath.Join(base, "other"), "other")
	wrong := Ref{Path: filepath.Join(base, "other"), Dev: d.Dev, Ino: d.Ino}
	if _, err := wrong.open(); !errors.Is(err, ErrOther) {
		t.Fatalf("another directory at the path gave %v", err)
	}
}

func TestInspectRefuses(t *testing.T) {
	_, base := setUp(t)
	must(t, os.MkdirAll(filepath.Join(base, "empty"), 0o755))
	write(t, filepath.Join(base, "half", "ibdata1"), "x")
	for name, c := range map[string]struct{ path, text string }{
		"empty":      {"", "empty"},
		"relative":   {"mysql", "not an absolute path"},
		"root":       {"/", "root directory"},
		"slashes":    {"//", "root directory"},
		"unclean":    {base + "/../" + filepath.Base(base) + "/mysql", "not a clean path"},
		"missing":    {filepath.Join(base, "no"), "no such file"},
		"file":       {filepath.Join(base, "half", "ibdata1"), "not a directory"},
		"no datadir": {filepath.Join(base, "empty"), "does not look like a datadir"},
		"half":       {filepath.Join(base, "half"), "does not look like a datadir"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Inspect(c.path)
			wantError(t, err, c.text)
		})
	}
}

// TestP32PlaceRefusals: P32 and its relatives, guard staging-place.
func TestP32PlaceRefusals(t *testing.T) {
	p, base := setUp(t)
	d := p.Live.Path
	other := filepath.Join("/dev/shm", filepath.Base(base))
	must(t, os.Symlink(d, filepath.Join(base, "link")))
	newDatadir(t, filepath.Join(base, "linked"), "x")
	must(t, os.Symlink(base, filepath.Join(base, "linked", "big")))
	must(t, os.Symlink("/nowhere/mysqld.sock", filepath.Join(d, "mysql.sock"))) // as some images have it
	write(t, filepath.Join(base, "plain"), "")
	must(t, os.Mkdir(filepath.Join(base, "open"), 0o777))
	must(t, os.Chmod(filepath.Join(base, "open"), 0o777))
	for name, c := range map[string]struct{ datadir, staging, text string }{
		"linked schema":     {filepath.Join(base, "linked"), "", "big in the datadir"},
		"other file system": {d, other, "another file system"},
		"inside":            {d, filepath.Join(d, ".stage"), "inside the datadir"},
		"itself":            {d, d, "inside the datadir"},
		"around":            {d, base, "is inside"},
		"relative":          {d, "stage", "not an absolute path"},
		"a file":            {d, filepath.Join(base, "plain"), "not a directory"},
		"for everybody":     {d, filepath.Join(base, "open"), "writable by everybody"},
		"no parent":         {d, filepath.Join(base, "no", "stage"), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := PlaceFor(c.datadir, c.staging)
			wantError(t, err, c.text)
			var place *PlaceError
			if !errors.As(err, &place) {
				t.Fatalf("%v is not a *PlaceError", err)
			}
		})
	}
	if os.Geteuid() == 0 {
		foreign := filepath.Join(base, "foreign")
		must(t, os.Mkdir(foreign, 0o755))
		must(t, os.Chown(foreign, 7, 7))
		_, err := PlaceFor(d, foreign)
		wantError(t, err, "belongs to user 7")
	}
}

func TestMountPoints(t *testing.T) {
	points, err := mounts()
	must(t, err)
	if self, _ := mountedAt(points, "/proc"); !self {
		t.Error("/proc is not found to be a mount point")
	}
	points, err = parseMounts(strings.NewReader(
		"22 1 0:21 / / rw - ext4 /dev/a rw\n23 22 0:21 /x /var/lib/my\\040sql rw - ext4 /dev/b rw\n24 22 0:21 / /var/lib/mysql/#innodb_redo rw - ext4 /dev/b rw\n"))
	must(t, err)
	if self, below := mountedAt(points, "/var/lib/my sql"); !self || below != nil {
		t.Errorf("path with a blank: %v %v", self, below)
	}
	if self, below := mountedAt(points, "/var/lib/mysql"); self || !slices.Equal(below, []string{"/var/lib/mysql/#innodb_redo"}) {
		t.Errorf("redo on a mount of its own: %v %v", self, below)
	}
	if _, err := parseMounts(strings.NewReader("what\n")); err == nil {
		t.Error("a line that is not understood gave no error")
	}
}

func TestPrepareMakesTheAreaAsTheDatadirsOwner(t *testing.T) {
	p, _ := setUp(t)
	uid, gid := owner()
	for name, mode := range map[string]uint32{"": 0o755, NameRehearse: 0o750, NameOld: 0o750} {
		var st unix.Stat_t
		must(t, unix.Lstat(p.Path(name), &st))
		if st.Uid != uint32(uid) || st.Gid != uint32(gid) || st.Mode&0o7777 != mode {
			t.Errorf("%s has owner %d:%d, mode %o", p.Path(name), st.Uid, st.Gid, st.Mode)
		}
	}
	// A making that was interrupted is mended.
	must(t, os.Chown(p.Path(NameOld), os.Geteuid(), os.Getegid()))
	must(t, os.Chmod(p.Path(NameOld), 0o700))
	area, err := p.Prepare()
	must(t, err)
	if !area.Same(mustRef(t, p.Root)) {
		t.Fatal("the area's reference is not the area's")
	}
	var st unix.Stat_t
	must(t, unix.Lstat(p.Path(NameOld), &st))
	if st.Uid != uint32(uid) || st.Mode&0o7777 != 0o750 {
		t.Errorf("old has owner %d, mode %o", st.Uid, st.Mode)
	}
	if exists(p.Path(NameNew)) || exists(p.Path(NameScratch)) {
		t.Error("new or scratch exists already")
	}
}

func TestPrepareFollowsNoLink(t *testing.T) {
	p, base := setUp(t)
	victim := filepath.Join(base, "victim")
	must(t, os.Mkdir(victim, 0o700))
	before := snapshot(t, victim)
	must(t, os.Remove(p.Path(NameOld)))
	must(t, os.Symlink(victim, p.Path(NameOld)))
	if _, err := p.Prepare(); err == nil {
		t.Fatal("a link in place of old was accepted")
	}
	if after := snapshot(t, victim); after != before {
		t.Fatalf("victim changed:\n%s", after)
	}
}

func TestAdopt(t *testing.T) {
	p, _ := setUp(t)
	for _, dir := range []string{"new", "new/x", "other", "template-"} {
		must(t, os.Mkdir(p.Path(dir), 0o750))
	}
	for _, bad := range []string{"", "..", "other", "template-", "new/x"} {
		if _, err := p.Adopt(bad, p.Live.Ref); err == nil {
			t.Errorf("adopted %q", bad)
		}
	}
	made := mustRef(t, p.Path(NameNew))
	adopted, err := p.Adopt(NameNew, p.Live.Ref)
	must(t, err)
	if adopted != made {
		t.Fatalf("adopted %v, made %v", adopted, made)
	}
	// After the exchange the old data is at new: it is nobody's to adopt.
	newDatadir(t, p.Path(NameNew), "new")
	if _, err := Exchange(p.Live.Ref, mustRef(t, p.Path(NameNew))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Adopt(NameNew, p.Live.Ref); !errors.Is(err, ErrOther) {
		t.Fatalf("the old data was adopted as a staged copy: %v", err)
	}
}

func TestProveExchange(t *testing.T) {
	p, base := setUp(t)
	before := snapshot(t, base)
	must(t, p.ProveExchange())
	if after := snapshot(t, base); after != before {
		t.Fatalf("left something behind:\n%s", after)
	}
	must(t, os.RemoveAll(p.Root))
	must(t, p.ProveExchange()) // the area need not exist
	p.Root = filepath.Join("/dev/shm", filepath.Base(base))
	err := p.ProveExchange()
	wantError(t, err, "not on one mount of one file system")
	var place *PlaceError
	if !errors.As(err, &place) {
		t.Fatalf("%v is not a *PlaceError", err)
	}
}

func TestFree(t *testing.T) {
	p, base := setUp(t)
	free, total, err := Free(p.Live.Path)
	must(t, err)
	if free == 0 || free > total {
		t.Errorf("free %d of %d", free, total)
	}
	if _, _, err := Free(filepath.Join(base, "no")); err == nil {
		t.Error("free space of nothing")
	}
}

func TestMarker(t *testing.T) {
	p, base := setUp(t)
	d := p.Live.Path
	check := func(want bool, wantReason string) {
		t.Helper()
		marked, reason, err := Marked(d)
		must(t, err)
		if marked != want || reason != wantReason {
			t.Fatalf("marked %v %q", marked, reason)
		}
	}
	check(false, "")
	must(t, Mark(d, "rebuild 7"))
	must(t, Mark(d, "again")) // stays as it is
	check(true, "rebuild 7")
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(d, MarkerName), &st))
	if uid, _ := owner(); st.Uid != uint32(uid) {
		t.Errorf("the marker belongs to %d", st.Uid)
	}
	must(t, Unmark(d))
	must(t, Unmark(d))
	check(false, "")
	// A planted link is not written through, and counts as a marker.
	victim := filepath.Join(base, "victim")
	must(t, os.Symlink(victim, filepath.Join(d, MarkerName)))
	must(t, Mark(d, "x"))
	if exists(victim) {
		t.Fatal("wrote through a link")
	}
	check(true, "the marker cannot be read")
	// So does a socket.
	must(t, Unmark(d))
	lis, err := net.Listen("unix", filepath.Join(d, MarkerName))
	must(t, err)
	check(true, "the marker cannot be read")
	must(t, lis.Close())
	// A missing datadir is not an unmarked one.
	if _, _, err := Marked(filepath.Join(base, "no")); err == nil {
		t.Error("a missing datadir is not marked")
	}
	// The start guard may be given a path with a link in it.
	must(t, Mark(d, "y"))
	must(t, os.Symlink(d, filepath.Join(base, "link")))
	if marked, _, err := Marked(filepath.Join(base, "link") + "/"); err != nil || !marked {
		t.Errorf("through a link: %v %v", marked, err)
	}
}
