//go:build proof

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// semiSync is how an engine calls semi-synchronous replication; MySQL has it
// in plugins.
type semiSync struct {
	lines                   []string // of the option files: replicas acknowledge
	source, replica, status string   // variables
	waits                   string   // state of a commit that waits
}

var semiSyncs = map[string]semiSync{
	lab.MySQL: {
		lines:  []string{"plugin_load_add=semisync_source.so", "plugin_load_add=semisync_replica.so", "rpl_semi_sync_replica_enabled=ON"},
		source: "rpl_semi_sync_source", replica: "rpl_semi_sync_replica_enabled", status: "Rpl_semi_sync_source_clients",
		waits: "Waiting for semi-sync ACK from replica",
	},
	lab.MariaDB: {
		lines:  []string{"rpl_semi_sync_slave_enabled=ON"},
		source: "rpl_semi_sync_master", replica: "rpl_semi_sync_slave_enabled", status: "Rpl_semi_sync_master_clients",
		waits: "Waiting for semi-sync ACK from slave",
	},
}

// TestTrapR7LastAcknowledgingReplica: the primary waits for an acknowledgement
// and the broken replica is the only one that gives any. It is not rebuilt,
// by policy or by command, until another one does.
func TestTrapR7LastAcknowledgingReplica(t *testing.T) { onEngines(t, lastAcknowledging) }

func lastAcknowledging(t *testing.T, engine string) {
	is := semiSyncs[engine]
	c := upWith(t, lab.Options{Engine: engine, Mysqld: is.lines})
	db1, db2, db3 := c.Node(1), c.Node(2), c.Node(3)
	ctx := t.Context()
	// acknowledges takes effect with a new connection to the source.
	acknowledges := func(n *lab.Node, on string) {
		must(t, n.SQL(ctx, fmt.Sprintf("SET GLOBAL %s=%s", is.replica, on), "STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"))
	}
	must(t, db1.SQL(ctx, fmt.Sprintf("SET GLOBAL %s_timeout=%d", is.source, (10*time.Minute).Milliseconds()), "SET GLOBAL "+is.source+"_enabled=ON"))
	acknowledges(db3, "OFF")
	acknowledges(db2, "ON")
	acknowledging(t, db1, is, "1")
	before := identityOf(t, db2)

	// Without it a commit waits.
	must(t, db2.SQL(ctx, "STOP REPLICA IO_THREAD"))
	answer := make(chan error, 1)
	go func() { answer <- db1.SQL(ctx, "INSERT INTO lab.faults (note) VALUES ('acknowledged')") }()
	must(t, lab.WaitFor(ctx, time.Minute, "a commit to wait for its acknowledgement", func(ctx context.Context) (bool, string) {
		n, err := db1.Value(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE ?", is.waits+"%")
		return err == nil && n == "1", fmt.Sprint(n, err)
	}))
	must(t, db2.SQL(ctx, "START REPLICA IO_THREAD"))
	must(t, <-answer)

	breakIt(t, c, db2, "row-missing")
	refuses(t, db2, "semi-sync", time.Minute)
	_, stderr, code, err := db2.Resilver(ctx, "rebuild")
	must(t, err)
	if code != 3 || !strings.Contains(stderr, "semi-sync") {
		t.Errorf("rebuild: exit code %d, want 3 and guard semi-sync: %s", code, stderr)
	}
	quiet(t, c, 0, 2*brokenFor)
	before.untouched(t, db2)
	must(t, db1.SQL(ctx, "INSERT INTO lab.faults (note) VALUES ('still acknowledged')"))

	acknowledges(db3, "ON")
	healed(t, db2, 1)
	before.unchanged(t, db2)
	acknowledging(t, db1, is, "2")
	equal(t, c)
}

// acknowledging waits until so many replicas acknowledge to the primary.
func acknowledging(t *testing.T, primary *lab.Node, is semiSync, want string) {
	t.Helper()
	must(t, lab.WaitFor(t.Context(), time.Minute, want+" replicas to acknowledge", func(ctx context.Context) (bool, string) {
		rows, err := primary.Rows(ctx, "SHOW GLOBAL STATUS LIKE '"+is.status+"'")
		return err == nil && len(rows) == 1 && rows[0]["Value"] == want, fmt.Sprint(rows, err)
	}))
}
