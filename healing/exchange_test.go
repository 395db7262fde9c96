package healing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
)

// newHalfOutside is newHalf with binary logs elsewhere, old ones in service
// and new ones placed, beside a file of somebody else's.
func newHalfOutside(t *testing.T) (h half, logs string) {
	t.Helper()
	h = newHalf(t, watchdog.StepSwap, false)
	logs = filepath.Join(filepath.Dir(h.j.Live.Path), "logs")
	h.do(t, os.Mkdir(logs, 0o700),
		os.WriteFile(filepath.Join(logs, "binlog.000001"), []byte("old"), 0o600),
		os.WriteFile(filepath.Join(logs, "error.log"), []byte("foreign"), 0o600),
		os.WriteFile(filepath.Join(h.j.Staged.Path, "binlog.000001"), []byte("new"), 0o600))
	p, err := datadir.PlaceFor(h.j.Live.Path, "")
	h.do(t, err)
	h.j.Outside, err = outside(p, map[string]string{"log_bin_basename": filepath.Join(logs, "binlog")}, "")
	h.do(t, err)
	if len(h.j.Outside) != 1 {
		t.Fatalf("outside: %+v", h.j.Outside)
	}
	o := &h.j.Outside[0]
	h.do(t, o.Prepare("r1"), o.Place(h.j.Staged, func(int64) int64 { return 0 }), datadir.Mark(h.j.Live.Path, "r1"))
	h.save(t)
	return h, logs
}

// at is which logs lie beside which data.
func (h half) at(t *testing.T, logs string) string {
	t.Helper()
	if text, err := os.ReadFile(filepath.Join(logs, "error.log")); err != nil || string(text) != "foreign" {
		t.Fatalf("error.log: %q, %v", text, err)
	}
	text, err := os.ReadFile(filepath.Join(logs, "binlog.000001"))
	if err != nil {
		text = []byte("none")
	}
	return fmt.Sprintf("%s data, %s logs", h.live(t), text)
}

func (h half) note(change func(*Journal)) error {
	change(h.j)
	return h.j.save(h.state, time.Now())
}

// died is a process that died at a failpoint.
type died struct{}

func (h half) swapUntil(t *testing.T, point string) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil && r != (died{}) {
			panic(r)
		}
	}()
	h.do(t, exchangeAll(h.j, h.note, func(at string) {
		if at == point {
			panic(died{})
		}
	}))
}

var swapPoints = map[string]string{
	"swap.moved-out": "old data, none logs", "swap.exchanged": "new data, none logs", "swap.moved-in": "new data, new logs", "": "new data, new logs",
}

// TestInvariant5SwapWithLogsElsewhere: wherever the swap was interrupted,
// finish completes it, and mysqld may not start before.
func TestInvariant5SwapWithLogsElsewhere(t *testing.T) {
	for point, want := range swapPoints {
		h, logs := newHalfOutside(t)
		h.swapUntil(t, point)
		if got := h.at(t, logs); got != want {
			t.Errorf("%s: %s, want %s", point, got, want)
		}
		if StartGuard(h.state, "") == nil {
			t.Errorf("%s: mysqld may start", point)
		}
		for range 2 {
			h.do(t, Finish(h.state, quiet()), StartGuard(h.state, ""))
			if got := h.at(t, logs); got != "new data, new logs" {
				t.Errorf("%s: finished with %s", point, got)
			}
		}
	}
}

// TestInvariant5WayBackWithLogsElsewhere: the same on the way back, where the
// new server may have run and made logs of its own.
func TestInvariant5WayBackWithLogsElsewhere(t *testing.T) {
	for point := range swapPoints {
		h, logs := newHalfOutside(t)
		h.swapUntil(t, point)
		h.do(t, h.note(func(j *Journal) { j.Back = true }))
		if point == "" {
			h.do(t, os.WriteFile(filepath.Join(logs, "binlog.000002"), []byte("new"), 0o600))
		}
		state, err := datadir.Exchanged(h.j.Live, h.j.Staged)
		h.do(t, err)
		if state == datadir.Done {
			h.do(t, h.j.evictOutside())
			if StartGuard(h.state, "") == nil {
				t.Errorf("%s: mysqld may start on new data without logs", point)
			}
			_, err := datadir.Exchange(datadir.Undo(h.j.Live, h.j.Staged))
			h.do(t, err)
		}
		// The machine goes away before the old logs are back.
		h.do(t, Finish(h.state, quiet()), StartGuard(h.state, ""))
		if got := h.at(t, logs); got != "old data, old logs" {
			t.Errorf("%s: back with %s", point, got)
		}
		if _, err := os.Stat(filepath.Join(logs, "binlog.000002")); err == nil {
			t.Errorf("%s: a log of the new server lies beside the old data", point)
		}
	}
}

// TestSwapListsBeforeItMoves: entries that are not in the journal are never
// moved, and a log that appears meanwhile stops the swap.
func TestSwapListsBeforeItMoves(t *testing.T) {
	h, logs := newHalfOutside(t)
	broken := errors.New("the disk is full")
	if err := exchangeAll(h.j, func(func(*Journal)) error { return broken }, func(string) {}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if got := h.at(t, logs); got != "old data, old logs" || h.j.Outside[0].Listed {
		t.Errorf("%s without a journal", got)
	}
	h.swapUntil(t, "swap.moved-out")
	h.do(t, os.WriteFile(filepath.Join(logs, "binlog.000009"), nil, 0o600))
	if err := exchangeAll(h.j, h.note, func(string) {}); err == nil || h.live(t) != "old" {
		t.Errorf("exchanged beside a log from nowhere: %v, the %s data are live", err, h.live(t))
	}
}

// TestFinishFollowsTheDeviceOutside: so does the device of a directory elsewhere.
func TestFinishFollowsTheDeviceOutside(t *testing.T) {
	h, logs := newHalfOutside(t)
	h.j.Outside[0].Dir.Dev++
	h.save(t)
	h.do(t, Finish(h.state, quiet()))
	if got := h.at(t, logs); got != "new data, new logs" {
		t.Error(got)
	}
}

// TestJournalVersions: a journal with directories elsewhere is not one that a
// sidecar which knows of none could take for its own; others are.
func TestJournalVersions(t *testing.T) {
	h, _ := newHalfOutside(t)
	if v := h.load(t).Version; v != 2 {
		t.Errorf("version %d with directories elsewhere", v)
	}
	flat := newHalf(t, watchdog.StepSwap, false)
	flat.save(t)
	if v := flat.load(t).Version; v != 1 {
		t.Errorf("version %d of a flat layout", v)
	}
}
