package healing

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resilver/config/secret"
	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

func TestJournalSurvives(t *testing.T) {
	dir := t.TempDir()
	j := Journal{Token: 7, ClusterID: "c", Step: watchdog.StepSwap, Record: watchdog.Record{ID: "r1"},
		Live: datadir.Ref{Path: "/d", Dev: 1, Ino: 2}, Closed: &replica.Openness{ReadOnly: true}}
	if err := j.save(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	got, err := loadJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.Token != 7 || got.Step != watchdog.StepSwap || got.Record.ID != "r1" || got.Live != j.Live || !got.Closed.ReadOnly {
		t.Errorf("read back %+v", got)
	}
	if err := removeJournal(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := loadJournal(dir); got != nil || err != nil {
		t.Errorf("after removal: %v, %v", got, err)
	}
}

func TestInvariant13JournalHoldsNoSecret(t *testing.T) {
	dir := t.TempDir()
	j := Journal{Source: replica.SourceConfig{User: "repl", Password: secret.New("hunter2")}}
	if err := j.save(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(journalPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") {
		t.Error("the password stands in the journal")
	}
	info, err := os.Stat(journalPath(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestDamagedOrNewerJournalIsRefused(t *testing.T) {
	for name, text := range map[string]string{"damaged": "{", "newer": `{"version": 99}`, "no version": `{}`} {
		dir := t.TempDir()
		if err := os.WriteFile(journalPath(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadJournal(dir); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := StartGuard(dir, ""); err == nil {
			t.Errorf("%s: mysqld may start", name)
		}
	}
}

// TestJournalOnAFullDisk: written where room was kept for it, as often as it
// takes, the journal is the last one that was written, and no block of its room
// comes free in between.
func TestJournalOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	room := func() (blocks int64) {
		for _, path := range []string{journalPath(dir), reservePath(dir)} {
			var st unix.Stat_t
			must(unix.Stat(path, &st))
			blocks += st.Blocks
		}
		return blocks
	}
	must(keepReserve(dir))
	must((&Journal{Token: 1}).save(dir, time.Now()))
	before := room()
	for token := uint64(2); token < 20; token++ {
		j := Journal{Token: token, Version: journalFlat, Executed: strings.Repeat("x", int(token)*700)}
		b, err := json.Marshal(&j)
		must(err)
		must(saveInReserve(dir, padded(b, journalRoom)))
		got, err := loadJournal(dir)
		must(err)
		if got.Token != token || got.Executed != j.Executed {
			t.Fatalf("journal %d is read back as %d", token, got.Token)
		}
		if now := room(); now < before {
			t.Fatalf("%d blocks have come free for others", before-now)
		}
	}
	must(keepReserve(dir))
	if info, err := os.Stat(reservePath(dir)); err != nil || info.Size() < reserveBytes {
		t.Errorf("the reserve is not whole again: %v, %v", info, err)
	}
}

// TestJournalOnAFullDiskWithoutReserve: with nothing to write to it is an
// error, and the journal is as it was.
func TestJournalOnAFullDiskWithoutReserve(t *testing.T) {
	dir := t.TempDir()
	if err := (&Journal{Token: 1}).save(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(reservePath(dir), []byte("small"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := overwrite(reservePath(dir), padded([]byte("{}"), journalRoom)); err == nil {
		t.Error("the reserve has grown")
	}
	if got, err := loadJournal(dir); err != nil || got.Token != 1 {
		t.Errorf("the journal is %+v, %v", got, err)
	}
}

// TestStartGuard: between stop and start mysqld must not start; before and
// after it may, and a marker in the datadir forbids it whatever the journal says.
func TestStartGuard(t *testing.T) {
	for _, c := range []struct {
		name    string
		journal *Journal
		marked  bool
		may     bool
	}{
		{"no rebuild", nil, false, true},
		{"no rebuild, but marked", nil, true, false},
		{"staging", &Journal{Step: watchdog.StepStage}, false, true},
		{"rehearsed", &Journal{Step: watchdog.StepRehearse, Done: true}, false, true},
		{"stopping", &Journal{Step: watchdog.StepStop}, false, false},
		{"stopped", &Journal{Step: watchdog.StepStop, Done: true}, false, false},
		{"swapping", &Journal{Step: watchdog.StepSwap}, false, false},
		{"swapped", &Journal{Step: watchdog.StepSwap, Done: true}, false, false},
		{"starting", &Journal{Step: watchdog.StepStart}, false, true},
		{"starting, still marked", &Journal{Step: watchdog.StepStart}, true, false},
		{"stop undone", &Journal{Step: watchdog.StepStop, Back: true}, false, true},
		{"ended", &Journal{Step: watchdog.StepStop, Record: watchdog.Record{Outcome: watchdog.Cancelled}}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			state, live := t.TempDir(), t.TempDir()
			if err := (&Last{Datadir: live}).save(state); err != nil {
				t.Fatal(err)
			}
			if c.journal != nil {
				c.journal.Live.Path = live
				if err := c.journal.save(state, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if c.marked {
				if err := datadir.Mark(live, "rebuild r1"); err != nil {
					t.Fatal(err)
				}
			}
			if err := StartGuard(state, ""); (err == nil) != c.may {
				t.Errorf("may start: %t, want %t: %v", err == nil, c.may, err)
			}
		})
	}
}

func TestStartGuardWithoutAStateDirectoryLooksAtNothing(t *testing.T) {
	if err := StartGuard(filepath.Join(t.TempDir(), "never made"), ""); err != nil {
		t.Errorf("a server that resilver never saw may not start: %v", err)
	}
}

// TestStartGuardFindsTheMarkerWithoutAState: the state directory is lost in the
// middle of a swap; mysqld's own command line names the datadir.
func TestStartGuardFindsTheMarkerWithoutAState(t *testing.T) {
	live := t.TempDir()
	if err := datadir.Mark(live, "rebuild r1"); err != nil {
		t.Fatal(err)
	}
	if err := StartGuard(t.TempDir(), live); err == nil {
		t.Error("mysqld may start on a marked datadir")
	}
}

// TestAhead: what is left to do after a crash in or after stop.
func TestAhead(t *testing.T) {
	for _, c := range []struct {
		step watchdog.Step
		done bool
		want string
	}{
		{watchdog.StepStop, true, "swap start attach verify"},
		{watchdog.StepSwap, false, "swap start attach verify"},
		{watchdog.StepSwap, true, "start attach verify"},
		{watchdog.StepStart, false, "start attach verify"},
		{watchdog.StepAttach, true, "verify"},
		{watchdog.StepVerify, false, "verify"},
		{watchdog.StepVerify, true, ""},
	} {
		r := rebuild{j: Journal{Step: c.step, Done: c.done}}
		var got []string
		for _, s := range r.ahead() {
			got = append(got, string(s.name))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s, done %t: ahead are %v, want %s", c.step, c.done, got, c.want)
		}
	}
}

// TestCopiedCountsAsItGoes: the bytes of a copy count while it runs, and those
// of a second method once, too.
func TestCopiedCountsAsItGoes(t *testing.T) {
	var sum int64
	r := rebuild{h: &Healer{o: Options{Copied: func(n int64) { sum += n }}}}
	for _, step := range []struct{ done, want int64 }{{10, 10}, {30, 30}, {30, 30}, {0, 30}, {5, 35}, {4, 35}} {
		if r.copied(step.done, 100); sum != step.want {
			t.Errorf("after %d bytes: counted %d, want %d", step.done, sum, step.want)
		}
	}
}

func TestMeter(t *testing.T) {
	var m meter
	start := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	if r := m.perSecond(start); r != 0 {
		t.Errorf("nothing measured: %f", r)
	}
	for i := range 30 {
		m.add(start.Add(time.Duration(i)*time.Second), int64(i)*100)
	}
	if r := m.perSecond(start.Add(29 * time.Second)); r < 95 || r > 105 {
		t.Errorf("rate %f, want about 100", r)
	}
}
