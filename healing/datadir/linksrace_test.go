package datadir

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSwappedLinksLeadNowhere: while a rebuild does all that it does, mysqld's
// user exchanges a directory for a link to somebody else's and back, as fast as
// the kernel can.
func TestSwappedLinksLeadNowhere(t *testing.T) {
	for _, name := range []string{
		"mysql", "mysql/db", "mysql.resilver", "mysql.resilver/new", "mysql.resilver/new/db", "mysql.resilver/new/#redo", "mysql.resilver/new/ibdata1",
		"mysql.resilver/new/bin.1", "mysql.resilver/old", "mysql.resilver/old/r1", "mysql.resilver/old/r1.archive", "mysql.resilver/scratch",
		"ext", "ext/.resilver", "ext/.resilver/new", "ext/.resilver/old", "ext/.resilver/old/r1", "ext/#redo", "ext/bin.1",
	} {
		t.Run(name, func(t *testing.T) {
			swaps := 0
			for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end) && !t.Failed(); {
				swaps += race(t, name)
			}
			if swaps == 0 {
				t.Error("nothing was exchanged: this proves nothing")
			}
		})
	}
}

// race is one way through, and how many exchanges it stood.
func race(t *testing.T, name string) (swaps int) {
	t.Helper()
	base, err := os.MkdirTemp(inMemory(), "links-")
	must(t, err)
	defer func() { must(t, os.RemoveAll(base)) }()
	must(t, os.Chmod(base, 0o755))
	newDatadir(t, filepath.Join(base, "mysql"), "old")
	c := newCanary(t, base)
	steps := way(t, base)
	before := c.see(t)
	var ended atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		path, link := filepath.Join(base, name), filepath.Join(base, "link")
		if err := os.Symlink(c.dir, link); err != nil {
			t.Error(err)
		}
		for !ended.Load() {
			if unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
				swaps++
			}
		}
	})
	for _, step := range steps {
		_ = step()
	}
	ended.Store(true)
	done.Wait()
	if now := c.see(t); now != before {
		t.Errorf("the canary was\n%s\nand is\n%s", before, now)
	}
	return swaps
}

// TestCopiedFileIsNoProgramOfOurs: a file that mysqld's user made to run as its
// owner does not do so while the copy of it is still root's.
func TestCopiedFileIsNoProgramOfOurs(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "#redo", "bin.1"), "#!/bin/sh")
	must(t, os.Chmod(filepath.Join(from, "#redo", "bin.1"), 0o755|os.ModeSetuid|os.ModeSetgid))
	in, err := openDir(from)
	must(t, err)
	defer in.Close()
	out, err := openDir(to)
	must(t, err)
	defer out.Close()
	must(t, copyEntry(in, out, "#redo"))
	info, err := os.Stat(filepath.Join(to, "#redo", "bin.1"))
	must(t, err)
	if info.Mode().Perm() != 0o755 || info.Mode() != info.Mode().Perm() {
		t.Errorf("its mode is %v", info.Mode())
	}
	must(t, os.Link(filepath.Join(from, "#redo", "bin.1"), filepath.Join(from, "bin.2")))
	wantError(t, copyEntry(in, out, "bin.2"), "2 names")
}

// TestUnmarkTakesWhatIsThere: a directory in the marker's place is no marker
// that stays for ever.
func TestUnmarkTakesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, MarkerName, "x", "y"), "")
	must(t, Mark(dir, "r1"))
	if marked, _, err := Marked(dir); err != nil || !marked {
		t.Fatalf("marked: %t, %v", marked, err)
	}
	must(t, Unmark(dir))
	if marked, _, err := Marked(dir); err != nil || marked {
		t.Errorf("marked: %t, %v", marked, err)
	}
}
