//go:build proof

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestChecksum: a rebuild under steady writes compares all tables with the
// primary, and heals. A row that silently differs at the donor fails a drill,
// and a rebuild that reads only the table of its fault in full, before anything
// live is touched; the history says where it lies.
func TestChecksum(t *testing.T) { onEngines(t, checksum) }

func checksum(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"verify.checksum": "full", "verify.sample": "2s", "policy.cooldown": "1h", "donor.primary": "never"})
	n, donor := c.Node(2), c.Node(3)
	before := identityOf(t, n)
	stopLoad := underLoad(t, c)
	breakIt(t, c, n, "row-missing")
	r := healed(t, n, 1)
	before.unchanged(t, n)
	if r.Compared == nil || r.Compared.Mode != "full" || r.Compared.With != c.Node(1).Name || r.Compared.Tables < 3 || r.Compared.Rows < 1000 || r.Compared.Omitted != 0 {
		t.Errorf("compared: %+v", r.Compared)
	}
	t.Logf("compared: %s", r.Compared)
	stopLoad()
	equal(t, c)

	// As a bug, or somebody past the binary log, leaves it.
	must(t, donor.SQL(t.Context(), onReplica(donor, "SET SESSION sql_log_bin=0", "INSERT INTO lab.faults (id, note) VALUES (5000, 'of the donor alone')")...))
	where := "differs from the primary " + c.Node(1).Name + " in table lab.faults, "
	live := identityOf(t, n)
	drillFails(t, n, donor, where)
	must(t, n.Set(map[string]string{"verify.checksum": "sample"}))
	sidecarAnew(t, n)
	together(t, c)
	breakIt(t, c, n, "row-missing")
	if code, said := resilver(t, n, "rebuild", "--from", donor.Name, "--override", "cooldown", "--follow"); code != 1 {
		t.Errorf("rebuild: exit code %d: %s", code, said)
	}
	r = ended(t, n, 3, time.Minute)
	if r.Outcome != watchdog.Failed || !strings.Contains(r.Error, where) || r.OutageSeconds != nil {
		t.Errorf("%s: %s", r.Outcome, r.Error)
	}
	live.untouched(t, n)
	copyGone(t, n)
	if rows, err := n.Value(t.Context(), "SELECT COUNT(*) FROM lab.faults WHERE id = 5000"); err != nil || rows != "0" {
		t.Errorf("the old data hold %s rows of the donor's: %v", rows, err)
	}
	if s, err := n.Status(t.Context()); err != nil || s.Breaker.Open {
		t.Errorf("breaker: %+v, %v", s.Breaker, err)
	}
}

// copyGone waits until the copy of a rebuild that has ended is removed.
func copyGone(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), 30*time.Second, "the copy to be removed", func(context.Context) (bool, string) {
		_, err := os.Stat(filepath.Join(areaOf(t, n), "new"))
		return errors.Is(err, fs.ErrNotExist), fmt.Sprint(err)
	}))
	noPrivateServers(t, n)
}

func drillFails(t *testing.T, n, donor *lab.Node, why string) {
	t.Helper()
	if code, said := resilver(t, n, "drill", "--from", donor.Name, "--follow"); code != 1 {
		t.Errorf("drill: exit code %d: %s", code, said)
	}
	r := ended(t, n, 2, time.Minute)
	if r.Outcome != watchdog.Failed || !strings.Contains(r.Error, why) || !strings.Contains(r.Error, "keys after (") && !strings.Contains(r.Error, "all rows") {
		t.Errorf("%s: %s", r.Outcome, r.Error)
	}
	t.Logf("drill: %s", r.Error)
	copyGone(t, n)
}
