package private

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func self() Program { return Program{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())} }

// inTime fails where something waits for what mysqld's user has put there.
func inTime(t *testing.T, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
		return nil
	}
}

// TestAreaBehindALink: where mysqld's user has put a link in the place of the
// staging area, or of what it lies in, nothing is made, given away or removed
// where that leads.
func TestAreaBehindALink(t *testing.T) {
	base := t.TempDir()
	canary := filepath.Join(base, "canary")
	for _, name := range []string{nameScratch, nameTemplate + "1.0", filepath.Join(nameWork, roleScratch, "tmp")} {
		check(t, os.MkdirAll(filepath.Join(canary, "area", name), 0o700))
	}
	check(t, os.Symlink("canary/area", filepath.Join(base, "last")))
	check(t, os.Symlink("canary", filepath.Join(base, "first")))
	for _, area := range []string{filepath.Join(base, "last"), filepath.Join(base, "first", "area")} {
		if _, err := OpenArea(area); err == nil {
			t.Errorf("%s was opened", area)
		}
		if w, err := openWork(area, roleScratch, "", self()); err == nil {
			w.close()
			t.Errorf("%s was worked in", area)
		}
		if err := Sweep(area); err == nil {
			t.Errorf("%s was swept", area)
		}
		if _, err := EndOrphans(area); err == nil {
			t.Errorf("%s was looked into", area)
		}
	}
	if _, err := os.Stat(filepath.Join(canary, "area", nameWork, roleScratch, "tmp")); err != nil {
		t.Error(err)
	}
	root, err := OpenArea(filepath.Join(canary, "area"))
	check(t, err)
	check(t, root.Close())
	if _, err := OpenArea(filepath.Join(base, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of none: %v", err)
	}
}

// TestCopyTreeTakesNoStrangers: what mysqld's user has put into a template
// that is no file of its own is not copied, nor waited for.
func TestCopyTreeTakesNoStrangers(t *testing.T) {
	for kind, put := range map[string]func(secret, path string) error{
		"second name": os.Link,
		"link":        os.Symlink,
		"pipe":        func(_, path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		area := t.TempDir()
		secret := filepath.Join(area, "secret")
		check(t, os.WriteFile(secret, []byte("secret"), 0o600))
		check(t, os.Mkdir(filepath.Join(area, "from"), 0o700))
		check(t, put(secret, filepath.Join(area, "from", "x")))
		root, err := OpenArea(area)
		check(t, err)
		if err := inTime(t, func() error { return copyTree(t.Context(), root, "from", "to", self()) }); err == nil {
			t.Errorf("%s: copied", kind)
		}
		if err := inTime(t, func() error { return copyFile(root, filepath.Join("from", "x"), "y", self()) }); err == nil {
			t.Errorf("%s: copied as a file", kind)
		}
		check(t, root.Close())
	}
}

// TestMakeDirGivesNothingAway: a directory that is another one's is not given
// to mysqld's user, and neither is what is none.
func TestMakeDirGivesNothingAway(t *testing.T) {
	area := t.TempDir()
	root, err := OpenArea(area)
	check(t, err)
	defer func() { _ = root.Close() }()
	check(t, os.WriteFile(filepath.Join(area, "file"), nil, 0o600))
	check(t, os.Symlink("dir", filepath.Join(area, "link")))
	for _, name := range []string{"file", "link"} {
		if err := MakeDir(root, name, 0o755, self()); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
		if err := ensureDir(root, name, 0o755, self()); err == nil {
			t.Errorf("%s was taken for a directory", name)
		}
	}
	check(t, MakeDir(root, "dir", 0o751, self()))
	if info, err := root.Stat("dir"); err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestEndOrphansKillsNobodyElse: the record is mysqld's user's to write. It may
// name any process, and a link to where that works for the server's datadir.
func TestEndOrphansKillsNobodyElse(t *testing.T) {
	area, elsewhere := t.TempDir(), t.TempDir()
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = elsewhere
	check(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	born, err := BirthOf(cmd.Process.Pid)
	check(t, err)
	check(t, os.Symlink(elsewhere, filepath.Join(area, "x")))
	check(t, os.MkdirAll(filepath.Join(area, nameWork, roleScratch), 0o700))
	record := filepath.Join(area, nameWork, roleScratch, recordName)
	for _, datadir := range []string{filepath.Join(area, "x"), elsewhere, area + "/../" + filepath.Base(elsewhere)} {
		b, err := json.Marshal(birth{Birth: born, Datadir: datadir})
		check(t, err)
		check(t, os.WriteFile(record, b, 0o600))
		if n, err := EndOrphans(area); n != 0 || err == nil {
			t.Errorf("%s: %d ended, %v", datadir, n, err)
		}
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	check(t, os.Remove(record))
	check(t, unix.Mkfifo(record, 0o600))
	if err := inTime(t, func() error { _, err := EndOrphans(area); return err }); err == nil {
		t.Error("a pipe was read as a record")
	}
}
