package healing

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// wipeCase is a journal in the step wipe, on real directories.
type wipeCase struct {
	r     *rebuild
	state string
	data  string // a file of the old data
}

func newWipeCase(t *testing.T) *wipeCase {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.Chmod(base, 0o755))
	live, state := filepath.Join(base, "mysql"), filepath.Join(base, "state")
	must(t, os.MkdirAll(filepath.Join(live, "mysql"), 0o750))
	must(t, os.Mkdir(state, 0o700))
	for _, name := range []string{"ibdata1", "auto.cnf", "t.ibd"} {
		must(t, os.WriteFile(filepath.Join(live, name), []byte(name), 0o640))
	}
	place, err := datadir.PlaceFor(live, "")
	must(t, err)
	_, err = place.Prepare()
	must(t, err)
	h := &Healer{o: Options{StateDir: state, Preserve: []string{"auto.cnf"}, Failpoint: func(string) {}, Logger: slog.New(slog.DiscardHandler)}, life: context.Background()}
	r := &rebuild{h: h, place: place, log: h.o.Logger}
	r.j = Journal{Step: watchdog.StepWipe, WipeFirst: true, Live: place.Live.Ref, Was: place.Live, Away: watchdog.StampOf(time.Now()),
		Record: watchdog.Record{ID: "r1", By: "ann (uid 7)", Trigger: watchdog.TriggerManual}}
	return &wipeCase{r, state, "t.ibd"}
}

// husk brings it to where the old data may go.
func (c *wipeCase) husk(t *testing.T) {
	t.Helper()
	by := c.r.wipedBy()
	husk, err := c.r.place.Husk(by.Words(), c.r.h.o.Preserve)
	must(t, err)
	must(t, c.r.note(func(j *Journal) { j.Husk = husk }))
	last := Last{Observation: watchdog.Observation{Executed: "u:1-5", OfflineMode: true, Sources: []watchdog.SourceStatus{{Retrieved: "u:1-6"}}}}
	must(t, c.r.noteWiped(last))
}

// again is what the next process finds.
func (c *wipeCase) again(t *testing.T) {
	t.Helper()
	j, err := loadJournal(c.state)
	must(t, err)
	place, err := j.place()
	must(t, err)
	c.r = &rebuild{h: c.r.h, j: *j, place: place, log: c.r.log}
}

// TestWipeGoesBackOrForward: until the husk is live the node has data, and the
// start guard alone keeps its server down; from then on it has none, and no
// server may start, with or without a journal. Whoever finds the data still
// going removes them.
func TestWipeGoesBackOrForward(t *testing.T) {
	c := newWipeCase(t)
	must(t, c.r.note(func(*Journal) {}))
	wiped := func(want datadir.State) {
		t.Helper()
		c.again(t)
		if got, err := c.r.j.wiped(); err != nil || got != want {
			t.Fatalf("wiped: %s, %v; want %s", got, err, want)
		}
		if w := c.r.h.Wiped(); (w != nil) != (want == datadir.Done) {
			t.Fatalf("the node was wiped by %+v, with the journal at %s", w, want)
		}
		if StartGuard(c.state, "") == nil {
			t.Fatal("mysqld may start in the middle of a wipe")
		}
	}
	wiped(datadir.NotYet)
	c.husk(t)
	wiped(datadir.NotYet)
	_, err := datadir.Wipe(c.r.j.Live, c.r.j.Husk)
	must(t, err)
	wiped(datadir.Done)
	if _, err := os.Stat(filepath.Join(c.r.place.Path(datadir.NameGoing), c.data)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more changes nothing
		must(t, c.r.removeData())
		wiped(datadir.Done)
		must(t, c.r.tidyWipe())
		if exists(c.r.place.Path(datadir.NameGoing)) {
			t.Fatal("the old data are left")
		}
	}
	// The copy gets the inode of the old data, and the process died before the
	// journal forgot them.
	must(t, c.r.note(func(j *Journal) {
		j.Going = datadir.Ref{Path: c.r.place.Path(datadir.NameGoing), Dev: j.Live.Dev, Ino: j.Live.Ino}
	}))
	if must(t, c.r.tidyWipe()); c.r.j.Going.Ino != 0 {
		t.Error("the journal remembers data that are gone")
	}
	if !c.r.j.Bare || !c.r.place.Live.Ref.Same(c.r.j.Husk) || c.r.j.Version != journalWiped {
		t.Errorf("bare %t, live %s, version %d", c.r.j.Bare, c.r.place.Live.Ref, c.r.j.Version)
	}
	must(t, removeJournal(c.state))
	must(t, (&Last{Datadir: c.r.j.Live.Path}).save(c.state))
	if err := StartGuard(c.state, ""); err == nil || !strings.Contains(err.Error(), "no data here since") {
		t.Errorf("without a journal the start guard says %v", err)
	}
	if err := StartGuard(t.TempDir(), c.r.j.Live.Path); err == nil {
		t.Error("mysqld may start where the state directory is lost")
	}
}

// TestBootInAWipe: after a reboot the old data, still whole, serve again before
// there is a sidecar; what is wiped waits for it.
func TestBootInAWipe(t *testing.T) {
	for _, exchanged := range []bool{false, true} {
		c := newWipeCase(t)
		must(t, datadir.Mark(c.r.j.Live.Path, "rebuild r1"))
		c.husk(t)
		if exchanged {
			_, err := datadir.Wipe(c.r.j.Live, c.r.j.Husk)
			must(t, err)
		}
		must(t, Finish(c.state, c.r.log))
		if err := StartGuard(c.state, ""); (err != nil) != exchanged {
			t.Errorf("exchanged %t: the start guard says %v", exchanged, err)
		}
		c.again(t)
		want := map[bool]datadir.State{false: datadir.NotYet, true: datadir.Done}[exchanged]
		if got, err := c.r.j.wiped(); got != want || err != nil || c.r.j.Back == exchanged {
			t.Errorf("exchanged %t: wiped %s, %v, back %t", exchanged, got, err, c.r.j.Back)
		}
	}
}

// TestWhatOutlivesAWipe: the note has what the server was, and neither what it
// had executed nor how resilver had closed it; it counts for nothing once
// another directory is live, and the password stays as long as it counts.
func TestWhatOutlivesAWipe(t *testing.T) {
	c := newWipeCase(t)
	c.husk(t)
	must(t, os.WriteFile(passwordPath(c.state), []byte("hunter2"), 0o600))
	if c.r.h.Wiped() != nil {
		t.Fatal("it is wiped before the exchange")
	}
	_, err := datadir.Wipe(c.r.j.Live, c.r.j.Husk)
	must(t, err)
	w := c.r.h.Wiped()
	if w == nil || w.By != "ann (uid 7)" || w.Rebuild != "r1" || w.Since.IsZero() {
		t.Fatalf("wiped: %+v", w)
	}
	last, err := c.r.h.known()
	must(t, err)
	if o := last.Observation; !last.bare || o.Executed != "" || o.OfflineMode || o.Sources[0].Retrieved != "" || last.Inode != c.r.j.Husk.Ino {
		t.Errorf("last: %+v", last)
	}
	must(t, c.r.removeData())
	must(t, c.r.forget(t.Context()))
	if !exists(passwordPath(c.state)) || !exists(wipedPath(c.state)) {
		t.Error("what the next rebuild needs is gone")
	}
	b, err := os.ReadFile(wipedPath(c.state))
	must(t, err)
	if strings.Contains(string(b), "hunter2") {
		t.Error("the password stands in the note")
	}
	// A copy comes in its place.
	must(t, os.Rename(c.r.j.Live.Path, c.r.j.Live.Path+".away"))
	must(t, os.Mkdir(c.r.j.Live.Path, 0o750))
	if c.r.h.Wiped() != nil {
		t.Error("another directory is taken for the husk")
	}
	must(t, c.r.forget(t.Context()))
	if exists(passwordPath(c.state)) || exists(wipedPath(c.state)) {
		t.Error("what was kept for the next rebuild is left")
	}
}

// TestOnlyAHuskIsDropped: what the copy has replaced is removed only if it is a
// husk by its contents, whatever the journal says of it.
func TestOnlyAHuskIsDropped(t *testing.T) {
	c := newWipeCase(t)
	must(t, c.r.note(func(j *Journal) { j.Bare = true }))
	old := c.r.place.Path(datadir.NameNew)
	must(t, os.Rename(c.r.j.Live.Path, old))
	must(t, os.Mkdir(c.r.j.Live.Path, 0o750))
	must(t, c.r.dropHusk())
	if _, err := os.Stat(filepath.Join(c.r.place.Path("old/r1"), c.data)); err != nil {
		t.Errorf("data were thrown away as a husk: %v", err)
	}
}

// TestWipeIsAStepOfItsOwn: it stands before stage, and only until it is done.
func TestWipeIsAStepOfItsOwn(t *testing.T) {
	names := func(r *rebuild) (out []watchdog.Step) {
		for _, s := range r.copying() {
			out = append(out, s.name)
		}
		return out
	}
	r := &rebuild{}
	plain := names(r)
	r.j.WipeFirst = true
	if got := names(r); slices.Index(got, watchdog.StepWipe)+1 != slices.Index(got, watchdog.StepStage) || len(got) != len(plain)+1 {
		t.Errorf("steps %v", got)
	}
	r.j.Bare = true
	if got := names(r); !slices.Equal(got, plain) {
		t.Errorf("steps %v", got)
	}
	h := &Healer{o: Options{StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}, life: context.Background()}
	for _, trigger := range []string{watchdog.TriggerAuto, watchdog.TriggerDrill, watchdog.TriggerBackup, watchdog.TriggerRollback} {
		if _, err := h.Begin(t.Context(), watchdog.Order{Trigger: trigger, Wish: watchdog.Wish{WipeFirst: true}}); err == nil || h.running != nil {
			t.Errorf("%s may wipe", trigger)
		}
	}
	b, err := json.Marshal(Journal{})
	must(t, err)
	for _, field := range []string{"wipe_first", "bare", "husk", "going"} {
		if strings.Contains(string(b), field) {
			t.Errorf("%s is in a journal that knows nothing of it", field)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
