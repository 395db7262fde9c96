//go:build proof

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/cmd/internal/lab/chaos"
	"resilver/watchdog"
)

// look is what a client sees of the node at a moment.
type look struct {
	at      time.Time
	serving bool   // it answers, and is as open as a replica should be
	inode   uint64 // of its data, 0 where they are away
}

// watch looks at the node all the time until its result is asked for.
func (m *matrix) watch(t *testing.T) (end func() []look) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	var looks []look
	done.Go(func() {
		for ctx.Err() == nil {
			l := look{at: time.Now()}
			if info, err := os.Stat(filepath.Join(m.n.Datadir, "mysql")); err == nil {
				l.inode = info.Sys().(*syscall.Stat_t).Ino
			}
			seen, err := m.n.Value(ctx, doorsOf[m.n.Engine()])
			l.serving = err == nil && seen == replicaDoors[m.n.Engine()]
			looks = append(looks, l)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	end = func() []look { cancel(); done.Wait(); return looks }
	t.Cleanup(func() { end() })
	return end
}

// servedAfter is how many seconds after the kill the node served again; 0
// where the kill did not take it out of service.
func servedAfter(looks []look, kill time.Time) float64 {
	out := false
	for _, l := range looks {
		switch {
		case l.at.Before(kill):
		case !l.serving:
			out = true
		case out:
			return l.at.Sub(kill).Seconds()
		default:
			return 0
		}
	}
	return time.Since(kill).Seconds()
}

// judge tells what became of the rebuild: mine are those since the break,
// newest first. One that did not heal must say why, and the old data must have
// been in service after it.
func (m *matrix) judge(r *chaos.Result, mine []watchdog.Record, looks []look, old uint64) error {
	first := mine[len(mine)-1]
	r.Outcome, r.Error = chaos.Healed, first.Error
	if first.Outcome != watchdog.Healed {
		r.Outcome = chaos.OldData
	}
	if (r.Victim == chaos.Sidecar || r.Victim == chaos.Power) && (r.Outcome == chaos.Healed) != chaos.Survives(r.Point) {
		return fmt.Errorf("outcome %s of a rebuild whose sidecar died at %s: %s", first.Outcome, r.Point, first.Error)
	}
	if r.Outcome == chaos.Healed {
		return nil
	}
	if first.Error == "" {
		return fmt.Errorf("the rebuild ended %s and does not say why", first.Outcome)
	}
	for _, l := range looks {
		if l.serving && l.inode == old && l.at.After(first.Ended.Time) {
			return nil
		}
	}
	return fmt.Errorf("the rebuild ended %s (%s), and the old data were not seen in service after it", first.Outcome, first.Error)
}

// left are the processes and files of the lab that nobody needs any more. Some
// end a moment after the rebuild.
func (m *matrix) left(t *testing.T) (left []string) {
	t.Helper()
	_ = lab.WaitFor(t.Context(), 15*time.Second, "nothing to be left", func(context.Context) (bool, string) {
		var err error
		left, err = m.strayProcesses()
		for _, n := range m.c.Nodes {
			left = append(left, strayFiles(t, n)...)
		}
		if err != nil {
			left = append(left, err.Error())
		}
		return len(left) == 0, "some is"
	})
	return left
}

// strayProcesses are those that name a node's file in their command line, or
// work in its directory, beyond the three programs of each.
func (m *matrix) strayProcesses() (left []string, err error) {
	var known []int
	for _, n := range m.c.Nodes {
		known = append(known, n.PID(lab.Mysqld), n.PID(lab.Sidecar), n.PID(lab.Supervisor))
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, process := range all {
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil || slices.Contains(known, pid) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		in, _ := os.Readlink(filepath.Join(process, "cwd"))
		if home := m.c.Dir + "/db"; strings.Contains(string(command), home) || strings.HasPrefix(in, home) {
			left = append(left, fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")))
		}
	}
	return left, nil
}

// The entries that stay between rebuilds: in areas quarantines, templates and
// what private servers logged; in the state directory what is no rebuild's, and
// room for the next journal.
var (
	keptInArea  = []string{"old", "template-*", "rehearse"}
	keptInState = []string{"raft", "lock", "last.json", "supervise.sock", "supervise.sock.lock", "journal.reserve"}
)

// strayFiles are what a rebuild should not have left in the places where it
// works.
func strayFiles(t *testing.T, n *lab.Node) (left []string) {
	t.Helper()
	left = beyond(n.StateDir(), keptInState)
	for _, area := range []string{areaOf(t, n), filepath.Join(n.LogDir(), ".resilver"), filepath.Join(n.InnoDBDir(), ".resilver")} {
		left = append(left, beyond(area, keptInArea)...)
		found, err := filepath.Glob(filepath.Join(area, "old", "found-*"))
		must(t, err)
		left = append(left, found...)
	}
	for _, dir := range []string{n.Datadir, n.LogDir(), n.InnoDBDir()} {
		found, err := filepath.Glob(filepath.Join(dir, "resilver*")) // the marker
		must(t, err)
		left = append(left, found...)
	}
	return left
}

// beyond are the entries of dir that no pattern names; an empty directory is
// none.
func beyond(dir string, kept []string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []string{err.Error()}
	}
	for _, e := range entries {
		matches := func(pattern string) bool { ok, _ := filepath.Match(pattern, e.Name()); return ok }
		if slices.ContainsFunc(kept, matches) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			out = append(out, beyond(path, nil)...)
			if inside, err := os.ReadDir(path); err == nil && len(inside) == 0 {
				continue
			}
		}
		out = append(out, path)
	}
	return out
}
