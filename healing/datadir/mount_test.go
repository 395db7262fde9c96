package datadir

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// mountVariable says to a test that it runs in a mount namespace of its own,
// and whether it is "root" there or a "user" who was made it.
const mountVariable = "RESILVER_TEST_MOUNTS"

// mounting runs the test that calls it once more, in a process that may mount
// what it likes, and says in which of the two it is.
func mounting(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountVariable) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), mountVariable+"=root", "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.Env = append(cmd.Env, mountVariable+"=user")
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("in a mount namespace of its own (run as root where users may have none): %v", err)
	}
	return false
}

// baseForMounts is a directory that is removed once this process is gone, and
// what it has mounted with it.
func baseForMounts(t *testing.T) string {
	t.Helper()
	base, err := os.MkdirTemp("", "")
	must(t, err)
	base, err = filepath.EvalSymlinks(base)
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	return base
}

// mount puts a new file system at a path until the test ends.
func mount(t tb, path string) {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755))
	must(t, unix.Mount("tmpfs", path, "tmpfs", 0, "mode=0750,size=64m"))
}

// onMount makes a datadir that is a mount point, with a copy in its area.
func onMount(t tb, d string) Place {
	t.Helper()
	mount(t, d)
	newDatadir(t, d, "old")
	must(t, os.Mkdir(filepath.Join(d, "lost+found"), 0o700))
	write(t, filepath.Join(d, ".snapshot", "daily"), "not the server's")
	p, err := PlaceFor(d, "")
	must(t, err)
	if !p.Live.MountPoint || !p.Inside() {
		t.Fatalf("the place of a mount point is %+v", p)
	}
	_, err = p.Prepare()
	must(t, err)
	newDatadir(t, p.Path(NameNew), "new")
	return p
}

// parts describes a datadir: what goes and comes with the data, and what stays.
func parts(t tb, dir string) (data, stays string) {
	t.Helper()
	for line := range strings.Lines(snapshot(t, dir)) {
		name, _, _ := strings.Cut(strings.Fields(line)[0], "/")
		switch {
		case name == "." || name == NameOutside:
		case inDatadir(name):
			data += line
		default:
			stays += line
		}
	}
	return data, stays
}

// unmixed fails where entries of the old and of the new data lie side by side
// in the datadir, or some without their system tablespace, whose lock keeps
// servers out; or what a new server has made without anything of the copy, by
// which it is known; or anything without the marker.
func unmixed(t tb, o *Outside, junk map[uint64]bool) func(point string) {
	isSystem := func(e Entry) bool { return e.Name == SystemTablespace }
	elsewhere := !slices.ContainsFunc(o.Old, isSystem)
	return func(point string) {
		t.Helper()
		dir, err := o.Dir.open()
		must(t, err)
		defer dir.Close()
		found, err := o.owned(dir)
		must(t, err)
		var old, copied, made []Entry
		for _, e := range found {
			switch {
			case junk[e.Ino]:
			case slices.Contains(o.Old, e):
				old = append(old, e)
			case slices.Contains(o.New, e):
				copied = append(copied, e)
			default:
				made = append(made, e)
			}
		}
		fresh := append(copied, made...)
		switch {
		case len(old) > 0 && len(fresh) > 0:
			t.Fatalf("%s: %v lie beside %v", point, old, fresh)
		case !elsewhere && len(old) > 0 && !slices.ContainsFunc(old, isSystem), !elsewhere && len(fresh) > 0 && !slices.ContainsFunc(fresh, isSystem):
			t.Fatalf("%s: %v%v without a system tablespace", point, old, fresh)
		case len(made) > 0 && len(copied) == 0:
			t.Fatalf("%s: nothing tells any more that a new server has made %v", point, made)
		case !exists(filepath.Join(o.Dir.Path, MarkerName)):
			t.Fatalf("%s: no marker", point)
		}
	}
}

// shuffle makes a file system list the entries of a directory in another order.
func shuffle(t *rapid.T, dir string) {
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range rapid.Permutation(entries).Draw(t, "order") {
		if path := filepath.Join(dir, e.Name()); e.Name() != NameOutside {
			must(t, os.Rename(path, path+"~"))
			must(t, os.Rename(path+"~", path))
		}
	}
}

func mustIno(t tb, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Ino
}

// both are points to look at, and to crash at.
func both(look, crash func(string)) func(string) {
	return func(point string) { look(point); crash(point) }
}

// forwardWhole is what the swap does with a datadir that is a mount point.
func forwardWhole(o *Outside, at func(string)) error {
	if err := o.moveOut("r1", at); err != nil {
		return err
	}
	return o.moveIn(at)
}

// backwardWhole is the way back, after the new server has ended.
func backwardWhole(o *Outside, at func(string)) error {
	state, err := o.State()
	if err != nil {
		return err
	}
	if state == Done {
		if err := o.evict(at); err != nil {
			return err
		}
	}
	return o.restore("r1", at)
}

// TestP32MountPointIsOldOrNew: P32. Over random trees with planted links, on a
// real mount point, a crash at any point of a swap, then a resume forward or
// back, ends in exactly the old or exactly the new entries, also where the new
// server had run meanwhile. At no point do the two lie side by side, and what
// is nobody's data stays where it is.
func TestP32MountPointIsOldOrNew(t *testing.T) {
	if !mounting(t) {
		return
	}
	base := baseForMounts(t)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		dir := filepath.Join(base, fmt.Sprint(round))
		victim := filepath.Join(dir, "victim")
		write(t, filepath.Join(victim, "deep", "precious"), "precious")
		d := filepath.Join(dir, "mysql")
		defer func() { _ = unix.Unmount(d, unix.MNT_DETACH) }()
		p := onMount(t, d)
		randomTree(t, d, victim, "old")
		randomTree(t, p.Path(NameNew), victim, "new")
		if rapid.Bool().Draw(t, "system tablespace elsewhere") {
			must(t, os.Remove(filepath.Join(d, SystemTablespace)))
			must(t, os.Remove(filepath.Join(p.Path(NameNew), SystemTablespace)))
		}
		shuffle(t, d)
		shuffle(t, p.Path(NameNew))
		must(t, unix.Mkfifo(filepath.Join(d, "mysql.pipe"), 0o600)) // or a socket
		precious := snapshot(t, victim)
		old, stays := parts(t, d)
		fresh, _ := parts(t, p.Path(NameNew))
		staged := mustRef(t, p.Path(NameNew))
		o, err := Whole(p)
		must(t, err)
		must(t, o.Prepare("r1"))
		must(t, o.Place(staged, noReserve))
		must(t, Mark(d, "r1"))
		must(t, o.List())
		check := func(what, want string) {
			must(t, Unmark(d))
			got, left := parts(t, d)
			if got != want || left != stays {
				t.Fatalf("not %s:\n%s%s\nbut\n%s%s", what, want, stays, got, left)
			}
			must(t, Mark(d, "r1"))
			checkVictim(t, victim, precious)
		}
		if !strings.Contains(stays, "lost+found") || !strings.Contains(stays, ".snapshot/daily") {
			t.Fatalf("taken for data, as all but this: %s", stays)
		}

		junk := map[uint64]bool{}
		look := unmixed(t, &o, junk)
		crashes := rapid.SliceOfN(rapid.IntRange(1, 40), 0, 4)
		whole := false
		for _, n := range crashes.Draw(t, "crashes") {
			whole = until(t, n, func(at func(string)) error { return forwardWhole(journalled(t, o), both(look, at)) })
		}
		if rapid.Bool().Draw(t, "back") {
			if whole && rapid.Bool().Draw(t, "ran") {
				write(t, filepath.Join(d, "bin.77"), "of the new server")
				must(t, os.Remove(filepath.Join(d, "mysql.ibd")))
				write(t, filepath.Join(d, "mysql.ibd"), "another one")
				shuffle(t, d)
			}
			if path := filepath.Join(d, "mysql.ibd"); !whole && !exists(path) {
				write(t, path, "of a server started by hand")
				junk[mustIno(t, path)] = true
			}
			for _, n := range append(crashes.Draw(t, "crashes back"), 0) {
				until(t, n, func(at func(string)) error { return backwardWhole(journalled(t, o), both(look, at)) })
			}
			check("the old entries", old)
			if found := p.Path("old/found-r1/mysql.ibd"); exists(found) && !junk[mustIno(t, found)] {
				t.Fatalf("an entry of somebody's was set aside")
			}
			// The old server runs again, and a way back that is tried once more
			// leaves it alone.
			write(t, filepath.Join(d, "bin.78"), "of the old server")
			must(t, os.Remove(filepath.Join(d, "mysql.ibd")))
			ran, _ := parts(t, d)
			must(t, backwardWhole(journalled(t, o), func(string) {}))
			must(t, p.Discard(staged))
			must(t, o.Clear("r1"))
			check("what the old server has made of them", ran)
			if exists(p.Path("old/r1")) || exists(p.Path(NameNew)) {
				t.Fatalf("something is left of the rebuild")
			}
			return
		}
		must(t, forwardWhole(journalled(t, o), look))
		check("the new entries", fresh)
		if state, err := journalled(t, o).State(); state != Done || err != nil {
			t.Fatalf("state %q, %v", state, err)
		}
		shelf, err := o.Shelf("r1")
		must(t, err)
		for range 2 {
			_, err = p.Quarantine(Leaving{ID: "r1", Old: shelf})
			must(t, err)
			must(t, p.Discard(staged))
			must(t, o.Clear("r1"))
		}
		if got, _ := parts(t, p.Path("old/r1")); got != old {
			t.Fatalf("the old entries are not whole in quarantine:\n%s", got)
		}
		if exists(p.Path(NameNew)) {
			t.Fatalf("the copy's directory is left")
		}
		kept, err := p.Quarantined()
		must(t, err)
		must(t, p.prune(kept[0]))
		check("the new entries once the old ones are pruned", fresh)
	})
}

// TestP32MountPointsAreTold: what is a mount point, and what is refused, on
// real mounts.
func TestP32MountPointsAreTold(t *testing.T) {
	if !mounting(t) {
		return
	}
	base := baseForMounts(t)
	at := func(name string) string { return filepath.Join(base, name) }
	onMount(t, at("mysql"))
	newDatadir(t, at("volume"), "old")
	must(t, os.Mkdir(at("bound"), 0o755))
	must(t, unix.Mount(at("volume"), at("bound"), "", unix.MS_BIND, ""))
	newDatadir(t, at("redo"), "old")
	mount(t, at("redo/#innodb_redo"))
	onMount(t, at("schema"))
	mount(t, at("schema/db"))
	onMount(t, at("area"))
	mount(t, at("area/.resilver"))
	onMount(t, at("linked"))
	must(t, os.Symlink(base, at("linked/far")))
	onMount(t, at("open"))
	must(t, os.Chmod(at("open"), 0o777))

	for _, name := range []string{"mysql", "bound"} {
		p, err := PlaceFor(at(name), "")
		must(t, err)
		if !p.Inside() || p.Root != at(name+"/.resilver") {
			t.Errorf("%s: %+v", name, p)
		}
		before := snapshot(t, at(name))
		must(t, errors.Join(p.ProveExchange(), p.ProveMode()))
		if after := snapshot(t, at(name)); after != before {
			t.Errorf("%s: the proof has left\n%s", name, after)
		}
		if _, err := PlaceFor(at(name), at(name+"/.resilver")); err != nil {
			t.Errorf("%s: its own area by name: %v", name, err)
		}
	}
	// A bound directory is on the device of its neighbours, and yet nothing
	// goes from one to the other.
	must(t, os.Mkdir(at("beside"), 0o755))
	if err := proveExchange(at("bound"), at("beside")); err == nil {
		t.Error("something was exchanged across a mount")
	}
	for _, c := range []struct{ datadir, staging, text string }{
		{"mysql", at("elsewhere"), "leave rebuild.staging_dir empty"},
		{"redo", "", "mounted inside"},
		{"schema", "", "mounted inside"},
		{"area", "", "mounted inside"},
		{"linked", "", "far in the datadir"},
		{"open", "", "writable by everybody"},
	} {
		_, err := PlaceFor(at(c.datadir), c.staging)
		wantError(t, err, c.text)
		var place *PlaceError
		if !errors.As(err, &place) {
			t.Errorf("%s: %v is not a *PlaceError", c.datadir, err)
		}
	}
}
