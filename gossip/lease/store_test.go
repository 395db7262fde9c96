package lease

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

// disk is one that can hang or be full.
type disk struct {
	backend
	mu   sync.Mutex
	hang chan struct{} // not nil: writes wait for it
	fail func() error  // not nil: what writes return, where not nil
}

func (d *disk) write(do func() error) error {
	d.mu.Lock()
	hang, fail := d.hang, d.fail
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if fail != nil {
		if err := fail(); err != nil {
			return err
		}
	}
	return do()
}

func (d *disk) StoreLog(l *raft.Log) error {
	return d.write(func() error { return d.backend.StoreLog(l) })
}
func (d *disk) StoreLogs(l []*raft.Log) error {
	return d.write(func() error { return d.backend.StoreLogs(l) })
}
func (d *disk) SetUint64(k []byte, v uint64) error {
	return d.write(func() error { return d.backend.SetUint64(k, v) })
}
func (d *disk) Set(k, v []byte) error {
	return d.write(func() error { return d.backend.Set(k, v) })
}

// onDisks runs a formed group whose disks the test holds in hand.
func onDisks(t *testing.T, do func(t *testing.T, g *group, disks map[string]*disk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1, three()...)
		defer g.stopAll()
		disks := map[string]*disk{}
		for _, name := range g.names {
			d := &disk{}
			disks[name] = d
			g.seats[name].tune = func(o *Options) {
				o.open = func(dir string) (backend, error) {
					b, err := openUnsynced(dir)
					d.mu.Lock()
					defer d.mu.Unlock()
					d.backend = b
					return d, err
				}
			}
		}
		g.startAll()
		g.leader()
		do(t, g, disks)
	})
}

// TestStuckDiskLeader: a leader whose disk hangs is replaced, its lease goes on
// being renewed through the others, and it comes back with its disk.
func TestStuckDiskLeader(t *testing.T) {
	onDisks(t, func(t *testing.T, g *group, disks map[string]*disk) {
		lead := g.leader()
		l := g.mustAcquire(lead, "a", g.other(lead))
		d := disks[lead]
		d.mu.Lock()
		d.hang = make(chan struct{})
		d.mu.Unlock()
		// The next renewal is the write that hangs.
		began := time.Now()
		next := ""
		g.until("another leader", func() bool {
			for _, n := range g.names {
				if s := g.node(n).State(); n != lead && s.IsLeader && s.Quorum {
					next = n
					return true
				}
			}
			return false
		})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s to replace the leader", took)
		}
		if g.node(lead).State().Quorum {
			t.Error("a node without a disk claims a quorum")
		}
		if err := g.node(lead).Check(l.ClusterID(), l.Token(), lead); !errors.Is(err, watchdog.ErrTokenAhead) {
			t.Errorf("check without raft: %v", err)
		}
		if l.Context().Err() == nil {
			t.Log("lease outlived the change")
		}
		again := g.mustAcquireEventually(lead, "b", next) // though its own raft is down
		time.Sleep(20 * time.Second)
		if err := again.Context().Err(); err != nil {
			t.Errorf("not renewed through the others: %v", err)
		}
		d.mu.Lock()
		close(d.hang)
		d.hang = nil
		d.mu.Unlock()
		g.until("back", func() bool { return g.node(lead).State().Quorum })
		if err := again.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
			t.Error(err)
		}
		if n := g.node(lead).restarts.n.Load(); n != 1 {
			t.Errorf("%d restarts, want 1", n)
		}
	})
}

// TestDiskFull: no panic, the node leaves the group and comes back.
func TestDiskFull(t *testing.T) {
	onDisks(t, func(t *testing.T, g *group, disks map[string]*disk) {
		lead := g.leader()
		d := disks[lead]
		d.mu.Lock()
		d.fail = func() error { return syscall.ENOSPC }
		d.mu.Unlock()
		l := g.mustAcquireEventually(lead, "a", g.other(lead))
		time.Sleep(time.Minute)
		if err := l.Context().Err(); err != nil {
			t.Errorf("lease: %v", err)
		}
		if now := g.leader(); now == lead {
			t.Errorf("%s leads without a disk", lead)
		}
		d.mu.Lock()
		d.fail = nil
		d.mu.Unlock()
		g.until("back", func() bool { return g.node(lead).State().Quorum })
		if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
			t.Error(err)
		}
	})
}

// TestBallast: a disk that is full by a little is survived without a restart.
func TestBallast(t *testing.T) {
	onDisks(t, func(t *testing.T, g *group, disks map[string]*disk) {
		lead := g.leader()
		path := filepath.Join(g.seats[lead].dir, ballastFile)
		dropped := false
		d := disks[lead]
		d.mu.Lock()
		d.fail = func() error {
			if dropped {
				return nil
			}
			if _, err := os.Stat(path); err == nil {
				return syscall.ENOSPC
			}
			dropped = true
			return nil
		}
		d.mu.Unlock()
		l := g.mustAcquire(lead, "a", g.other(lead))
		if !dropped || g.node(lead).restarts.n.Load() != 0 || g.leader() != lead {
			t.Errorf("dropped %v, restarts %d", dropped, g.node(lead).restarts.n.Load())
		}
		g.until("ballast laid again", func() bool { _, err := os.Stat(path); return err == nil })
		if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
			t.Error(err)
		}
	})
}

func TestStopWithStuckDisk(t *testing.T) {
	onDisks(t, func(t *testing.T, g *group, disks map[string]*disk) {
		lead := g.leader()
		d := disks[lead]
		hang := make(chan struct{})
		d.mu.Lock()
		d.hang = hang
		d.mu.Unlock()
		_, _ = g.acquire(lead, "a", g.other(lead))
		go func() { time.Sleep(30 * time.Second); close(hang) }()
		g.stop(lead) // waits for the disk, and does not panic
	})
}

func TestTwoProcessesOneStateDir(t *testing.T) {
	dir := t.TempDir()
	first, err := openBackend(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	began := time.Now()
	if _, err := openBackend(dir); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v", err)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestNotAStore(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, storeFile), strings.Repeat("no database ", 4096))
	if _, err := openBackend(dir); err == nil || !strings.Contains(err.Error(), "raft state damaged") {
		t.Errorf("open: %v", err)
	}
}

// TestHoleInLog: raft panics over it; the operator reads what to do.
func TestHoleInLog(t *testing.T) {
	bare(t, []string{"db1"}, func(t *testing.T, g *group) {
		n := g.start("db1")
		g.leader()
		for range 20 {
			if err := n.Resume(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
		}
		g.stop("db1")
		b, err := openUnsynced(g.seats["db1"].dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.DeleteRange(5, 8); err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
		if n, err = New(g.options("db1")); err != nil {
			t.Fatal(err)
		}
		if err := n.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "raft state damaged") {
			t.Errorf("start: %v", err)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{Name: "a#b", PeerAddress: "x", TTL: time.Second, Logger: slog.Default()})
	for _, want := range []string{"name", "cluster", "state directory", "join", "stream", "peer address", "ttl", "critical_max", "members", "call"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not speak of %q", err, want)
		}
	}
}
