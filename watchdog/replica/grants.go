package replica

import (
	"fmt"
	"slices"
)

// Account is one of the accounts that resilver needs in every server.
type Account string

// The accounts.
const (
	AccountSidecar Account = "sidecar" // the sidecar's own
	AccountClone   Account = "clone"   // MySQL: what a recipient's clone logs in as
	AccountBackup  Account = "backup"  // MariaDB: what mariadb-backup logs in as
)

// GrantsOptions says whom the statements are for.
type GrantsOptions struct {
	Flavor  string // mysql | mariadb
	Account Account
	Name    string // the account's name, at localhost
	// OSUser is the system user it belongs to; empty: the account has a
	// password instead. On MariaDB it must be Name: unix_socket knows no other.
	OSUser string
	// Checksum adds the right to read all tables, which nothing else needs.
	Checksum bool
}

// grant is what one right is given on.
type grant struct{ privileges, on string }

// Grants returns the statements that make an account with the fewest rights
// it can do its work with. They are run on the primary, and replicate. They
// need auth_socket loaded where OSUser is set, on MySQL. Tried on MySQL 9.7
// and MariaDB 10.11: every method of Server works with exactly these, and each
// of them is needed.
func Grants(o GrantsOptions) ([]string, error) {
	if o.Name == "" {
		return nil, fmt.Errorf("grants: no account name")
	}
	who := literal(o.Name) + "@'localhost'"
	by := " IDENTIFIED BY '<password>'"
	var rights []grant
	switch o.Flavor {
	case flavorMySQL:
		if o.OSUser != "" {
			by = " IDENTIFIED WITH auth_socket AS " + literal(o.OSUser)
		}
		rights = map[Account][]grant{AccountSidecar: sidecarGrants, AccountClone: {{"BACKUP_ADMIN", "*.*"}}}[o.Account]
	case flavorMariaDB:
		if o.OSUser != "" && o.OSUser != o.Name {
			return nil, fmt.Errorf("grants: on MariaDB the account of system user %q must have its name, not %q", o.OSUser, o.Name)
		}
		if o.OSUser != "" {
			by = " IDENTIFIED VIA unix_socket"
		}
		rights = map[Account][]grant{AccountSidecar: mariadbGrants, AccountBackup: backupGrants}[o.Account]
	default:
		return nil, fmt.Errorf("grants: flavour %q is not known", o.Flavor)
	}
	if rights == nil {
		return nil, fmt.Errorf("grants: account %q is not known on %s", o.Account, o.Flavor)
	}
	if o.Checksum && o.Account == AccountSidecar {
		rights = append(slices.Clone(rights), checksumGrant)
	}
	out := []string{"CREATE USER IF NOT EXISTS " + who + by}
	for _, g := range rights {
		out = append(out, "GRANT "+g.privileges+" ON "+g.on+" TO "+who)
	}
	return out, nil
}

// sidecarGrants are the rights of the sidecar's account on MySQL, and what for.
var sidecarGrants = []grant{
	// SHOW REPLICA STATUS; SHOW REPLICAS.
	{"REPLICATION CLIENT, REPLICATION SLAVE", "*.*"},
	// RESET REPLICA ALL, RESET BINARY LOGS AND GTIDS, FLUSH TABLES WITH READ
	// LOCK; information_schema's tablespaces; seeing that tables exist.
	{"RELOAD, PROCESS, REFERENCES", "*.*"},
	// STOP, START and CHANGE; super_read_only, gtid_purged, sql_log_bin and
	// RESET PERSIST; SET PERSIST_ONLY; staying in under offline_mode.
	{"REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN, PERSIST_RO_VARIABLES_ADMIN, CONNECTION_ADMIN", "*.*"},
	// gtid_purged with tagged transactions in it.
	{"TRANSACTION_GTID_TAG", "*.*"},
	// ALTER EVENT of events that others, root too, have defined.
	{"EVENT, SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SYSTEM_USER", "*.*"},
	{"SELECT", "performance_schema.*"},
	// Seeing that triggers and routines exist, and how they were made.
	{"TRIGGER, SHOW_ROUTINE", "*.*"},
	// The source's configuration as the replica has stored it; whether the
	// account for clones is there; how accounts were made.
	{"SELECT", "mysql.*"},
}

// checksumGrant is for reading people's tables, at the primary and in a copy.
var checksumGrant = grant{"SELECT", "*.*"}

// mariadbGrants are those on MariaDB.
var mariadbGrants = []grant{
	// SHOW ALL SLAVES STATUS; SHOW BINARY LOGS.
	{"SLAVE MONITOR, BINLOG MONITOR", "*.*"},
	// RESET SLAVE ALL, RESET MASTER, FLUSH TABLES WITH READ LOCK; InnoDB's
	// tables in information_schema; seeing that tables exist.
	{"RELOAD, PROCESS, REFERENCES", "*.*"},
	// STOP, START, CHANGE and gtid_slave_pos; SHOW SLAVE HOSTS; sql_log_bin;
	// read_only, and writing under it; ending sessions of others.
	{"REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, BINLOG ADMIN, READ_ONLY ADMIN, CONNECTION ADMIN", "*.*"},
	// Seeing that triggers exist.
	{"TRIGGER", "*.*"},
	// The primary's events, in a copy.
	{"UPDATE", "mysql.event"},
	// Whether the account of mariadb-backup is there, with its rights; routines,
	// events and accounts, and how they were made.
	{"SELECT", "mysql.*"},
}

// backupGrants are what mariadb-backup --slave-info needs, and no more.
var backupGrants = []grant{{"RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR", "*.*"}}
