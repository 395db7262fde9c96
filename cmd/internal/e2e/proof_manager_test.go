//go:build proof

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// TestForeignManager: mysqld is not run by `resilver supervise` but by a
// manager of its own, driven by commands: start-stop-daemon, which every
// Debian has.
func TestForeignManager(t *testing.T) {
	t.Parallel()
	c := up(t, nil)
	n := c.Node(2)
	daemon, err := exec.LookPath("start-stop-daemon")
	must(t, err)
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n.PID(lab.Mysqld)))
	must(t, err)
	var words []string
	for _, w := range bytes.Split(bytes.TrimRight(argv, "\x00"), []byte{0}) {
		words = append(words, string(w))
	}
	pidFile := filepath.Join(filepath.Dir(n.Socket), "manager.pid")
	start := append([]string{daemon, "--start", "--oknodo", "--background", "--make-pidfile", "--pidfile", pidFile, "--startas", words[0], "--"}, words[1:]...)
	stop := []string{daemon, "--stop", "--oknodo", "--remove-pidfile", "--retry", "TERM/60/KILL/10", "--pidfile", pidFile}
	status := []string{daemon, "--status", "--pidfile", pidFile}

	must(t, n.StopSidecar(t.Context()))
	must(t, n.StopServer(t.Context()))
	command(t, start)
	t.Cleanup(func() { command(t, stop) })
	set := map[string]string{"mysql.service.kind": "command"}
	for name, words := range map[string][]string{"start": start, "stop": stop, "status": status} {
		text, err := json.Marshal(words)
		must(t, err)
		set["mysql.service."+name] = string(text)
	}
	must(t, n.Set(set))
	must(t, lab.WaitFor(t.Context(), time.Minute, "mysqld to answer", func(ctx context.Context) (bool, string) {
		_, err := n.Value(ctx, "SELECT 1")
		return err == nil, fmt.Sprint(err)
	}))
	must(t, n.StartSidecar())
	together(t, c)

	before := identityOf(t, n)
	breakIt(t, c, n, "row-missing")
	r := healed(t, n, 1)
	before.unchanged(t, n)
	quarantined(t, n, before, r.ID)
	equal(t, c)
}

// command runs a command of the manager to its end.
func command(t *testing.T, argv []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}
