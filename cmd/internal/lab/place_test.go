package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestMayReachAsksEveryDirectoryOnTheWay(t *testing.T) {
	top := t.TempDir()
	if err := os.Chmod(filepath.Dir(top), 0o755); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(top, "closed", "open")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	stranger := identity{uid: 4242, gid: 4242}
	for _, tt := range []struct {
		mode os.FileMode
		want bool
	}{{0o755, true}, {0o711, true}, {0o700, false}, {0o754, false}} {
		if err := os.Chmod(filepath.Join(top, "closed"), tt.mode); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{inner, filepath.Join(inner, "not", "there", "yet")} {
			if got, err := stranger.mayReach(path); err != nil || got != tt.want {
				t.Errorf("through %o to %s: %t, %v, want %t", tt.mode, path, got, err, tt.want)
			}
		}
	}
}

// A machine without a server and without apt gets an error that says what to
// do, and nothing half-made is left.
func TestNoServerIsAnError(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	cache := t.TempDir()
	var out strings.Builder
	if s, err := unpacked(t.Context(), cache, &out); err == nil {
		t.Fatalf("got a server from nowhere: %s", s)
	}
	if !strings.Contains(out.String(), "put MySQL's mysqld on the PATH") {
		t.Errorf("the cure is not named: %s", out.String())
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "mysql.lock" {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

// A mysqld of another kind, or too old, is not taken for MySQL.
func TestInstalledServerMustBeMySQL(t *testing.T) {
	for text, want := range map[string]string{
		"Ver 9.7.4-2 for Linux on x86_64 ((Debian))":               "9.7.4",
		"Ver 8.0.36-28 for Linux on x86_64 (Percona Server (GPL))": "8.0.36",
		"Ver 8.0.22 for Linux on x86_64 (MySQL Community)":         "",
		"Ver 10.11.18-MariaDB-0+deb12u1 for debian-linux-gnu":      "",
		"something else": "",
	} {
		dir := t.TempDir()
		mysqld := filepath.Join(dir, "mysqld")
		script := "#!/bin/sh\necho '" + mysqld + "  " + text + "'\n"
		for _, path := range []string{mysqld, filepath.Join(dir, "mysql")} {
			if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir)
		s, ok := installed(t.Context(), "")
		if ok != (want != "") || ok && s.Version != want {
			t.Errorf("%q: taken %t as %+v, want %q", text, ok, s, want)
		}
	}
}

func TestLabsClaimNetworksOfTheirOwn(t *testing.T) {
	const labs = 5
	got := make([]int, labs)
	var wg sync.WaitGroup
	for i := range got {
		dir := t.TempDir()
		wg.Go(func() {
			x, err := claim(context.Background(), dir, 3)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = x
		})
		t.Cleanup(func() {
			if err := unclaim(got[i], dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, x := range got {
		if seen[x] {
			t.Errorf("network %d was given twice: %v", x, got)
		}
		seen[x] = true
	}
}

func TestSetReachesAnyKey(t *testing.T) {
	conf := tree{"policy": tree{"broken_for": "5s"}}
	for key, value := range map[string]string{"policy.broken_for": "10s", "policy.budget.node_per_day": "3", "lease.ttl": "1m", "donor.primary": "never"} {
		if err := conf.put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	policy := conf["policy"].(tree)
	if policy["broken_for"] != "10s" || policy["budget"].(tree)["node_per_day"] != 3 || conf["lease"].(tree)["ttl"] != "1m" {
		t.Errorf("got %v", conf)
	}
	if err := conf.put("a.b", "[1, "); err == nil {
		t.Error("broken YAML was accepted")
	}
}
