package replica

import (
	"fmt"
	"strings"
)

// Account is one of the two accounts that resilver needs in every server.
type Account string

// The accounts.
const (
	AccountSidecar Account = "sidecar" // the sidecar's own
	AccountClone   Account = "clone"   // what a recipient's clone logs in as
)

// GrantsOptions says whom the statements are for.
type GrantsOptions struct {
	Flavor  string // mysql
	Account Account
	Name    string // the account's name, at localhost
	OSUser  string // the system user it belongs to; empty: the account has a password instead
}

// Grants returns the statements that make an account with the fewest rights
// it can do its work with. They are run on the primary, and replicate. They
// need auth_socket loaded where OSUser is set. Tried on MySQL 9.7: every
// method of Server works with exactly these, and each of them is needed.
func Grants(o GrantsOptions) ([]string, error) {
	if o.Flavor != flavorMySQL {
		return nil, fmt.Errorf("grants: flavour %q is not known", o.Flavor)
	}
	if o.Name == "" {
		return nil, fmt.Errorf("grants: no account name")
	}
	who := literal(o.Name) + "@'localhost'"
	by := " IDENTIFIED WITH auth_socket AS " + literal(o.OSUser)
	if o.OSUser == "" {
		by = " IDENTIFIED BY '<password>'"
	}
	out := []string{"CREATE USER IF NOT EXISTS " + who + by}
	switch o.Account {
	case AccountClone:
		return append(out, "GRANT BACKUP_ADMIN ON *.* TO "+who), nil
	case AccountSidecar:
		for _, g := range sidecarGrants {
			out = append(out, "GRANT "+g.privileges+" ON "+g.on+" TO "+who)
		}
		return out, nil
	}
	return nil, fmt.Errorf("grants: account %q is not known", o.Account)
}

// sidecarGrants are the rights of the sidecar's account, and what for.
var sidecarGrants = []struct{ privileges, on string }{
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
	// The source's configuration as the replica has stored it.
	{"SELECT", "mysql.slave_master_info"},
	{"SELECT", "mysql.slave_relay_log_info"},
	// Whether the account for clones is there.
	{"SELECT (User, Host, plugin, account_locked)", "mysql.user"},
	{"SELECT", "mysql.global_grants"},
}

// GrantsText is Grants as a script.
func GrantsText(o GrantsOptions) (string, error) {
	statements, err := Grants(o)
	if err != nil {
		return "", err
	}
	return strings.Join(statements, ";\n") + ";\n", nil
}
