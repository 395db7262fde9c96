package healing

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
)

// half is a rebuild that stands where its machine went away.
type half struct {
	state string
	j     *Journal
}

// newHalf makes a live datadir and a staged copy, told apart by a file which
// in each.
func newHalf(t *testing.T, step watchdog.Step, done bool) half {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var refs [2]datadir.Ref
	for i, name := range []string{"old", "new"} {
		dir := filepath.Join(base, []string{"mysql", "mysql.resilver/new"}[i])
		if err := os.MkdirAll(filepath.Join(dir, "mysql"), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"ibdata1": "", "which": name} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if refs[i], err = datadir.RefOf(dir); err != nil {
			t.Fatal(err)
		}
	}
	h := half{state: filepath.Join(base, "state")}
	if err := os.Mkdir(h.state, 0o700); err != nil {
		t.Fatal(err)
	}
	h.j = &Journal{Step: step, Done: done, Live: refs[0], Was: datadir.Dir{Ref: refs[0]}, Staged: refs[1], Record: watchdog.Record{ID: "r1"}}
	return h
}

func (h half) save(t *testing.T) {
	t.Helper()
	if err := h.j.save(h.state, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func (h half) load(t *testing.T) *Journal {
	t.Helper()
	j, err := loadJournal(h.state)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// live is which data lies at the datadir's path.
func (h half) live(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.j.Live.Path, "which"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (h half) do(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestFinish: whatever the machine was doing when it went away, finish leaves
// the old data or the finished new data, and lets mysqld start on it.
func TestFinish(t *testing.T) {
	mark := func(h half) error { return datadir.Mark(h.j.Live.Path, "r1") }
	swap := func(h half) error { _, err := datadir.Exchange(h.j.Live, h.j.Staged); return err }
	cases := []struct {
		name    string
		step    watchdog.Step
		done    bool
		prepare []func(half) error
		back    bool
		outcome watchdog.Result

		live     string
		wantStep watchdog.Step
		wantBack bool
	}{
		{name: "copying", step: watchdog.StepStage, live: "old", wantStep: watchdog.StepStage},
		{name: "rehearsed", step: watchdog.StepRehearse, done: true, live: "old", wantStep: watchdog.StepRehearse},
		{name: "closing", step: watchdog.StepStop, live: "old", wantStep: watchdog.StepStop, wantBack: true},
		{name: "closed", step: watchdog.StepStop, prepare: []func(half) error{mark}, live: "old", wantStep: watchdog.StepStop, wantBack: true},
		{name: "stopped", step: watchdog.StepStop, done: true, prepare: []func(half) error{mark}, live: "new", wantStep: watchdog.StepStart},
		{name: "swap begun", step: watchdog.StepSwap, prepare: []func(half) error{mark}, live: "new", wantStep: watchdog.StepStart},
		{name: "exchanged", step: watchdog.StepSwap, prepare: []func(half) error{mark, swap, mark}, live: "new", wantStep: watchdog.StepStart},
		{name: "swap done", step: watchdog.StepSwap, done: true, prepare: []func(half) error{mark, swap, mark}, live: "new", wantStep: watchdog.StepStart},
		{name: "starting", step: watchdog.StepStart, prepare: []func(half) error{swap, mark}, live: "new", wantStep: watchdog.StepStart},
		{name: "started", step: watchdog.StepStart, prepare: []func(half) error{swap}, live: "new", wantStep: watchdog.StepStart},
		{name: "attaching", step: watchdog.StepAttach, prepare: []func(half) error{swap}, live: "new", wantStep: watchdog.StepAttach},
		{name: "going back, exchanged back", step: watchdog.StepStart, prepare: []func(half) error{mark}, back: true, live: "old", wantStep: watchdog.StepStart, wantBack: true},
		{name: "going back, not exchanged back", step: watchdog.StepStart, prepare: []func(half) error{swap}, back: true, live: "new", wantStep: watchdog.StepStart, wantBack: true},
		{name: "ended", step: watchdog.StepSwap, outcome: watchdog.RolledBack, live: "old", wantStep: watchdog.StepSwap},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHalf(t, c.step, c.done)
			h.j.Back, h.j.Record.Outcome = c.back, c.outcome
			for _, do := range c.prepare {
				h.do(t, do(h))
			}
			h.save(t)
			for range 2 { // the second time there is nothing left to do
				h.do(t, Finish(h.state, quiet()))
				j := h.load(t)
				if got := h.live(t); got != c.live || j.Step != c.wantStep || j.Back != c.wantBack {
					t.Errorf("the %s data are live, the journal stands in %s, back %v", got, j.Step, j.Back)
				}
				if err := StartGuard(h.state, ""); err != nil {
					t.Errorf("mysqld may not start: %v", err)
				}
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		h := newHalf(t, "", false)
		h.do(t, Finish(h.state, quiet()))
	})
}

// TestFinishFollowsTheDevice: after a reboot the device of the file system can
// have another number.
func TestFinishFollowsTheDevice(t *testing.T) {
	for _, step := range []watchdog.Step{watchdog.StepStage, watchdog.StepSwap, watchdog.StepVerify} {
		h := newHalf(t, step, false)
		dev := h.j.Live.Dev
		h.j.Live.Dev, h.j.Was.Dev, h.j.Staged.Dev = dev+1, dev+1, dev+1
		h.save(t)
		h.do(t, Finish(h.state, quiet()))
		if j := h.load(t); j.Live.Dev != dev || j.Staged.Dev != dev || j.Was.Dev != dev {
			t.Errorf("%s: the journal has devices %d and %d, want %d", step, j.Live.Dev, j.Staged.Dev, dev)
		}
		if want := map[bool]string{true: "new", false: "old"}[step == watchdog.StepSwap]; h.live(t) != want {
			t.Errorf("%s: the %s data are live", step, h.live(t))
		}
	}
	// Other directories are not taken for ours, whatever the device.
	h := newHalf(t, watchdog.StepSwap, false)
	h.j.Live.Dev++
	h.j.Staged.Dev++
	h.j.Staged.Ino += 1 << 40
	h.save(t)
	if err := Finish(h.state, quiet()); err == nil || h.live(t) != "old" {
		t.Errorf("an unknown copy was taken: %v", err)
	}
	if StartGuard(h.state, "") == nil {
		t.Error("mysqld may start")
	}
}

// TestFinishLeavesItToTheSidecar: both never act at once.
func TestFinishLeavesItToTheSidecar(t *testing.T) {
	h := newHalf(t, watchdog.StepSwap, false)
	h.save(t)
	unlock, err := LockState(h.state, 0)
	h.do(t, err)
	if _, err := LockState(h.state, 30*time.Millisecond); !errors.Is(err, ErrStateInUse) {
		t.Errorf("locked twice: %v", err)
	}
	if err := Finish(h.state, quiet()); !errors.Is(err, ErrStateInUse) || h.live(t) != "old" {
		t.Errorf("finish beside a sidecar: %v, the %s data are live", err, h.live(t))
	}
	// Nothing to do is fine beside a sidecar: it is the one that starts mysqld.
	h.j.Step = watchdog.StepAttach
	h.save(t)
	h.do(t, Finish(h.state, quiet()))
	h.j.Step = watchdog.StepSwap
	h.save(t)
	h.do(t, unlock(), Finish(h.state, quiet()))
	if h.live(t) != "new" {
		t.Error("not finished once the sidecar is gone")
	}
}

// TestFinishNeedsBothDatadirsUnused: a server on one of them, past every
// guard, keeps finish from touching them.
func TestFinishNeedsBothDatadirsUnused(t *testing.T) {
	for _, which := range []int{0, 1} {
		h := newHalf(t, watchdog.StepStop, true)
		h.save(t)
		unlock, err := datadir.LockSystemTablespace([]string{h.j.Live.Path, h.j.Staged.Path}[which])
		h.do(t, err)
		var busy *datadir.InUseError
		if err := Finish(h.state, quiet()); !errors.As(err, &busy) || h.live(t) != "old" {
			t.Errorf("directory %d in use: %v", which, err)
		}
		h.do(t, unlock(), Finish(h.state, quiet()))
	}
}

// TestStartGuardHolds: while a rebuild goes back, only the manager's hold
// keeps mysqld from starting on the data that are being exchanged.
func TestStartGuardHolds(t *testing.T) {
	h := newHalf(t, watchdog.StepStart, false)
	h.j.Back = true
	h.save(t)
	hold := service.HoldPath(h.state)
	h.do(t, StartGuard(h.state, ""), os.WriteFile(hold, []byte(`{"boot":"another","held":true}`), 0o600), StartGuard(h.state, ""))
	h.do(t, os.WriteFile(hold, []byte("{"), 0o600))
	if StartGuard(h.state, "") == nil {
		t.Error("a damaged hold lets mysqld start")
	}
	h.do(t, removeJournal(h.state), StartGuard(h.state, ""))
}

// TestFinishRollback: a rollback that the machine went away from is finished,
// or undone, where the old datadir lies in quarantine; an older sidecar would
// not understand its journal.
func TestFinishRollback(t *testing.T) {
	for _, c := range []struct {
		step watchdog.Step
		done bool
		want string
	}{
		{watchdog.StepPreflight, true, "old"},
		{watchdog.StepStop, false, "old"},
		{watchdog.StepStop, true, "new"},
		{watchdog.StepSwap, false, "new"},
	} {
		h := newHalf(t, c.step, c.done)
		shelf := filepath.Join(filepath.Dir(h.j.Staged.Path), "old")
		h.do(t, os.Mkdir(shelf, 0o700), os.Rename(h.j.Staged.Path, filepath.Join(shelf, "r0")))
		h.j.Staged.Path = filepath.Join(shelf, "r0")
		h.j.Old, h.j.Then, h.j.Record.Trigger = "r0", &datadir.Served{}, watchdog.TriggerRollback
		h.save(t)
		h.do(t, Finish(h.state, quiet()))
		if got := h.live(t); got != c.want {
			t.Errorf("%s, done %t: the %s data are live", c.step, c.done, got)
		}
		if j := h.load(t); j.Version != journalBack {
			t.Errorf("%s: version %d", c.step, j.Version)
		}
		if _, err := os.Stat(filepath.Join(shelf, "r0", "which")); err != nil {
			t.Errorf("%s: %v", c.step, err)
		}
		h.do(t, StartGuard(h.state, ""))
	}
}
