//go:build proof

package e2e

import (
	"testing"

	"resilver/cmd/internal/lab"
)

// What a proof does in one way on MySQL and in another on MariaDB.

// doorsOf is a query for how far a server is closed, replicaDoors what a
// replica of the lab answers, primaryDoors what a primary does.
var (
	doorsOf = map[string]string{
		lab.MySQL:   "SELECT CONCAT(@@read_only, @@super_read_only, @@offline_mode)",
		lab.MariaDB: "SELECT @@read_only",
	}
	replicaDoors = map[string]string{lab.MySQL: "110", lab.MariaDB: "1"}
	primaryDoors = map[string]string{lab.MySQL: "000", lab.MariaDB: "0"}
)

func doors(t *testing.T, n *lab.Node, want map[string]string) {
	t.Helper()
	seen, err := n.Value(t.Context(), doorsOf[n.Engine()])
	must(t, err)
	if seen != want[n.Engine()] {
		t.Errorf("%s: %s: %s, want %s", n.Name, doorsOf[n.Engine()], seen, want[n.Engine()])
	}
}

// vital is a file without which a server does not boot.
var vital = map[string]string{lab.MySQL: "mysql.ibd", lab.MariaDB: "aria_log_control"}

// onReplica are statements around one that a person runs on a replica, with a
// trace in its binary log: MariaDB's read_only does not hold back who may
// do everything.
func onReplica(n *lab.Node, statements ...string) []string {
	if n.Engine() == lab.MariaDB {
		return statements
	}
	return append(append([]string{"SET GLOBAL super_read_only=0"}, statements...), "SET GLOBAL super_read_only=1")
}

// ownGTID begins what the errant guard calls a transaction of this server.
func ownGTID(id identity) string {
	if id.uuid != "" {
		return id.uuid + ":1"
	}
	return "0-" + id.serverID + "-"
}
