package binlog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPlantedIndex: mysqld's user may put anything in the place of the list of
// logs. It is not waited for, and what a link leads to is not read.
func TestPlantedIndex(t *testing.T) {
	for kind, put := range map[string]func(path string) error{
		"pipe":             func(path string) error { return unix.Mkfifo(path, 0o666) },
		"link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"link to a file":   func(path string) error { return os.Symlink("/etc/passwd", path) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, "bin.index")); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := Logs{Datadir: dir, Basename: "bin", Index: "bin.index"}.files()
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: it was read", kind)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it waits", kind)
		}
	}
}
