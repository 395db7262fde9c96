package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"resilver/watchdog/replica"
)

func mariadbEngine() *engine {
	return &engine{
		name: MariaDB, title: "MariaDB",
		programs: []string{"mariadbd", "mariadb", "mariadb-install-db", "mariadb-backup", "mbstream"},
		oldest:   100600,
		paths:    mariadbPaths,
		nodeOptions: []string{
			"gtid_domain_id=0",
			"gtid_strict_mode=ON",
			"log_slave_updates=ON",
			"binlog_format=ROW", // in another format a row that is missing is no error
		},
		split: []string{"ib_logfile*", "undo0*", "aria_log*"},
		splitOptions: func(n *Node) []string {
			return []string{"innodb_undo_tablespaces=2", "aria_log_dir_path=" + n.InnoDBDir()}
		},
		mountOptions:   []string{"ignore_db_dirs=.resilver", "ignore_db_dirs=lost+found"},
		directories:    func(string) []string { return nil }, // it may put them anywhere
		redoOption:     "innodb_log_file_size",
		replicaOptions: []string{"read_only=ON"},
		seededOptions:  []string{fmt.Sprintf("innodb_log_file_size=%d", redoCapacity)},

		initialise: mariadbInitialise,
		admit:      func(identity) []string { return nil }, // mariadb-install-db has
		fill:       mariadbFill,

		user:          func(id identity) string { return id.Self }, // unix_socket asks for the very name
		grants:        mariadbGrants,
		login:         mariadbLogin,
		accountTables: []string{"mysql.global_priv", "mysql.db", "mysql.tables_priv", "mysql.columns_priv", "mysql.roles_mapping"},

		change: "CHANGE MASTER TO ", prefix: "MASTER_",
		auto: "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
		// What a former primary wrote itself is where it goes on from.
		begin: []string{"SET GLOBAL gtid_slave_pos=@@global.gtid_current_pos"},
		shut:  []string{"SET GLOBAL read_only=ON"},
		open:  []string{"SET GLOBAL read_only=OFF"},
		// read_only does not hold back the lab's account.
		sneakIn: []string{"SET SESSION sql_log_bin=0"},

		executed: "SELECT @@global.gtid_current_pos",
		received: func(status map[string]string) string { return status["Gtid_IO_Pos"] },
		missing: func(_ context.Context, _ *Node, want, have string) (string, error) {
			return positionsMissing(want, have)
		},
		purged: "1236",
	}
}

func mariadbPaths(root string) []string {
	if root == "" {
		return nil
	}
	return []string{"basedir=" + filepath.Join(root, "usr")}
}

func mariadbInitialise(ctx context.Context, s *Server, id identity, optionFile string) error {
	args := []string{"--defaults-file=" + optionFile, "--skip-test-db", "--skip-name-resolve",
		"--auth-root-authentication-method=socket", "--auth-root-socket-user=" + id.Self}
	if id.root {
		args = append(args, "--user="+id.OS)
	}
	_, err := output(ctx, s.program("mariadb-install-db"), args...)
	return err
}

// mariadbFill does without RANDOM_BYTES, which came with 10.10.
func mariadbFill(first, last int) string {
	const digest = 64
	parts := make([]string, (1000+digest-1)/digest)
	for i := range parts {
		parts[i] = fmt.Sprintf("UNHEX(SHA2(CONCAT(seq, '.%d.', RAND()), %d))", i, digest*8)
	}
	return fmt.Sprintf("INSERT INTO lab.bulk (id, body) SELECT seq, LEFT(CONCAT(%s), 1000) FROM lab.seq_%d_to_%d",
		strings.Join(parts, ", "), first, last)
}

// mariadbGrants are the sidecar's account, with a password, because
// unix_socket lets a system user in under its own name only and the sidecar
// should have fewer rights than root; and that of mysqld's system user, as
// whom the donor's tool runs.
func mariadbGrants(c *Cluster) ([]string, error) {
	password, err := c.secret(sidecarPassword)
	if err != nil {
		return nil, err
	}
	statements, err := grants(
		replica.GrantsOptions{Flavor: MariaDB, Account: replica.AccountSidecar, Name: sidecarAccount, Checksum: c.compares()},
		replica.GrantsOptions{Flavor: MariaDB, Account: replica.AccountBackup, Name: c.id.OS, OSUser: c.id.OS},
	)
	for i := range statements {
		statements[i] = strings.Replace(statements[i], "'<password>'", "'"+password+"'", 1)
	}
	return statements, err
}

// mariadbLogin names the files of both passwords: that of replication cannot
// be read from the server.
func mariadbLogin(c *Cluster) tree {
	return tree{
		"password_file": filepath.Join(c.Dir, sidecarPassword),
		"replication":   tree{"user": replUser, "password_file": filepath.Join(c.Dir, replPassword)},
	}
}

// positionsMissing is what of a GTID position is beyond another: both have
// the last transaction of each domain.
func positionsMissing(want, have string) (string, error) {
	had, err := positions(have)
	if err != nil {
		return "", err
	}
	wanted, err := positions(want)
	if err != nil {
		return "", err
	}
	var out []string
	for _, gtid := range strings.Split(want, ",") {
		if domain, _, _ := strings.Cut(gtid, "-"); domain != "" && wanted[domain] > had[domain] {
			out = append(out, gtid)
		}
	}
	return strings.Join(out, ","), nil
}

// positions reads a GTID position as the last sequence number by domain.
func positions(text string) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, gtid := range strings.Split(text, ",") {
		if gtid == "" {
			continue
		}
		parts := strings.Split(gtid, "-")
		if len(parts) != 3 {
			return nil, fmt.Errorf("read GTID position %q: want domain-server-number", text)
		}
		n, err := strconv.ParseUint(parts[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read GTID position %q: %w", text, err)
		}
		out[parts[0]] = max(out[parts[0]], n)
	}
	return out, nil
}
