//go:build proof

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPlantedLinks: mysqld's user has put links to somebody else's files into
// the datadir and the staging area. A linked directory at the datadir's top, or
// a link in the place of the copy, is refused; with others the replica heals. Either way what they
// lead to stays as it was, bit for bit.
func TestPlantedLinks(t *testing.T) { onEngines(t, plantedLinks) }

func plantedLinks(t *testing.T, engine string) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can own what mysqld's user must not touch")
	}
	c := upOn(t, engine, map[string]string{"policy.mode": "observe"})
	n := c.Node(2)
	before := identityOf(t, n)
	canary := plantCanary(t)
	was := seen(t, canary)
	real, err := filepath.EvalSymlinks(n.Datadir)
	must(t, err)
	area := areaOf(t, n)
	link := func(path string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(path), 0o750))
		must(t, os.Chown(filepath.Dir(path), int(before.uid), int(before.gid)))
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		must(t, os.Symlink(canary, path))
		must(t, os.Lchown(path, int(before.uid), int(before.gid)))
	}
	link(filepath.Join(real, "foreign"))
	breakIt(t, c, n, "row-missing")
	code, said := rebuildNow(t, n)
	if code != 3 || !strings.Contains(said, "staging-place") {
		t.Errorf("a linked directory in the datadir: exit code %d: %s", code, said)
	}
	before.untouched(t, n)
	must(t, os.Remove(filepath.Join(real, "foreign")))

	must(t, os.Symlink(filepath.Join(canary, "secret"), filepath.Join(real, "lab", "x.ibd")))
	must(t, os.Symlink(canary, filepath.Join(real, "lab", "sub")))
	for _, name := range []string{"ib_buffer_pool", "notes.ibd"} {
		_ = os.Remove(filepath.Join(real, name))
		must(t, os.Symlink(filepath.Join(canary, "secret"), filepath.Join(real, name)))
	}
	for _, name := range []string{"template-0", "rehearse/rehearsal/tmp", "rehearse/scratch/tmp", "rehearse/rehearsal/mysqld.err", "old/found"} {
		link(filepath.Join(area, name))
	}
	for _, name := range []string{"scratch", "new"} {
		path := filepath.Join(area, name)
		link(path)
		code, said = rebuildNow(t, n)
		t.Logf("with a link at %s: exit code %d: %s", name, code, said)
		if code != 1 || strings.Count(said, "\n") != 1 || !strings.Contains(said, path) {
			t.Errorf("with a link at %s: exit code %d, want 1 and one line that names it: %s", name, code, said)
		}
		before.untouched(t, n)
		same(t, canary, was)
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	code, said = rebuildNow(t, n)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	must(t, n.WaitReplicating(t.Context(), time.Minute))
	before.unchanged(t, n)
	equal(t, c)
	same(t, canary, was)
}

// plantCanary is a tree of root's, with names that a datadir has.
func plantCanary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "canary-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	for _, name := range []string{"secret", "ibdata1", "mysql.ibd", "x.ibd", "mysqld.err", "tmp/x", "rehearsal/x", "mysql/x", "#innodb_redo/x"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("canary of "+name), 0o600))
	}
	return dir
}

func same(t *testing.T, dir, was string) {
	t.Helper()
	if now := seen(t, dir); now != was {
		t.Errorf("the canary was\n%s\nand is\n%s", was, now)
	}
}

// seen describes a tree: what changes an owner or a mode changes the time of
// the last change too.
func seen(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&b, path, st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim, st.Ctim)
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%q\n", text)
			return err
		}
		return nil
	}))
	return b.String()
}
