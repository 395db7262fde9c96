package replica

import (
	"context"
	"fmt"
)

// dataBytes: what mariadb-backup carries, InnoDB's files and the tables of the
// other engines.
func (mariaDB) dataBytes(ctx context.Context, ss *session) (int64, error) {
	return ss.bytes(ctx, `SELECT CAST(
		(SELECT COALESCE(SUM(FILE_SIZE), 0) FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME <> 'innodb_temporary') +
		(SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES
			WHERE ENGINE IS NOT NULL AND ENGINE NOT IN ('InnoDB', 'PERFORMANCE_SCHEMA', 'MEMORY')) AS SIGNED) AS size`)
}

// carried are the engines whose tables come over whole (mariadb-backup's
// manual), or that hold nothing of their own here. Tables in MEMORY come over
// empty; what others keep, CONNECT or RocksDB, is passed over or not tried.
const carried = "'InnoDB', 'Aria', 'MyISAM', 'MRG_MyISAM', 'CSV', 'ARCHIVE', 'BLACKHOLE', 'FEDERATED', 'SEQUENCE'"

func (mariaDB) contents(ctx context.Context, ss *session) (c Contents, err error) {
	if c.Encrypted, err = ss.names(ctx, "list encrypted tablespaces", `(SELECT NAME AS name
			FROM information_schema.INNODB_TABLESPACES_ENCRYPTION WHERE ENCRYPTION_SCHEME <> 0 OR CURRENT_KEY_VERSION <> 0 LIMIT 10)
		UNION ALL SELECT LOWER(VARIABLE_NAME) FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_VALUE = 'ON'
			AND VARIABLE_NAME IN ('INNODB_ENCRYPT_LOG', 'ARIA_ENCRYPT_TABLES', 'ENCRYPT_BINLOG')`); err != nil {
		return Contents{}, err
	}
	c.Engines, err = ss.others(ctx, "TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW') AND ENGINE NOT IN ("+carried+")")
	return c, err
}

// backupRights are what mariadb-backup --slave-info needs, by the bit that
// stands for each in mysql.global_priv (privilege.h, the same since 10.5). Of
// the last two the tool finds out only after it has copied everything (tried).
var backupRights = []struct {
	name string
	bit  uint
}{{"RELOAD", 6}, {"PROCESS", 8}, {"BINLOG MONITOR", 20}, {"SLAVE MONITOR", 38}}

func (mariaDB) missingForDonor(ctx context.Context, ss *session, account string) ([]string, error) {
	const what = "look for the donor's account"
	rows, err := ss.query(ctx, what, `SELECT CAST(JSON_VALUE(Priv, '$.access') AS UNSIGNED) AS access,
		Priv LIKE '%"unix_socket"%' AS socket FROM mysql.global_priv WHERE User = ? AND Host = 'localhost'`, account)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return []string{fmt.Sprintf("there is no account %s@localhost: see resilver grants", account)}, nil
	}
	var missing []string
	if !rows[0].yes("socket") {
		missing = append(missing, fmt.Sprintf("the account %s@localhost is not identified by unix_socket", account))
	}
	access := rows[0].unsigned("access")
	for _, r := range backupRights {
		if access&(1<<r.bit) == 0 {
			missing = append(missing, fmt.Sprintf("the account %s@localhost lacks %s", account, r.name))
		}
	}
	return missing, named(what, rows[0].err())
}

// mariadbPaths are the variables that name a place on disk also where their
// value is empty or relative to the datadir. (MariaDB 10.11, SHOW VARIABLES.)
var mariadbPaths = []string{
	"aria_log_dir_path", "basedir", "character_sets_dir", "datadir", "general_log_file", "init_file",
	"ignore_db_dirs", "innodb_data_file_path", "innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_temp_data_file_path",
	"innodb_tmpdir", "innodb_undo_directory", "lc_messages_dir", "log_bin_basename", "log_bin_index", "log_error",
	"log_slow_query_file", "pid_file", "plugin_dir", "relay_log_basename", "relay_log_index", "relay_log_info_file",
	"secure_file_priv", "slave_load_tmpdir", "slow_query_log_file", "socket", "ssl_ca", "ssl_capath", "ssl_cert",
	"ssl_crl", "ssl_crlpath", "ssl_key", "tmpdir", "wsrep_data_home_dir",
}

func (mariaDB) pathVariables() []string { return mariadbPaths }
