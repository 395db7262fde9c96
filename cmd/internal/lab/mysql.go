package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"resilver/watchdog/replica"
)

func mysqlEngine() *engine {
	return &engine{
		name: MySQL, title: "MySQL", programs: []string{"mysqld", "mysql"},
		oldest: 80023, // the first that knows CHANGE REPLICATION SOURCE
		paths:  mysqlPaths,
		nodeOptions: []string{
			"gtid_mode=ON",
			"enforce_gtid_consistency=ON",
			"plugin_load_add=mysql_clone.so",
			"plugin_load_add=auth_socket.so",
		},
		split: []string{"#innodb_redo", "undo_0*"},
		splitOptions: func(n *Node) []string {
			return []string{"innodb_doublewrite_dir=" + n.InnoDBDir()}
		},
		directories:    func(dir string) []string { return []string{"innodb_directories=" + dir} },
		redoOption:     "innodb_redo_log_capacity",
		replicaOptions: []string{"super_read_only=ON"},
		seededOptions:  []string{"innodb_redo_log_capacity=" + strconv.Itoa(redoCapacity), "plugin_load_add=auth_socket.so"},

		initialise: func(ctx context.Context, s *Server, _ identity, optionFile string) error {
			_, err := output(ctx, s.Mysqld, "--defaults-file="+optionFile, "--initialize-insecure")
			return err
		},
		admit: func(id identity) []string {
			return []string{fmt.Sprintf("ALTER USER root@localhost IDENTIFIED WITH auth_socket AS '%s'", id.Self)}
		},
		fill:   mysqlFill,
		forget: []string{"auto.cnf"}, // each node gets a server_uuid of its own

		user:          func(identity) string { return "root" },
		grants:        mysqlGrants,
		login:         func(*Cluster) tree { return tree{} }, // known by its system user; the server knows the rest
		accountTables: []string{"mysql.user", "mysql.db", "mysql.global_grants", "mysql.role_edges", "mysql.tables_priv"},

		change: "CHANGE REPLICATION SOURCE TO ", prefix: "SOURCE_",
		auto:     "SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1",
		shut:     []string{"SET GLOBAL super_read_only=ON"},
		open:     []string{"SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF"},
		sneakIn:  []string{"SET GLOBAL super_read_only=OFF", "SET SESSION sql_log_bin=0"},
		sneakOut: []string{"SET GLOBAL super_read_only=ON"},

		executed: "SELECT @@global.gtid_executed",
		received: func(status map[string]string) string {
			return strings.Trim(status["Executed_Gtid_Set"]+","+status["Retrieved_Gtid_Set"], ",")
		},
		missing: func(ctx context.Context, n *Node, want, have string) (string, error) {
			return n.Value(ctx, "SELECT GTID_SUBTRACT(?, ?)", want, have)
		},
		purged:       "13114",
		followedSuit: "3030", // ER_REPLICA_WORKER_STOPPED_PREVIOUS_THD_ERROR
	}
}

func mysqlPaths(root string) []string {
	lines := []string{"secure_file_priv=", "mysqlx=OFF"}
	if root == "" {
		return lines
	}
	return append(lines,
		"lc_messages_dir="+filepath.Join(root, "usr/share/mysql"),
		"character_sets_dir="+filepath.Join(root, "usr/share/mysql/charsets"),
		"plugin_dir="+filepath.Join(root, "usr/lib/mysql/plugin"))
}

func mysqlFill(first, last int) string {
	return fmt.Sprintf("INSERT INTO lab.bulk (id, body) "+
		"WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i+1 FROM n WHERE i < %d) "+
		"SELECT /*+ SET_VAR(cte_max_recursion_depth=%d) */ i, RANDOM_BYTES(1000) FROM n",
		first, last, last-first+1)
}

func mysqlGrants(c *Cluster) ([]string, error) {
	return grants(
		replica.GrantsOptions{Flavor: MySQL, Account: replica.AccountSidecar, Name: sidecarAccount, OSUser: c.id.Self, Checksum: c.compares()},
		replica.GrantsOptions{Flavor: MySQL, Account: replica.AccountClone, Name: "resilver_clone", OSUser: c.id.Donor},
	)
}
