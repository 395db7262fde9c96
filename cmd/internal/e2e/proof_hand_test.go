//go:build proof

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestLabByHand: an ordinary user goes through the commands of resilver-lab,
// as the README has it: a cluster under load, broken, healed by itself, killed
// and started again, stopped and taken up, and removed.
func TestLabByHand(t *testing.T) {
	t.Parallel()
	someone := ordinaryUser(t, lab.MySQL)
	dir := filepath.Join(someone.dir, "lab")
	hand := func(want int, says string, args ...string) []byte {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		var stderr bytes.Buffer
		cmd := someone.lab(ctx, t, append(args, "--dir", dir)...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		t.Logf("resilver-lab %v: exit code %d\n%s%s", args, cmd.ProcessState.ExitCode(), out, stderr.Bytes())
		if code := cmd.ProcessState.ExitCode(); code != want || !strings.Contains(string(out)+stderr.String(), says) {
			t.Fatalf("resilver-lab %v: exit code %d, want %d and %q", args, code, want, says)
		}
		return out
	}
	t.Cleanup(func() { // where it fails on the way
		if _, err := os.Stat(filepath.Join(dir, "setup.json")); err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			must(t, someone.lab(ctx, t, "down", "--dir", dir).Run())
		}
	})

	var printed struct {
		Engine string
		Client []string
		Nodes  []lab.Description
	}
	must(t, json.Unmarshal(hand(0, "", "up", "--data", "5", "--resilver", binary, "--set", "log.format=json"), &printed))
	if printed.Engine != lab.MySQL || len(printed.Nodes) != 3 || printed.Nodes[1].Name != "db2" {
		t.Errorf("it printed %+v", printed)
	}
	enter := append(printed.Client[1:], "-S", printed.Nodes[0].Socket, "-Ne", "SELECT CURRENT_USER()")
	cmd := exec.CommandContext(t.Context(), printed.Client[0], enter...)
	cmd.SysProcAttr = someone.lab(t.Context(), t).SysProcAttr
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "root@localhost") {
		t.Errorf("the client: %v: %s", err, out)
	}
	hand(1, "there is a lab in", "up", "--resilver", binary)
	hand(0, "purged", "list-faults")
	hand(0, " 0 refused", "load", "--for", "2s")
	hand(2, `no node "db9"`, "break", "db9", "row-missing")
	hand(1, `no fault "gremlins"`, "break", "db2", "gremlins")
	hand(1, "it is the primary", "break", "db1", "row-missing")
	hand(0, "", "break", "db2", "row-missing")

	c, err := lab.Open(dir, logWriter{t})
	must(t, err)
	defer c.Close()
	if r := ended(t, c.Node(2), 1, 3*time.Minute); r.Outcome != watchdog.Healed {
		t.Fatalf("outcome %s: %s", r.Outcome, r.Error)
	}
	hand(0, "none missing", "check")
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if info, statErr := os.Lstat(path); err == nil && statErr == nil && someone.as != nil && ownerOf(info) != someone.as.Uid {
			t.Errorf("%s belongs to %d", path, ownerOf(info))
		}
		return nil // a running server removes files
	}))
	hand(2, "want mysqld, sidecar or supervise", "kill", "db3", "cat")
	hand(0, "", "kill", "db3", "sidecar")
	hand(0, "", "kill", "db3", "supervise")
	hand(0, "off", "status")
	hand(0, "agree on the roles", "start")
	hand(0, "none missing", "check")
	hand(0, "", "down", "--keep")
	nobodyOf(t, dir)
	for _, n := range c.Nodes {
		jsonLines(t, n.SidecarLog())
	}
	hand(0, "agree on the roles", "start")
	hand(0, "", "down")
	nothingOf(t, dir)
	hand(1, "no lab in", "status")
}

// jsonLines: a log of the format json is nothing but that.
func jsonLines(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	for line := range bytes.Lines(text) {
		var entry struct{ Time, Level, Msg string }
		if err := json.Unmarshal(line, &entry); err != nil || entry.Time == "" || entry.Level == "" || entry.Msg == "" {
			t.Fatalf("%s: %v: %s", path, err, line)
		}
	}
}
