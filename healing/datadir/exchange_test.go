package datadir

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// crashVariable makes the test binary a child that does what it says.
const crashVariable = "RESILVER_TEST_CRASH"

func TestExchangeIsToldByInode(t *testing.T) {
	p, base := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	live, staged := p.Live.Ref, mustRef(t, p.Path(NameNew))
	for range 2 { // idempotent
		state, err := Exchange(live, staged)
		if err != nil || state != Done {
			t.Fatalf("state %q, %v", state, err)
		}
	}
	if !mustRef(t, live.Path).Same(staged) || !mustRef(t, staged.Path).Same(live) {
		t.Fatal("not exchanged")
	}
	if state, err := Exchange(Undo(live, staged)); err != nil || state != Done {
		t.Fatalf("undo: %q, %v", state, err)
	}
	if state, err := Exchanged(live, staged); err != nil || state != NotYet {
		t.Fatalf("after the undo: %q, %v", state, err)
	}
	before := snapshot(t, base)
	wrong := Ref{Path: staged.Path, Dev: staged.Dev, Ino: staged.Ino + 1}
	if _, err := Exchange(live, wrong); !errors.Is(err, ErrOther) {
		t.Errorf("another inode gave %v", err)
	}
	for name, pair := range map[string][2]Ref{
		"same":      {live, live},
		"no inode":  {live, {Path: staged.Path}},
		"same path": {live, {Path: live.Path, Dev: 1, Ino: 1}},
		"relative":  {live, {Path: "new", Dev: 1, Ino: 1}},
		"missing":   {live, {Path: p.Path(NameScratch), Dev: 1, Ino: 1}},
	} {
		if _, err := Exchange(pair[0], pair[1]); err == nil {
			t.Errorf("%s: exchanged", name)
		}
	}
	if after := snapshot(t, base); after != before {
		t.Fatalf("something changed:\n%s", after)
	}
}

// crash is what a crash point panics with.
type crash struct{}

// TestInvariant5CrashAnywhereIsOldOrNew: over random trees with planted links,
// a crash at any point of exchange and quarantine, then a resume forward or
// back, ends in exactly the old or exactly the new datadir; nothing outside is
// ever touched.
func TestInvariant5CrashAnywhereIsOldOrNew(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		dir := filepath.Join(base, fmt.Sprint(round))
		victim := filepath.Join(dir, "victim")
		write(t, filepath.Join(victim, "deep", "precious"), "precious")
		d := filepath.Join(dir, "mysql")
		newDatadir(t, d, "old")
		p, err := PlaceFor(d, "")
		must(t, err)
		_, err = p.Prepare()
		must(t, err)
		newDatadir(t, p.Path(NameNew), "new")
		randomTree(t, d, victim, "old")
		randomTree(t, p.Path(NameNew), victim, "new")
		live, staged := p.Live.Ref, mustRef(t, p.Path(NameNew))
		old, fresh, precious := snapshot(t, d), snapshot(t, staged.Path), snapshot(t, victim)

		points := rapid.SampledFrom([]string{"checked", "renamed", "synced-one", "synced-both", "labelled", "moved", "none"})
		for range rapid.IntRange(0, 3).Draw(t, "crashes") {
			swapUntil(t, p, live, staged, points.Draw(t, "point"))
		}
		if rapid.Bool().Draw(t, "back") {
			if _, err := Exchanged(live, staged); err == nil { // not in quarantine yet
				if _, err := Exchange(Undo(live, staged)); err != nil {
					t.Fatalf("undo: %v", err)
				}
				if got := snapshot(t, d); got != old {
					t.Fatalf("not the old datadir:\n%s", got)
				}
				must(t, p.Discard(staged))
				checkVictim(t, victim, precious)
				return
			}
		}
		swapUntil(t, p, live, staged, "none")
		if got := snapshot(t, d); got != fresh {
			t.Fatalf("not the new datadir:\n%s", got)
		}
		if got := snapshot(t, p.Path("old/r1")); got != old {
			t.Fatalf("the old datadir is not whole in quarantine:\n%s", got)
		}
		kept, err := p.Quarantined()
		must(t, err)
		must(t, p.prune(kept[0]))
		if exists(p.Path("old/r1")) {
			t.Fatalf("not pruned")
		}
		checkVictim(t, victim, precious)
	})
}

func checkVictim(t tb, victim, before string) {
	t.Helper()
	if after := snapshot(t, victim); after != before {
		t.Fatalf("a link was followed:\n%s", after)
	}
}

// swapUntil does what the swap step does, resumed as often as it is called,
// and crashes at a point.
func swapUntil(t tb, p Place, live, staged Ref, point string) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crash); !ok {
				panic(r)
			}
		}
	}()
	at := func(now string) {
		if now == point {
			panic(crash{})
		}
	}
	if !exists(p.Path("old/r1")) {
		if _, err := exchange(live, staged, at); err != nil {
			t.Fatalf("exchange: %v", err)
		}
	}
	if _, err := p.quarantine(Leaving{ID: "r1", Old: live}, time.Now(), at); err != nil {
		t.Fatalf("quarantine: %v", err)
	}
}

// randomTree adds files, directories and links to a tree.
func randomTree(t *rapid.T, root, victim, tag string) {
	dirs := []string{root}
	name := rapid.StringMatching(`[a-z#@.][a-z0-9#]{0,8}`)
	for range rapid.IntRange(0, 12).Draw(t, "entries") {
		path := filepath.Join(rapid.SampledFrom(dirs).Draw(t, "in"), name.Draw(t, "name"))
		if exists(path) {
			continue
		}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			must(t, os.WriteFile(path, []byte(tag+rapid.String().Draw(t, "content")), 0o640))
		case 2:
			must(t, os.Mkdir(path, 0o750))
			dirs = append(dirs, path)
		case 3:
			must(t, os.Symlink(filepath.Join(victim, "deep", "precious"), path))
		case 4:
			must(t, os.Symlink(rapid.SampledFrom([]string{victim, "/", "..", "../..", "nowhere"}).Draw(t, "to"), path))
			if root == dirs[0] && filepath.Dir(path) == root { // a flat datadir has none at its top
				must(t, os.Remove(path))
			}
		}
	}
}

// TestInvariant5KilledAnywhere: a process that exchanges and undoes without
// pause is killed at random instants; each time the inodes tell what is where.
func TestInvariant5KilledAnywhere(t *testing.T) {
	p, _ := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	live, staged := p.Live.Ref, mustRef(t, p.Path(NameNew))
	old, fresh := snapshot(t, live.Path), snapshot(t, staged.Path)
	for range 15 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{crashVariable + "=exchange", "LIVE=" + live.Path, "STAGED=" + staged.Path}
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("the child says %q", line)
		}
		timer := time.NewTimer(time.Duration(rand.IntN(8000)) * time.Microsecond)
		<-timer.C
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		state, err := Exchanged(live, staged)
		must(t, err)
		want := old
		if state == Done {
			want = fresh
		}
		if got := snapshot(t, live.Path); got != want {
			t.Fatalf("state %q, but the datadir is\n%s", state, got)
		}
		if _, err := Exchange(Undo(live, staged)); err != nil {
			t.Fatal(err)
		}
		if got := snapshot(t, live.Path); got != old {
			t.Fatalf("undone, but the datadir is\n%s", got)
		}
	}
}

// crashChild never returns.
func crashChild() {
	switch os.Getenv(crashVariable) {
	case "lock":
		holdLock(os.Getenv("DATADIR"))
	case "exchange":
		a, errA := RefOf(os.Getenv("LIVE"))
		b, errB := RefOf(os.Getenv("STAGED"))
		if errA != nil || errB != nil {
			os.Exit(3)
		}
		_, _ = os.Stdout.WriteString("ready\n")
		for {
			if _, err := Exchange(a, b); err != nil {
				os.Exit(3)
			}
			if _, err := Exchange(Undo(a, b)); err != nil {
				os.Exit(3)
			}
		}
	}
	os.Exit(2)
}
