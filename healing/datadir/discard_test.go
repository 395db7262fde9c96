package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestX3DiscardOnlyWhatTheJournalNames: X3 and X4, nothing is removed but the
// directory of the area that is named by its inode.
func TestX3DiscardOnlyWhatTheJournalNames(t *testing.T) {
	p, base := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	newDatadir(t, p.Path(NameScratch), "scratch")
	newDatadir(t, filepath.Join(base, "other"), "other")
	staged, scratch := mustRef(t, p.Path(NameNew)), mustRef(t, p.Path(NameScratch))
	before := snapshot(t, base)
	for name, ref := range map[string]Ref{
		"nothing":           {},
		"no inode":          {Path: staged.Path},
		"another inode":     {Path: staged.Path, Dev: staged.Dev, Ino: scratch.Ino},
		"another device":    {Path: staged.Path, Dev: staged.Dev + 1, Ino: staged.Ino},
		"the area":          mustRef(t, p.Root),
		"old itself":        mustRef(t, p.Path(NameOld)),
		"the live datadir":  p.Live.Ref,
		"outside":           mustRef(t, filepath.Join(base, "other")),
		"the parent":        mustRef(t, base),
		"below":             mustRef(t, filepath.Join(staged.Path, "db")),
		"around the corner": {Path: p.Root + "/old/../new", Dev: staged.Dev, Ino: staged.Ino},
		"live by area name": {Path: staged.Path, Dev: p.Live.Dev, Ino: p.Live.Ino},
	} {
		if err := p.Discard(ref); err == nil {
			t.Errorf("%s: discarded", name)
		}
	}
	if after := snapshot(t, base); after != before {
		t.Fatalf("something was removed:\n%s", after)
	}
	must(t, p.Discard(staged, scratch))
	must(t, p.Discard(staged, scratch)) // again after a crash
	if exists(staged.Path) || exists(scratch.Path) {
		t.Error("still there")
	}
	if !exists(filepath.Join(base, "other", "db", "t.ibd")) || !exists(filepath.Join(p.Live.Path, "db", "t.ibd")) {
		t.Error("something else is gone")
	}
}

func TestDiscardFollowsNoLink(t *testing.T) {
	p, base := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	victim := filepath.Join(base, "victim")
	write(t, filepath.Join(victim, "deep", "precious"), "precious")
	before := snapshot(t, victim)
	must(t, os.Symlink(victim, filepath.Join(p.Path(NameNew), "link")))
	must(t, os.Symlink(filepath.Join(victim, "deep"), filepath.Join(p.Path(NameNew), "db", "link")))
	must(t, unix.Mkfifo(filepath.Join(p.Path(NameNew), "pipe"), 0o600))
	staged := mustRef(t, p.Path(NameNew))
	must(t, p.Discard(staged))
	// The area's own directory exchanged for a link.
	must(t, os.Symlink(victim, p.Path(NameNew)))
	if err := p.Discard(Ref{Path: p.Path(NameNew), Dev: staged.Dev, Ino: mustRef(t, victim).Ino}); err == nil {
		t.Error("discarded through a link")
	}
	if after := snapshot(t, victim); after != before {
		t.Fatalf("victim changed:\n%s", after)
	}
}

func TestDiscardRefusesWhatIsInUse(t *testing.T) {
	p, _ := setUp(t)
	newDatadir(t, p.Path(NameScratch), "scratch")
	ref := mustRef(t, p.Path(NameScratch))
	unlock, err := LockSystemTablespace(ref.Path)
	must(t, err)
	var inUse *InUseError
	if err := p.Discard(ref); !errors.As(err, &inUse) {
		t.Fatalf("discarding a datadir in use gave %v", err)
	}
	must(t, unlock())
	must(t, p.Discard(ref))
}

func TestQuarantineAndPrune(t *testing.T) {
	p, _ := setUp(t)
	begin := time.Now()
	for i, id := range []string{"r1", "r2", "r3"} {
		newDatadir(t, p.Path(NameNew), id)
		live, staged := mustRef(t, p.Live.Path), mustRef(t, p.Path(NameNew))
		if _, err := p.Quarantine(Leaving{ID: id, Old: live}); err == nil {
			t.Fatal("the live datadir went into quarantine")
		}
		if _, err := Exchange(live, staged); err != nil {
			t.Fatal(err)
		}
		moved, err := p.quarantine(Leaving{ID: id, Old: live}, begin.Add(time.Duration(i)*time.Hour), func(string) {})
		must(t, err)
		again, err := p.Quarantine(Leaving{ID: id, Old: live})
		must(t, err)
		if !moved.Same(live) || moved != again || mustRef(t, p.Path("old/"+id)) != moved || exists(p.Path(NameNew)) {
			t.Fatalf("moved %v, again %v", moved, again)
		}
	}
	if _, err := p.Quarantine(Leaving{ID: "../x", Old: p.Live.Ref}); err == nil {
		t.Error("an id with a path was accepted")
	}
	must(t, os.Mkdir(p.Path("old/by-hand"), 0o750)) // nothing of ours
	kept, err := p.Quarantined()
	must(t, err)
	if len(kept) != 3 || kept[0].ID != "r3" || kept[2].ID != "r1" {
		t.Fatalf("kept %+v", kept)
	}
	prune := func(l Limits, want ...string) {
		t.Helper()
		removed, err := p.Prune(l)
		must(t, err)
		if len(removed) != len(want) {
			t.Fatalf("removed %+v, wanted %v", removed, want)
		}
		for i, k := range removed {
			if k.ID != want[i] || exists(k.Ref.Path) || exists(k.Ref.Path+".json") {
				t.Fatalf("removed %+v, wanted %v", removed, want)
			}
		}
	}
	now := begin.Add(4 * time.Hour)
	wanted := func(n int64) func(int64) int64 { return func(int64) int64 { return n } }
	prune(Limits{Now: now, Keep: 10 * time.Hour})
	prune(Limits{Now: now, Keep: 10 * time.Hour, MinFree: wanted(1)})
	prune(Limits{Now: now, Keep: 3*time.Hour + time.Minute}, "r1")
	prune(Limits{Now: now, Keep: 10 * time.Hour, MinFree: wanted(1 << 62)}, "r2")
	prune(Limits{Now: now, Keep: time.Second, MinFree: wanted(1 << 62)}) // never the newest
	if !exists(p.Path("old/by-hand")) {
		t.Error("removed what is not ours")
	}
}

// TestPruneRefusesAnExchangedDirectory: a label only speaks for its inode.
func TestPruneRefusesAnExchangedDirectory(t *testing.T) {
	p, _ := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	live := p.Live.Ref
	if _, err := Exchange(live, mustRef(t, p.Path(NameNew))); err != nil {
		t.Fatal(err)
	}
	moved, err := p.Quarantine(Leaving{ID: "r1", Old: live})
	must(t, err)
	must(t, os.Rename(p.Path("old/r1"), p.Path("old/saved")))
	newDatadir(t, p.Path("old/r1"), "a person's")
	kept, err := p.Quarantined()
	must(t, err)
	if len(kept) != 0 {
		t.Errorf("kept %+v", kept)
	}
	if err := p.prune(Kept{ID: "r1", Ref: moved}); !errors.Is(err, ErrOther) || !exists(p.Path("old/r1")) || !exists(p.Path("old/saved")) {
		t.Fatalf("pruned: %v", err)
	}
}

// TestArchiveLivesWithItsDatadir: it is labelled with the old datadir, goes
// after it and never before, and is removed where the datadir stays.
func TestArchiveLivesWithItsDatadir(t *testing.T) {
	p, base := setUp(t)
	keep := func(id string) Archive {
		t.Helper()
		a, err := p.Archive(id)
		must(t, err)
		must(t, a.Create("log", func(f *os.File) error { _, err := f.WriteString("events"); return err }))
		must(t, a.Replace("manifest.json", []byte("{}")))
		must(t, a.Replace("manifest.json", []byte(`{"version":1}`)))
		return a
	}
	a := keep("r1")
	uid, gid := owner()
	for _, name := range []string{"", "log", "manifest.json"} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(a.Ref.Path, name), &st))
		if int(st.Uid) != uid || int(st.Gid) != gid || st.Mode&0o007 != 0 {
			t.Errorf("%q belongs to %d:%d, mode %o", name, st.Uid, st.Gid, st.Mode)
		}
	}
	if err := a.Create("log", func(*os.File) error { return nil }); err == nil {
		t.Error("a file was written over")
	}
	must(t, os.WriteFile(filepath.Join(base, "outside"), []byte("x"), 0o600))
	must(t, os.Symlink(filepath.Join(base, "outside"), filepath.Join(a.Ref.Path, "link")))
	if err := a.Create("link", func(f *os.File) error { _, err := f.WriteString("spoiled"); return err }); err == nil {
		t.Error("a link was followed")
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, id := range []string{"r1", "r2"} {
		newDatadir(t, p.Path(NameNew), id)
		live := mustRef(t, p.Live.Path)
		_, err := Exchange(live, mustRef(t, p.Path(NameNew)))
		must(t, err)
		_, err = p.quarantine(Leaving{ID: id, Old: live}, begin.Add(time.Duration(i)*time.Hour), func(string) {})
		must(t, err)
	}
	kept, err := p.Quarantined()
	must(t, err)
	if len(kept) != 2 || kept[1].Archive == nil || !kept[1].Archive.Same(a.Ref) || kept[1].Note == "" || kept[0].Archive != nil {
		t.Fatalf("kept %+v", kept)
	}
	// A datadir that cannot go keeps its archive.
	must(t, os.Rename(p.Path("old/r1"), p.Path("old/saved")))
	must(t, os.Mkdir(p.Path("old/r1"), 0o750))
	if err := p.prune(kept[1]); err == nil || !exists(a.Ref.Path) {
		t.Errorf("the archive went before its datadir: %v", err)
	}
	must(t, os.Remove(p.Path("old/r1")))
	must(t, os.Rename(p.Path("old/saved"), p.Path("old/r1")))
	removed, err := p.Prune(Limits{Now: begin.Add(10 * time.Hour), Keep: time.Hour})
	must(t, err)
	if len(removed) != 1 || exists(a.Ref.Path) || exists(p.Path("old/r1")) || exists(p.Path("old/r1.json")) || !exists(filepath.Join(base, "outside")) {
		t.Errorf("removed %+v", removed)
	}
	// A person took the datadir away; what he left stays.
	left := keep("r2")
	shelf, err := openDir(p.Path(NameOld))
	must(t, err)
	defer shelf.Close()
	gone := Kept{ID: "r2", Ref: kept[0].Ref, Since: begin, Archive: &left.Ref}
	must(t, replaceLabel(shelf, gone))
	must(t, p.Discard(kept[0].Ref))
	removed, err = p.Prune(Limits{Now: begin.Add(10 * time.Hour), Keep: time.Hour})
	must(t, err)
	if len(removed) != 0 || !exists(left.Ref.Path) || !exists(p.Path("old/r2.json")) {
		t.Errorf("what a person left was removed: %+v", removed)
	}
	// The process died when the datadir was gone, and its archive was not.
	must(t, markGoing(shelf, gone))
	removed, err = p.Prune(Limits{Now: begin, Keep: time.Hour})
	must(t, err)
	if len(removed) != 1 || exists(left.Ref.Path) || exists(p.Path("old/r2.json")) {
		t.Errorf("what a death in the middle left is still there: %+v", removed)
	}
	b := keep("r3")
	must(t, p.DiscardArchive("r3"))
	must(t, p.DiscardArchive("r3"))
	if exists(b.Ref.Path) {
		t.Error("the archive of a datadir that stays is still there")
	}
}
