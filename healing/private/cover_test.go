package private

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shellIn runs a script on a thread with covers.
func shellIn(t *testing.T, covers []Cover, writable []string, script string) string {
	t.Helper()
	var out []byte
	err := onThread(func() error {
		if err := enclose(covers, writable); err != nil {
			return err
		}
		out, _ = exec.Command("sh", "-c", script).CombinedOutput()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestInvariant16Covers: what a private server writes to a covered directory
// lands in the cover, it can write nowhere else, and nobody but it sees any of
// that; covers may lie in each other, and a link is not followed. Without the
// right to do so, none is promised.
func TestInvariant16Covers(t *testing.T) {
	if os.Geteuid() != 0 {
		if CheckCover() == nil {
			t.Fatal("covers without root")
		}
		return
	}
	if err := CheckCover(); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	path := func(name string) string { return filepath.Join(base, name) }
	for _, dir := range []string{"ext/lab", "a/new", "b/new", "area", "victim"} {
		if err := os.MkdirAll(path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"ext/g.ibd", "ext/lab/far.ibd", "victim/precious"} {
		if err := os.WriteFile(path(name), []byte("live"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	covers := []Cover{{path("ext/lab"), path("b/new")}, {path("ext"), path("a/new")}}
	out := shellIn(t, covers, []string{path("area")}, "cd "+base+`
		cat ext/g.ibd ext/lab/far.ibd; echo new > ext/g.ibd; echo new > ext/lab/far.ibd; echo new > area/x
		echo bad > victim/precious; echo bad > stray; rm victim/precious; mkdir `+path("ext/deep/er")+` -p`)
	if n := strings.Count(out, "No such file"); n != 2 {
		t.Errorf("a live file could be seen: %s", out)
	}
	if n := strings.Count(out, "Read-only file system"); n != 3 {
		t.Errorf("something else could be written to: %s", out)
	}
	for name, want := range map[string]string{"ext/g.ibd": "live", "ext/lab/far.ibd": "live", "victim/precious": "live",
		"a/new/g.ibd": "new\n", "b/new/far.ibd": "new\n", "area/x": "new\n"} {
		if text, err := os.ReadFile(path(name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
	if _, err := os.Stat(path("stray")); err == nil {
		t.Error("a file was made outside")
	}
	if err := os.Symlink(path("victim"), path("link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Cover{{path("link"), path("a/new")}, {path("ext"), path("link")}, {path("victim"), path("none")}} {
		if err := onThread(func() error { return enclose([]Cover{c}, nil) }); err == nil {
			t.Errorf("%+v was mounted", c)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), base) {
		t.Errorf("a cover is mounted for all: %v", err)
	}
}
