//go:build proof

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"resilver/cmd/internal/lab"
)

// onOwnDisk puts a node on a disk whose power can be cut, and checks that such
// a cut loses what was not synced, and that alone.
func onOwnDisk(t *testing.T, n *lab.Node) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("only root can mount a disk whose power can be cut")
	}
	must(t, n.StopSidecar(t.Context()))
	must(t, n.StopServer(t.Context()))
	must(t, n.OwnDisk(t.Context(), 16<<10))
	kept, lost := filepath.Join(n.StateDir(), "kept"), filepath.Join(n.StateDir(), "lost")
	f, err := os.Create(kept)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, os.WriteFile(lost, []byte("not synced"), 0o600))
	must(t, n.PowerCut(t.Context()))
	if _, err := os.Stat(lost); err == nil {
		t.Fatal("the disk keeps what was not synced: a cut would prove nothing")
	}
	must(t, os.Remove(kept)) // fails where what was synced is lost
	must(t, n.StartServer(t.Context()))
	must(t, n.StartSidecar())
}
