package replica

import (
	"context"
	"fmt"
)

// Contents is what of a server's data and set-up matters to a copy of it.
type Contents struct {
	Encrypted []string // encrypted tablespaces, at most ten, and encrypting log settings
	Scattered []string // see Server.Scattered
	// Engines are the tables that a copy of this flavour brings over empty or
	// not at all, as db.table (engine), at most ten: on MySQL those of any
	// engine but InnoDB, on MariaDB those of engines that mariadb-backup passes
	// over.
	Engines []string
}

// MayHold reads the contents. Needs PROCESS and REFERENCES on *.*: without
// the latter information_schema would hide the tables.
func (s *Server) MayHold(ctx context.Context) (Contents, error) {
	return in(ctx, s, func(ss *session) (Contents, error) {
		if err := ss.mustHold(ctx, "REFERENCES"); err != nil {
			return Contents{}, fmt.Errorf("list tables: %w", err)
		}
		c, err := ss.version.contents(ctx, ss)
		if err != nil {
			return Contents{}, err
		}
		c.Scattered, err = ss.version.scattered(ctx, ss)
		return c, err
	})
}

func (mySQL) contents(ctx context.Context, ss *session) (c Contents, err error) {
	if c.Encrypted, err = ss.names(ctx, "list encrypted tablespaces", `(SELECT NAME AS name
			FROM information_schema.INNODB_TABLESPACES WHERE ENCRYPTION = 'Y' LIMIT 10)
		UNION ALL SELECT VARIABLE_NAME FROM performance_schema.global_variables WHERE VARIABLE_VALUE = 'ON'
			AND VARIABLE_NAME IN ('innodb_redo_log_encrypt', 'innodb_undo_log_encrypt')`); err != nil {
		return Contents{}, err
	}
	c.Engines, err = ss.others(ctx, `TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB'`)
	return c, err
}

// others are the tables of people's schemas that which selects.
func (ss *session) others(ctx context.Context, which string) ([]string, error) {
	return ss.names(ctx, "list tables of other engines",
		"SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME, ' (', ENGINE, ')') AS name FROM information_schema.TABLES WHERE "+which+
			" AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1 LIMIT 10")
}

// names reads a list of one column "name".
func (ss *session) names(ctx context.Context, what, text string) ([]string, error) {
	rows, err := ss.queryWithin(ctx, slowLimit, what, text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range rows {
		out = append(out, r.text("name"))
		if err := r.err(); err != nil {
			return nil, named(what, err)
		}
	}
	return out, nil
}

// MissingForDonor says, one line each, what this server lacks to be copied
// from by account@localhost, an AccountClone on MySQL and an AccountBackup on
// MariaDB; nothing means that it can be. Whether the account maps to the right
// system user shows only when it logs in.
func (s *Server) MissingForDonor(ctx context.Context, account string) ([]string, error) {
	return in(ctx, s, func(ss *session) ([]string, error) { return ss.version.missingForDonor(ctx, ss, account) })
}

func (mySQL) missingForDonor(ctx context.Context, ss *session, account string) ([]string, error) {
	const what = "look for the donor's account"
	r, err := ss.one(ctx, what, `SELECT
		(SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone' AND PLUGIN_STATUS = 'ACTIVE') AS clone,
		(SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'auth_socket' AND PLUGIN_STATUS = 'ACTIVE') AS socket,
		(SELECT plugin FROM mysql.user WHERE User = ? AND Host = 'localhost') AS plugin,
		(SELECT account_locked = 'Y' FROM mysql.user WHERE User = ? AND Host = 'localhost') AS locked,
		(SELECT COUNT(*) FROM mysql.global_grants WHERE USER = ? AND HOST = 'localhost' AND PRIV = 'BACKUP_ADMIN') AS allowed`,
		account, account, account)
	if err != nil {
		return nil, err
	}
	var missing []string
	if !r.yes("clone") {
		missing = append(missing, "the clone plugin is not active: plugin_load_add=mysql_clone.so")
	}
	if !r.yes("socket") {
		missing = append(missing, "the auth_socket plugin is not active: plugin_load_add=auth_socket.so")
	}
	switch plugin := r.text("plugin"); {
	case r.null("plugin"):
		missing = append(missing, fmt.Sprintf("there is no account %s@localhost: see resilver grants", account))
	case plugin != "auth_socket":
		missing = append(missing, fmt.Sprintf("the account %s@localhost is identified by %s, not by auth_socket", account, plugin))
	case r.yes("locked"):
		missing = append(missing, fmt.Sprintf("the account %s@localhost is locked: ALTER USER … ACCOUNT UNLOCK", account))
	case !r.yes("allowed"):
		missing = append(missing, fmt.Sprintf("the account %s@localhost lacks BACKUP_ADMIN", account))
	}
	return missing, named(what, r.err())
}
