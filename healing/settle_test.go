package healing

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// TestSettleIsAStep: journal, status and metric show it like any other; what
// the rebuild ended in stays known, also to a process that settles again.
func TestSettleIsAStep(t *testing.T) {
	var timed []watchdog.Step
	var seen []*Journal
	h := &Healer{life: context.Background()}
	r := &rebuild{h: h, gone: true, log: slog.New(slog.DiscardHandler), j: Journal{Step: watchdog.StepStage, Record: watchdog.Record{ID: "r1", Outcome: watchdog.Failed}}}
	h.running = r
	h.o = Options{StateDir: t.TempDir(), Ended: func(watchdog.Record) {},
		Stepped: func(s watchdog.Step, _ time.Duration) { timed = append(timed, s) },
		Failpoint: func(point string) {
			if point != "settle.begin" {
				return
			}
			j, err := loadJournal(h.o.StateDir)
			if err != nil {
				t.Error(err)
			}
			seen = append(seen, j)
			if p := h.Progress(); p.Step != watchdog.StepSettle {
				t.Errorf("status shows step %q", p.Step)
			}
		}}
	r.settle()
	h.running = r
	r.settle()
	if len(seen) != 2 || seen[0] == nil || seen[1] == nil {
		t.Fatalf("journals: %v", seen)
	}
	for _, j := range seen {
		if j.Step != watchdog.StepSettle || j.Done || j.Stood != watchdog.StepStage {
			t.Errorf("the journal says step %q, done %t, stood %q", j.Step, j.Done, j.Stood)
		}
	}
	if want := []watchdog.Step{watchdog.StepSettle, watchdog.StepSettle}; !slices.Equal(timed, want) {
		t.Errorf("timed %v", timed)
	}
	if _, err := os.Stat(journalPath(h.o.StateDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the journal is left: %v", err)
	}
}

// TestSettleRemovesOnlyItsOwnCopy: a directory at new that the journal does
// not know yet was made by this rebuild where it ended in stage; before that it
// may be old data, and stays.
func TestSettleRemovesOnlyItsOwnCopy(t *testing.T) {
	for step, goes := range map[watchdog.Step]bool{watchdog.StepPreflight: false, watchdog.StepQuarantine: false, watchdog.StepStage: true} {
		f := newHalf(t, step, false)
		f.j.Staged, f.j.Record.Outcome = datadir.Ref{}, watchdog.Cancelled
		place, err := datadir.PlaceFor(f.j.Live.Path, "")
		f.do(t, err)
		h := &Healer{life: context.Background(), o: Options{StateDir: f.state, Logger: slog.New(slog.DiscardHandler),
			Ended: func(watchdog.Record) {}, Stepped: func(watchdog.Step, time.Duration) {}, Failpoint: func(string) {}}}
		r := &rebuild{h: h, gone: true, place: place, log: h.o.Logger, j: *f.j}
		r.settle()
		_, err = os.Stat(filepath.Join(place.Root, datadir.NameNew))
		if gone := errors.Is(err, fs.ErrNotExist); gone != goes {
			t.Errorf("ended in %s: gone %t, want %t", step, gone, goes)
		}
	}
}

// releasing is a lease that looks around when it is released.
type releasing struct {
	watchdog.Lease
	look func() error
}

func (l releasing) Release(context.Context, watchdog.Record) error { return l.look() }

// TestDrillReleasesBeforeItTidies: nobody waits for the lease while the copy of
// a drill is removed; its journal, and with it the node, is held until it is
// gone, also by a process that takes it up after the release.
func TestDrillReleasesBeforeItTidies(t *testing.T) {
	for trigger, first := range map[string]bool{watchdog.TriggerDrill: true, watchdog.TriggerBackup: true, watchdog.TriggerAuto: false} {
		f := newHalf(t, watchdog.StepRehearse, true)
		f.j.Record.Trigger, f.j.Record.Outcome = trigger, watchdog.Cancelled
		place, err := datadir.PlaceFor(f.j.Live.Path, "")
		f.do(t, err)
		life, die := context.WithCancel(t.Context())
		h := &Healer{life: life, o: Options{StateDir: f.state, Logger: quiet(),
			Ended: func(watchdog.Record) {}, Stepped: func(watchdog.Step, time.Duration) {}, Failpoint: func(string) {}}}
		r := &rebuild{h: h, place: place, log: h.o.Logger, j: *f.j}
		r.lease = releasing{look: func() error {
			if _, err := os.Stat(f.j.Staged.Path); (err == nil) != first {
				t.Errorf("%s: released with the copy: %v", trigger, err)
			}
			if f.load(t) == nil {
				t.Errorf("%s: released without a journal", trigger)
			}
			if first {
				die()
				return errors.New("the process ends")
			}
			return nil
		}}
		r.settle()
		if first { // and the next one finds the lease released
			if left := f.load(t); left == nil || left.Step != watchdog.StepSettle {
				t.Fatalf("%s: the journal is %+v", trigger, left)
			}
			h.life = t.Context()
			r = &rebuild{h: h, gone: true, place: place, log: h.o.Logger, j: *f.load(t)}
			r.settle()
		}
		if _, err := os.Stat(f.j.Staged.Path); !errors.Is(err, fs.ErrNotExist) || f.load(t) != nil {
			t.Errorf("%s: not tidied: %v", trigger, err)
		}
		die()
	}
}

// TestPruneWhereNothingWasRebuilt: a node without a staging area has nothing
// to prune, and nothing to complain of.
func TestPruneWhereNothingWasRebuilt(t *testing.T) {
	f := newHalf(t, watchdog.StepStage, false)
	f.do(t, os.RemoveAll(filepath.Dir(f.j.Staged.Path)))
	place, err := datadir.PlaceFor(f.j.Live.Path, "")
	f.do(t, err)
	r := &rebuild{h: &Healer{o: Options{KeepFree: func(int64) int64 { return 1 }}}, place: place}
	f.do(t, r.prune())
}
