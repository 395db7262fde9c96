//go:build proof

package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// written is what a client that commits one row after the other saw.
type written struct {
	done    int
	longest time.Duration // of a commit
	err     error
}

// commits runs a statement again and again, each in a transaction of its own,
// until ctx ends.
func commits(ctx context.Context, n *lab.Node, statement string) (w written) {
	// The session outlives ctx, so that no commit is cut off.
	w.err = n.Session(context.WithoutCancel(ctx), func(_ context.Context, conn *sql.Conn) error {
		for ctx.Err() == nil {
			one, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			began := time.Now()
			_, err := conn.ExecContext(one, statement)
			cancel()
			if err != nil {
				return err
			}
			w.done++
			w.longest = max(w.longest, time.Since(began))
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
		return nil
	})
	return w
}

// longestCommit is the longest that a client at the node waited for a commit
// while something was done.
func longestCommit(t *testing.T, n *lab.Node, something func()) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan written, 1)
	go func() { seen <- commits(ctx, n, "INSERT INTO lab.timed (body) VALUES (REPEAT('x', 200))") }()
	func() {
		defer cancel()
		something()
	}()
	w := <-seen
	must(t, w.err)
	if w.done < 20 {
		t.Fatalf("only %d commits were timed", w.done)
	}
	t.Logf("%d commits, the longest %s", w.done, w.longest.Round(time.Millisecond))
	return w.longest
}

// TestTrapR24CommitsOfADonor: a rebuild copies from the primary while a client
// commits there. With its own defaults the tool lets every commit stand still
// for a second at its end; ours stay far below. The comparison is between the
// best of a few runs of either, so that a busy machine does not decide it.
func TestTrapR24CommitsOfADonor(t *testing.T) {
	t.Parallel()
	c := upOn(t, lab.MariaDB, map[string]string{"policy.cooldown": "1s", "donor.primary": "allowed"})
	db1, db2, db3 := c.Node(1), c.Node(2), c.Node(3)
	must(t, db3.Set(map[string]string{"node.donor": "false"}))
	restart(t, c, db3)
	must(t, db1.SQL(t.Context(), "CREATE TABLE lab.timed (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, body CHAR(200) NOT NULL)"))

	byHand := longestCommit(t, db1, func() { backupByHand(t, db1) })
	byHand = min(byHand, longestCommit(t, db1, func() { backupByHand(t, db1) }))
	const most = 3
	for i := 1; ; i++ {
		breakIt(t, c, db2, "row-missing")
		ours := longestCommit(t, db1, func() {
			if r := healed(t, db2, i); r.Donor != db1.Name {
				t.Fatalf("healed from %s, want the primary", r.Donor)
			}
		})
		if 2*ours < byHand {
			t.Logf("longest commit %s in a rebuild, %s with the tool's own defaults", ours, byHand)
			break
		}
		if i == most {
			t.Fatalf("longest commit %s in a rebuild, %s with the tool's own defaults: want less than half", ours, byHand)
		}
	}
	equal(t, c)
}

// backupByHand runs the tool as a person would, to nowhere.
func backupByHand(t *testing.T, n *lab.Node) {
	t.Helper()
	server, err := lab.Servers(t.Context(), n.Engine(), logWriter{t})
	must(t, err)
	me, err := user.Current()
	must(t, err)
	var said strings.Builder
	cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(server.Mysqld), "mariadb-backup"), "--defaults-file="+n.OptionFile(),
		"--backup", "--stream=mbstream", "--socket="+n.Socket, "--user="+me.Username, "--target-dir="+t.TempDir())
	cmd.Stderr = &said // its output goes to /dev/null
	if err := cmd.Run(); err != nil || !strings.Contains(said.String(), "completed OK!") {
		t.Fatal(fmt.Errorf("mariadb-backup by hand: %w\n%s", err, said.String()))
	}
}
