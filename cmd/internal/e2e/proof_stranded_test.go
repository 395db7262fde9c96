//go:build proof

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestManagerGone: the manager of mysqld cannot be reached any more when the
// copy is ready, or already when the rebuild is asked for. The replica is as
// it was, open as it was, and the lease is free.
func TestManagerGone(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	n := c.Node(2)
	before := identityOf(t, n)
	sock := filepath.Join(n.StateDir(), "supervise.sock")
	for i, point := range []string{"rehearse.end", "stop.ending"} {
		gate := filepath.Join(t.TempDir(), "go-on")
		restartWith(t, n, point+"=wait:"+gate)
		together(t, c)
		if i == 0 {
			breakIt(t, c, n, "row-missing")
		}
		reached(t, gate)
		must(t, os.Rename(sock, sock+".away"))
		must(t, os.WriteFile(gate, nil, 0o644))
		r := ended(t, n, i+1, 2*time.Minute)
		if r.Outcome != watchdog.Cancelled {
			t.Errorf("%s: outcome %s, want cancelled: %s", point, r.Outcome, r.Error)
		}
		t.Logf("%s: %s", r.Outcome, r.Error)
		asBefore(t, n, before)
		refuses(t, n, "service", time.Minute)
		n.Env()
		must(t, n.StopSidecar(t.Context()))
		must(t, os.Rename(sock+".away", sock))
	}
	must(t, n.StartSidecar())
	together(t, c)
	healed(t, n, 3)
	before.unchanged(t, n)
	equal(t, c)
}

// asBefore checks that a replica whose rebuild was cancelled serves as it did.
func asBefore(t *testing.T, n *lab.Node, before identity) {
	t.Helper()
	before.untouched(t, n)
	doors(t, n, replicaDoors)
	must(t, lab.WaitFor(t.Context(), time.Minute, "the receiver to be connected", func(ctx context.Context) (bool, string) {
		status, err := n.Replica(ctx)
		return err == nil && status["Replica_IO_Running"] == "Yes", fmt.Sprint(status["Replica_IO_Running"], err)
	}))
	s, err := n.Status(t.Context())
	must(t, err)
	if s.Lease != nil {
		t.Errorf("the lease is still held: %+v", s.Lease)
	}
}

// TestTrapR4ReadOnlyAtRunTimeOnly: the replica's option file does not say that
// it starts read-only; it was set by hand. Nobody may see the rebuilt server
// writable all the same.
func TestTrapR4ReadOnlyAtRunTimeOnly(t *testing.T) {
	t.Parallel()
	c := up(t, nil)
	n := c.Node(3)
	optionless(t, n)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	stopPolls := neverWritable(t, n)
	breakIt(t, c, n, "duplicate-key")
	healed(t, n, 1)
	stopPolls()
	stopLoad()
	before.unchanged(t, n)
	equal(t, c)
}

// TestTrapR4MariaDBIsRefused: MariaDB cannot be told beforehand how it starts,
// and so such a replica is not rebuilt: by the guard where the server knows of
// it, by the rehearsal where the option file was changed since it was started.
func TestTrapR4MariaDBIsRefused(t *testing.T) {
	t.Parallel()
	c := upOn(t, lab.MariaDB, map[string]string{"policy.systemic_window": "3s"})
	db2, db3 := c.Node(2), c.Node(3)
	optionless(t, db3)
	must(t, db3.StopServer(t.Context()))
	must(t, db3.StartServer(t.Context()))
	must(t, db3.SQL(t.Context(), "SET GLOBAL read_only=ON"))
	must(t, db3.WaitReplicating(t.Context(), time.Minute))
	before := identityOf(t, db3)
	breakIt(t, c, db3, "duplicate-key")
	refuses(t, db3, "starts-read-only", time.Minute)
	quiet(t, c, 0, 2*brokenFor)
	before.untouched(t, db3)

	optionless(t, db2)
	before = identityOf(t, db2)
	stopPolls := neverWritable(t, db2)
	breakIt(t, c, db2, "row-missing")
	if r := ended(t, db2, 1, 3*time.Minute); r.Outcome != watchdog.Failed || !strings.Contains(r.Error, "open to writers") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Error)
	}
	stopPolls()
	before.untouched(t, db2)
	doors(t, db2, replicaDoors)
}

// optionless takes the lines by which a replica starts read-only out of its
// option file.
func optionless(t *testing.T, n *lab.Node) {
	t.Helper()
	text, err := os.ReadFile(n.OptionFile())
	must(t, err)
	kept := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "super_read_only") || strings.HasPrefix(line, "read_only")
	})
	must(t, os.WriteFile(n.OptionFile(), []byte(strings.Join(kept, "\n")), 0o644))
}
