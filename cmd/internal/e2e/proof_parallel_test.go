//go:build proof

package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// preparedSaid is what the sidecar logs before it starts a copy once more to
// roll transactions back that it carries.
const preparedSaid = "the copy has prepared transactions"

// TestTrapR21PreparedTransactions: MariaDB's replicas apply in parallel while
// many clients write. One transaction waits for a lock at the donor, those
// behind it are prepared and wait for it, and so the copy carries them and
// does not boot. It heals all the same, and lacks nothing. Before and after, a
// copy is taken while all of them commit as they come.
func TestTrapR21PreparedTransactions(t *testing.T) {
	t.Parallel()
	c := upWith(t, lab.Options{Engine: lab.MariaDB, Set: map[string]string{"policy.cooldown": "1s", "donor.primary": "never"},
		Mysqld: []string{"slave_parallel_threads=4", "slave_parallel_mode=optimistic", "innodb_lock_wait_timeout=600"}})
	db1, db2, db3 := c.Node(1), c.Node(2), c.Node(3)
	must(t, db1.SQL(t.Context(), "CREATE TABLE lab.held (id INT NOT NULL PRIMARY KEY, n INT NOT NULL)", "INSERT INTO lab.held VALUES (1, 0)"))
	stop := manyWriters(t, db1, 4)
	for i := 1; i <= 3; i++ {
		before, seen := identityOf(t, db2), rollBacks(t, db2)
		begin, end := filepath.Join(t.TempDir(), "go-on"), filepath.Join(t.TempDir(), "go-on")
		if i == 2 {
			restartWith(t, db2, "stage.begin=wait:"+begin+",stage.end=wait:"+end)
			together(t, c)
		}
		breakIt(t, c, db2, "row-missing")
		if i == 2 {
			reached(t, begin)
			release := holdBack(t, db1, db3)
			must(t, os.WriteFile(begin, nil, 0o644))
			reached(t, end)
			release()
			must(t, os.WriteFile(end, nil, 0o644))
		}
		r := healed(t, db2, i)
		before.unchanged(t, db2)
		quarantined(t, db2, before, r.ID)
		if now := rollBacks(t, db2); i == 2 && now == seen {
			t.Error("the copy had no prepared transactions: this proves nothing")
		}
	}
	stop()
	equal(t, c)
}

// rollBacks is how often the node's sidecar rolled prepared transactions back.
func rollBacks(t *testing.T, n *lab.Node) int {
	t.Helper()
	log, err := os.ReadFile(n.SidecarLog())
	must(t, err)
	return strings.Count(string(log), preparedSaid)
}

// holdBack keeps one transaction of the primary waiting for a lock at the
// replica, and returns when others are prepared and wait for it.
func holdBack(t *testing.T, primary, n *lab.Node) (release func()) {
	t.Helper()
	held, over, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		done <- n.Session(ctx, func(ctx context.Context, conn *sql.Conn) error {
			tx, err := conn.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			var id int
			if err := tx.QueryRowContext(ctx, "SELECT id FROM lab.held WHERE id=1 FOR UPDATE").Scan(&id); err != nil {
				return err
			}
			close(held)
			<-over
			return tx.Rollback()
		})
	}()
	select {
	case <-held:
	case err := <-done:
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		close(over)
		must(t, <-done)
	})
	t.Cleanup(release)
	must(t, primary.SQL(t.Context(), "UPDATE lab.held SET n=n+1 WHERE id=1"))
	must(t, lab.WaitFor(t.Context(), time.Minute, n.Name+"'s workers to wait for each other", func(ctx context.Context) (bool, string) {
		waiting, err := n.Value(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for prior transaction to commit%'")
		return err == nil && waiting != "0", fmt.Sprint(waiting, err)
	}))
	return release
}

// manyWriters commit rows one by one, each writer on a connection of its own,
// until the test stops them.
func manyWriters(t *testing.T, primary *lab.Node, writers int) (stop func()) {
	t.Helper()
	must(t, primary.SQL(t.Context(), "CREATE TABLE lab.many (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, writer INT NOT NULL, body CHAR(200) NOT NULL)"))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() {
			w := commits(ctx, primary, fmt.Sprintf("INSERT INTO lab.many (writer, body) VALUES (%d, REPEAT('x', 200))", i))
			t.Logf("writer %d: %d commits", i, w.done)
			if w.err != nil {
				t.Errorf("writer %d: %v", i, w.err)
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop
}
