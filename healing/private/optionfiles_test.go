package private

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadOnly(t *testing.T) {
	for options, want := range map[string]bool{
		"":                              false,
		"--port=1":                      false,
		"--super_read_only":             true,
		"--super-read-only=ON --port=1": true,
		"--read_only=1":                 true,
		"--loose-super_read_only=true":  true,
		"--super_read_only=ON --super-read-only=0": false,
		"--super_read_only=0 --super_read_only=ON": true,
		"--super_read_only --skip-super-read-only": false,
		"--read_only=OFF":                          false,
		"--read_only=NO_LOCK":                      false,
		"--read_only_compressed":                   false,
	} {
		if got := ReadOnly(strings.Fields(options)); got != want {
			t.Errorf("%s: %t, want %t", options, got, want)
		}
	}
}

// TestOptionFiles asks the real programs of both engines. Behind --no-defaults
// they take --print-defaults for nothing and start (tried with 9.7.4), so they
// are not run then.
func TestOptionFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "my.cnf")
	if err := os.WriteFile(file, []byte("[mysqld]\nsuper_read_only\nport = 1\n[mysqld]\nread-only=ON\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mysql, err := mysqld()
	if err != nil {
		t.Fatal(err)
	}
	maria, _ := mariaBin(t)
	for _, program := range []string{mysql, filepath.Join(maria, "mariadbd")} {
		p := Program{Prefix: []string{program}, Args: []string{"--defaults-file=" + file, "--datadir=/nowhere"}, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
		options, err := OptionFiles(t.Context(), p)
		if err != nil || !slices.Contains(options, "--port=1") || !ReadOnly(options) {
			t.Errorf("%s: %q %v", program, options, err)
		}
		p.Args = []string{"--no-defaults", "--datadir=/nowhere"}
		if options, err := OptionFiles(t.Context(), p); err != nil || len(options) != 0 {
			t.Errorf("%s without option files: %q %v", program, options, err)
		}
		p.Args = []string{"--defaults-file=" + file + ".not"}
		if options, err := OptionFiles(t.Context(), p); err == nil {
			t.Errorf("%s with a file that is not there: %q", program, options)
		}
	}
}
