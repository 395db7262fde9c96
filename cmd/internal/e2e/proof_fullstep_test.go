//go:build proof

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resilver/cmd/internal/lab"
	"resilver/healing"
	"resilver/watchdog"
)

// TestDiskFullAtEveryStep: the one disk that datadir, staging area and state
// directory lie on is full, root's own blocks too, and stays so, from the
// moment that a step begins. Before `stop` the rebuild ends, says why in one
// line, and the replica serves its old data all the while. From there on it is
// healed once there is room again, or serves its old data. The journal says
// where it stands all the time. A few steps an engine; with RESILVER_CHAOS,
// see make chaos, each.
func TestDiskFullAtEveryStep(t *testing.T) { onEngines(t, fullAtSteps) }

// fullSteps are those after the copy: which of them an engine's quick run has.
var fullSteps = []struct {
	step   watchdog.Step
	quick  string // engine
	before bool   // `stop`
}{
	{watchdog.StepPrepare, lab.MariaDB, true},
	{watchdog.StepOwn, lab.MySQL, true},
	{watchdog.StepRehearse, lab.MySQL, true},
	{watchdog.StepStop, lab.MySQL, false},
	{watchdog.StepSwap, lab.MariaDB, false},
	{watchdog.StepStart, lab.MariaDB, false},
	{watchdog.StepAttach, lab.MariaDB, false},
	{watchdog.StepVerify, lab.MySQL, false},
}

func fullAtSteps(t *testing.T, engine string) {
	c := upWith(t, lab.Options{Engine: engine, DataMB: 5, Set: map[string]string{"policy.mode": "observe", "rebuild.min_free": "0", "quarantine.keep": "1s"}})
	n, gates := c.Node(2), t.TempDir()
	onOwnDisk(t, n)
	gate := func(s watchdog.Step) string { return filepath.Join(gates, string(s)) }
	var points []string
	for _, f := range fullSteps {
		must(t, os.WriteFile(gate(f.step), nil, 0o644))
		points = append(points, string(f.step)+".begin=wait:"+gate(f.step))
	}
	restartWith(t, n, strings.Join(points, ","))
	together(t, c)
	underLoad(t, c)
	broken := false
	for _, f := range fullSteps {
		if !asked(t, engine, f.step, f.quick) {
			continue
		}
		if !broken {
			breakIt(t, c, n, "row-missing")
		}
		ok := t.Run(string(f.step), func(t *testing.T) { broken = !fullFrom(t, n, gate(f.step), f.step, f.before) })
		if !ok {
			return // a cell that has failed has spoilt its cluster for the others
		}
	}
	if broken {
		code, said := rebuildNow(t, n)
		if code != 0 {
			t.Fatalf("with room again: exit code %d: %s", code, said)
		}
	}
	must(t, n.WaitReplicating(t.Context(), time.Minute))
	equal(t, c)
}

// asked says whether the environment asks for a cell, as it does for those of
// the crash matrix.
func asked(t *testing.T, engine string, step watchdog.Step, quick string) bool {
	t.Helper()
	only := os.Getenv("RESILVER_CHAOS_CELLS")
	if only == "" && os.Getenv("RESILVER_CHAOS") == "" {
		return quick == engine
	}
	is, err := regexp.MatchString(only, fmt.Sprintf("%s %s.begin disk", engine, step))
	must(t, err)
	return is
}

// fullFor is how long a disk stays full at least under a rebuild past `stop`.
const fullFor = 10 * time.Second

// fullFrom is one rebuild, on a disk that is full from the step on. It says
// whether the replica is healed.
func fullFrom(t *testing.T, n *lab.Node, gate string, step watchdog.Step, before bool) bool {
	refuses(t, n, "mode", time.Minute)
	id := identityOf(t, n)
	for _, path := range []string{gate, gate + ".reached"} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	end := rebuilding(t, n)
	reached(t, gate)
	free := keepFull(t, filepath.Dir(n.StateDir()))
	defer free()
	must(t, os.WriteFile(gate, nil, 0o644))
	began := time.Now()
	must(t, lab.WaitFor(t.Context(), time.Minute, "the rebuild to stand still or end on the full disk", func(context.Context) (bool, string) {
		j := journalOf(t, n)
		return j.Record.Outcome != "" || !before && time.Since(began) > fullFor, fmt.Sprintf("%s of %s", j.Step, step)
	}))
	if before {
		if now := dataOf(t, n); now != id.inode {
			t.Errorf("the data in place are inode %d, they were %d", now, id.inode)
		}
		doors(t, n, replicaDoors)
	}
	free()
	code, said := end()
	t.Logf("full from %s on: exit code %d after %.1f s: %s", step, code, time.Since(began).Seconds(), said)
	rs, err := records(t.Context(), n, n.Name)
	must(t, err)
	last := rs[0]
	switch {
	case last.Outcome == watchdog.Healed && code == 0:
		must(t, n.WaitReplicating(t.Context(), time.Minute))
		id.unchanged(t, n)
		doors(t, n, replicaDoors)
		return true
	case code != 1 || strings.Count(said, "\n") != 1 || last.Error == "":
		t.Errorf("exit code %d, want 1 and one line: %s", code, said)
	case before && !strings.Contains(strings.ToLower(said), "no space") && !strings.Contains(strings.ToLower(said), "disk"):
		t.Errorf("it does not say why: %s", said)
	}
	must(t, lab.WaitFor(t.Context(), time.Minute, "the old data to be in service", func(ctx context.Context) (bool, string) {
		_, err := n.Replica(ctx)
		return err == nil, present(ctx, n)
	}))
	asBefore(t, n, id)
	// A receiver that found no room tries again after a minute; until then it
	// cannot be stopped, and the next rebuild would be cancelled.
	must(t, lab.WaitFor(t.Context(), 90*time.Second, "the receiver to go on", func(ctx context.Context) (bool, string) {
		status, err := n.Replica(ctx)
		state := fmt.Sprint(status["Replica_IO_State"])
		return err == nil && strings.HasPrefix(state, "Waiting for ") && strings.HasSuffix(state, " to send event"), state
	}))
	return false
}

// journalOf is where a rebuild stands by its journal, which must be whole; one
// that is gone has ended.
func journalOf(t *testing.T, n *lab.Node) (j healing.Journal) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.StateDir(), "journal.json"))
	if errors.Is(err, os.ErrNotExist) {
		j.Record.Outcome = watchdog.Healed
		return j
	}
	must(t, err)
	must(t, json.Unmarshal(b, &j))
	return j
}

// keepFull takes every block of a file system, those kept for root too, and
// each that is given back, until it is freed.
func keepFull(t *testing.T, disk string) (free func()) {
	t.Helper()
	dir := filepath.Join(disk, "fillers")
	must(t, os.Mkdir(dir, 0o700))
	// What is not on disk yet has no blocks yet, and is not to lose them.
	must(t, syncDisk(disk))
	must(t, take(filepath.Join(dir, "first"), 1<<40))
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	var failed error
	done.Go(func() {
		for i := 0; ctx.Err() == nil && failed == nil; i++ {
			failed = take(filepath.Join(dir, fmt.Sprint(i%100)), 1<<30)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	var once sync.Once
	return func() {
		once.Do(func() {
			stop()
			done.Wait()
			must(t, failed)
			must(t, os.RemoveAll(dir))
			must(t, syncDisk(disk))
		})
	}
}

func syncDisk(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// take lets a file grow until there is not a block left.
func take(path string, most int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if errors.Is(err, unix.ENOSPC) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at := info.Size()
	for step := most; step >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, at, step); {
		case err == nil:
			at += step
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EFBIG):
			step /= 2
		case errors.Is(err, unix.EINTR):
		default:
			return err
		}
	}
	return nil
}
