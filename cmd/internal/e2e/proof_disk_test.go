//go:build proof

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestFullDisk: the file system of the datadir fills up while the copy is
// made, with rebuild.min_free to stop it in time and without, and then that of
// the state directory. Every time it is said in one line, and the replica is
// as it was, or healed. With room again it heals.
func TestFullDisk(t *testing.T) { onEngines(t, fullDisk) }

func fullDisk(t *testing.T, engine string) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can mount a small file system to fill")
	}
	disk, state := smallDisk(t, "1g"), smallDisk(t, "128m")
	c := upOn(t, engine, map[string]string{"policy.mode": "observe", "donor.max_rate": "8MiB", "donor.primary": "never", "rebuild.stall_timeout": "30s"})
	n := c.Node(2)
	must(t, n.StopSidecar(t.Context()))
	must(t, n.StopServer(t.Context()))
	moveTo(t, n.Datadir, disk)
	moveTo(t, n.StateDir(), state)
	must(t, n.StartServer(t.Context()))
	before := identityOf(t, n)
	n.Env()
	must(t, n.StartSidecar())
	together(t, c)
	breakIt(t, c, n, "row-missing")

	for _, full := range []struct {
		name, keep string
		leave      int64
		says       string
	}{
		{"too little stays free", "200MiB", 100 << 20, "bytes free, 209715200 must stay free (rebuild.min_free)"},
		{"nothing is left", "0", 0, "No space left on device"},
	} {
		must(t, n.Set(map[string]string{"rebuild.min_free": full.keep}))
		restart(t, c, n)
		refuses(t, n, "mode", time.Minute)
		end := rebuilding(t, n)
		moving(t, n)
		free := fill(t, disk, full.leave)
		code, said := end()
		t.Logf("%s: exit code %d: %s", full.name, code, said)
		if code != 1 || strings.Count(said, "\n") != 1 || !strings.Contains(said, full.says) {
			t.Errorf("%s: exit code %d, want 1 and one line with %q: %s", full.name, code, full.says, said)
		}
		asBefore(t, n, before)
		if _, err := os.Stat(filepath.Join(disk, "data.resilver", "new")); err == nil {
			t.Errorf("%s: the copy was left behind", full.name)
		}
		free()
		if rs, err := records(t.Context(), n, n.Name); err != nil || rs[0].Outcome != watchdog.Failed || !strings.Contains(rs[0].Error, full.says) {
			t.Errorf("%s: history: %+v, %v", full.name, rs, err)
		}
	}
	stateFull(t, c, n, before, state)
	equal(t, c)
}

// stateFull: neither journal nor raft can grow any more from the middle of the
// copy to the end of the rebuild, and raft has used up its ballast.
func stateFull(t *testing.T, c *lab.Cluster, n *lab.Node, before identity, state string) {
	t.Helper()
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, n, "stage.begin=wait:"+gate)
	together(t, c)
	refuses(t, n, "mode", time.Minute)
	end := rebuilding(t, n)
	reached(t, gate)
	inStep(t, n, watchdog.StepStage, time.Minute) // status is a moment behind, and would show no rebuild
	free := fillState(t, n, state)
	must(t, os.WriteFile(gate, nil, 0o644))
	must(t, lab.WaitFor(t.Context(), 2*time.Minute, "the rebuild to end on a full disk", func(ctx context.Context) (bool, string) {
		self, err := n.Self(ctx)
		return err == nil && (self.Rebuild == nil || self.Rebuild.Step == watchdog.StepSettle), present(ctx, n)
	}))
	if b, err := os.ReadFile(filepath.Join(n.StateDir(), "journal.reserve")); err == nil && !strings.HasPrefix(string(b), "{") {
		t.Error("the journal's reserve was not needed: this proves nothing")
	}
	free()
	code, said := end()
	t.Logf("state directory full: exit code %d: %s", code, said)
	if code == 0 {
		must(t, n.WaitReplicating(t.Context(), time.Minute))
		before.unchanged(t, n)
		return
	}
	asBefore(t, n, before)
	n.Env()
	restart(t, c, n)
	if code, said := rebuildNow(t, n); code != 0 {
		t.Errorf("with room again: exit code %d: %s", code, said)
	}
	before.unchanged(t, n)
}

// fillState fills the file system of a node's state directory, and takes the
// room that raft keeps for that, which it would lay again where there is plenty.
func fillState(t *testing.T, n *lab.Node, state string) (free func()) {
	t.Helper()
	first := fill(t, state, 0)
	must(t, os.Remove(filepath.Join(n.StateDir(), "raft", "ballast")))
	second := fill(t, state, 0)
	return func() { first(); second() }
}

// smallDisk mounts a file system in memory, until the test's labs are gone.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "disk-")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size))
	// A killed mysqld may still be ending.
	t.Cleanup(func() { must(t, syscall.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// moveTo moves a directory of what is at rest to another file system, and
// leaves a link to it.
func moveTo(t *testing.T, dir, disk string) {
	t.Helper()
	real := filepath.Join(disk, filepath.Base(dir))
	out, err := exec.CommandContext(t.Context(), "cp", "-a", dir, real).CombinedOutput()
	if err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	must(t, os.RemoveAll(dir))
	must(t, os.Symlink(real, dir))
}

// fill writes a file that leaves so many bytes of a file system.
func fill(t *testing.T, disk string, leave int64) (free func()) {
	t.Helper()
	f, err := os.CreateTemp(disk, "filler-")
	must(t, err)
	defer f.Close()
	size := int64(0)
	must(t, lab.WaitFor(t.Context(), time.Minute, "the disk to be full", func(context.Context) (bool, string) {
		var st unix.Statfs_t
		if err := unix.Statfs(disk, &st); err != nil {
			return false, err.Error()
		}
		left := int64(st.Bavail)*st.Bsize - leave
		if left <= 0 {
			return true, ""
		}
		err := unix.Fallocate(int(f.Fd()), 0, size, left)
		if errors.Is(err, unix.ENOSPC) { // others write too
			return false, err.Error()
		}
		must(t, err)
		size += left
		return false, "filled once"
	}))
	t.Logf("filled %s with %d bytes", disk, size)
	return func() { must(t, os.Remove(f.Name())) }
}
