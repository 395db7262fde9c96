package lab

import (
	"context"
	"io"
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

// A clone's own folders serve only where sockets and scripts can work in them.
func TestPlaceIsOneThatServersCanWorkIn(t *testing.T) {
	top, err := os.MkdirTemp("/tmp", "place-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	id := identity{uid: os.Getuid(), gid: os.Getgid()}
	for name, own := range map[string]bool{
		"clone": true, "a clone": false, "it's": false, "$HOME": false, "a:b": false, "klön": false,
		"a/clone/that/lies/much/too/deep/for/sockets": false,
	} {
		repo := filepath.Join(top, name)
		if err := os.MkdirAll(repo, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(repo, "go.mod"), []byte("module resilver\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Chdir(repo)
		p, err := choosePlace(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.HasPrefix(p.servers, repo) && strings.HasPrefix(p.labs, repo); got != own {
			t.Errorf("%s: %+v", repo, p)
		}
		if lab := filepath.Join(p.labs, longestLab); len(lab) > maxPath {
			t.Errorf("%s is too deep", lab)
		}
	}
}

// A machine without a server and without apt gets an error that says what to
// do, and nothing half-made is left.
func TestNoServerIsAnError(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, e := range []*engine{mysqlEngine(), mariadbEngine()} {
		cache := t.TempDir()
		s, err := unpacked(t.Context(), e, cache, io.Discard)
		if err == nil {
			t.Fatalf("got a server from nowhere: %s", s)
		}
		if text := err.Error(); !strings.Contains(text, e.programs[0]) || !strings.Contains(text, "on the PATH") || strings.Contains(text, "\n") {
			t.Errorf("the cure is not named in one line: %s", text)
		}
		entries, err := os.ReadDir(cache)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != e.name+".lock" {
				t.Errorf("%s is left behind", entry.Name())
			}
		}
	}
}

// A server of the other engine, or too old, is not taken, nor one without its
// tools.
func TestInstalledServerMustFit(t *testing.T) {
	mysql, mariadb := mysqlEngine(), mariadbEngine()
	for _, tt := range []struct {
		engine *engine
		text   string
		want   string
	}{
		{mysql, "Ver 9.7.4-2 for Linux on x86_64 ((Debian))", "9.7.4"},
		{mysql, "Ver 8.0.36-28 for Linux on x86_64 (Percona Server (GPL))", "8.0.36"},
		{mysql, "Ver 8.0.22 for Linux on x86_64 (MySQL Community)", ""},
		{mysql, "Ver 10.11.18-MariaDB-0+deb12u1 for debian-linux-gnu", ""},
		{mysql, "something else", ""},
		{mariadb, "Ver 10.11.18-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", "10.11.18"},
		{mariadb, "Ver 11.8.2-MariaDB-log for Linux", "11.8.2"},
		{mariadb, "Ver 10.5.29-MariaDB for Linux", ""},
		{mariadb, "Ver 9.7.4-2 for Linux on x86_64 ((Debian))", ""},
	} {
		dir := t.TempDir()
		t.Setenv("PATH", dir)
		script := "#!/bin/sh\necho '" + filepath.Join(dir, "server") + "  " + tt.text + "'\n"
		for _, program := range tt.engine.programs {
			if s, ok := installed(t.Context(), tt.engine, ""); ok {
				t.Errorf("%q: taken without %s as %+v", tt.text, program, s)
			}
			if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s, ok := installed(t.Context(), tt.engine, "")
		if ok != (tt.want != "") || ok && (s.Version != tt.want || s.Engine != tt.engine.name) {
			t.Errorf("%s, %q: taken %t as %+v, want %q", tt.engine.name, tt.text, ok, s, tt.want)
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
