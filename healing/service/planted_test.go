package service

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPlantedPIDFile: mysqld's user may put anything in the place of the pid
// file. It is not waited for, read without end or believed.
func TestPlantedPIDFile(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.WriteFile(real, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		t.Fatal(err)
	}
	if w := pidFileWitness(real); w.pid != os.Getpid() || w.unknown != nil {
		t.Errorf("a pid file: %+v", w)
	}
	for kind, put := range map[string]func(path string) error{
		"pipe":             func(path string) error { return unix.Mkfifo(path, 0o666) },
		"link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"link":             func(path string) error { return os.Symlink(real, path) },
		"directory":        func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(t.TempDir(), "mysqld.pid")
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		done := make(chan witness, 1)
		go func() { done <- pidFileWitness(path) }()
		select {
		case w := <-done:
			if w.unknown == nil || w.pid != 0 {
				t.Errorf("%s: %+v", kind, w)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it waits", kind)
		}
	}
}

// TestPlantedSocket: only the socket of a server that is gone is removed, and
// its lock, and no link in its place leads anywhere.
func TestPlantedSocket(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	theirs := filepath.Join(elsewhere, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: theirs})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	if err := os.Symlink(theirs, path); err != nil {
		t.Fatal(err)
	}
	if err := removeSocket(t.Context(), path, 1); err == nil {
		t.Error("a link was taken for a socket")
	}
	if _, err := os.Lstat(theirs); err != nil {
		t.Error(err)
	}
	if err := removeSocket(t.Context(), theirs, 1); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(theirs); err == nil {
		t.Error("a dead socket is still there")
	}
}
