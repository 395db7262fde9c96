package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(crashVariable) != "" {
		crashChild()
	}
	goleak.VerifyTestMain(m)
}

// owner returns a user that is not the tests' own where they run as root, so
// that ownership is really exercised.
func owner() (uid, gid int) {
	if os.Geteuid() == 0 && os.Getenv(mountVariable) != "user" {
		return 1, 1
	}
	return os.Geteuid(), os.Getegid()
}

// stranger returns a third user, where that is possible.
func stranger() (uid, gid int) {
	if os.Geteuid() == 0 {
		return 7, 7
	}
	return os.Geteuid(), os.Getegid()
}

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func write(t tb, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o750))
	must(t, os.WriteFile(path, []byte(text), 0o640))
}

// newDatadir makes what looks like a datadir, owned by owner().
func newDatadir(t tb, path, tag string) {
	t.Helper()
	write(t, filepath.Join(path, "ibdata1"), tag)
	write(t, filepath.Join(path, "mysql.ibd"), tag)
	write(t, filepath.Join(path, "db", "t.ibd"), tag)
	uid, gid := owner()
	must(t, filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, uid, gid)
	}))
	must(t, os.Chmod(path, 0o750))
}

// setUp makes a live datadir and its prepared place in a directory of its own.
func setUp(t *testing.T) (Place, string) {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	d := filepath.Join(base, "mysql")
	newDatadir(t, d, "old")
	p, err := PlaceFor(d, "")
	must(t, err)
	_, err = p.Prepare()
	must(t, err)
	return p, base
}

// snapshot describes a tree: every path with type, owner, mode and content.
func snapshot(t tb, root string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		fmt.Fprintf(&b, "%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s", to)
		case e.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", data)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func mustRef(t tb, path string) Ref {
	t.Helper()
	ref, err := RefOf(path)
	must(t, err)
	return ref
}

func wantError(t tb, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("error is %v, wanted one with %q", err, text)
	}
}
