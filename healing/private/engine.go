package private

import (
	"path/filepath"
	"strings"
)

// engine is what differs between MySQL and MariaDB in a private server. Every
// option in it was tried on MySQL 9.7.4 or MariaDB 10.11.
type engine struct {
	// writes lists the variables that name a place the server writes to, with
	// what a private one gets instead: D, W, T and S stand for its datadir,
	// its work directory, its directory for temporary files and its socket.
	// Paths below the datadir are relative, as the server resolves them: an
	// absolute path of the staging directory must not be stored in the data.
	writes map[string]string
	// moved are other names under which the server shows the paths in writes.
	moved map[string]bool
	// reads are the variables whose paths the server only reads: kept as they
	// are; readPrefixes are families of them.
	reads        map[string]bool
	readPrefixes []string
	// required must be known: a list without them is not a server's.
	required []string
	// logs are the options for the binary log of a rehearsal.
	logs func(paths map[string]string, p Place) []string
	// sealed are what every private server gets, and rehearsal what makes a
	// rehearsal small and quick.
	sealed, rehearsal func() []string
	// outward are the options of a rehearsal that replicates.
	outward []string
	// prepared says, by the end of a log, that the server does not boot for
	// transactions that were prepared and neither committed nor rolled back;
	// nil: that does not happen.
	prepared func(log string) bool
	// restores says that the GTID state is not in the copy: it is always set
	// to what was reported with the backup.
	restores bool
	// byFilesAlone says that nothing but the option files can have the server
	// start closed to writers.
	byFilesAlone bool
}

// engineOf knows a server by its variables: Aria is MariaDB's alone, and
// always there.
func engineOf(paths map[string]string) *engine {
	if _, ok := paths["aria_log_dir_path"]; ok {
		return &mariaDB
	}
	return &mySQL
}

func (e *engine) known(name string) bool {
	_, sealed := e.writes[name]
	if sealed || e.moved[name] || e.reads[name] {
		return true
	}
	for _, prefix := range e.readPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

var mySQL = engine{
	writes: map[string]string{
		"datadir":                      "D",
		"socket":                       "S",
		"pid_file":                     "W/mysqld.pid",
		"log_error":                    "W/mysqld.err",
		"general_log_file":             "W/general.log",
		"slow_query_log_file":          "W/slow.log",
		"log_bin":                      "W/binlog",
		"log_bin_index":                "W/binlog.index",
		"relay_log":                    "W/relay",
		"relay_log_index":              "W/relay.index",
		"tmpdir":                       "T",
		"replica_load_tmpdir":          "T",
		"innodb_tmpdir":                "T",
		"innodb_temp_tablespaces_dir":  "T", // ./ would leave files in the copy, and ./#innodb_temp/ is refused
		"innodb_temp_data_file_path":   "ibtmp1:12M:autoextend",
		"innodb_data_home_dir":         "./",
		"innodb_log_group_home_dir":    "./",
		"innodb_undo_directory":        "./",
		"innodb_doublewrite_dir":       "./",
		"innodb_directories":           "", // scanned for tablespaces: those of the live server must not be found
		"innodb_redo_log_archive_dirs": "",
		"innodb_buffer_pool_filename":  "ib_buffer_pool",
		"init_file":                    "/dev/null", // an empty value is an error (MY-010119); this file holds no SQL
	},
	moved: map[string]bool{"log_bin_basename": true, "relay_log_basename": true, "slave_load_tmpdir": true},
	reads: map[string]bool{
		"basedir": true, "plugin_dir": true, "lc_messages_dir": true, "character_sets_dir": true,
		"secure_file_priv": true, "ft_stopword_file": true, "system_time_zone": true,
		// Not places, but SQL, which may hold a slash.
		"init_connect": true, "init_replica": true, "init_slave": true,
		"validate_password.dictionary_file": true, "validate_password_dictionary_file": true,
	},
	// Keys, certificates, and plugins that a private server does not start.
	readPrefixes: []string{"ssl_", "admin_ssl_", "tls_", "admin_tls_", "caching_sha2_password_",
		"sha256_password_", "authentication_", "mysqlx_", "group_replication_recovery_"},
	required: []string{"datadir", "socket", "tmpdir", "log_error", "innodb_log_group_home_dir", "innodb_undo_directory"},
	logs:     func(map[string]string, Place) []string { return nil },
	sealed:   sealedOptions,
	rehearsal: func() []string {
		return append([]string{"--persisted-globals-load=OFF"}, rehearsalOptions()...)
	},
}

var mariaDB = engine{
	writes: map[string]string{
		"datadir":                     "D",
		"socket":                      "S",
		"pid_file":                    "W/mysqld.pid",
		"log_error":                   "W/mysqld.err",
		"general_log_file":            "W/general.log",
		"slow_query_log_file":         "W/slow.log",
		"relay_log":                   "W/relay",
		"relay_log_index":             "W/relay.index",
		"relay_log_info_file":         "W/relay-log.info",
		"master_info_file":            "W/master.info",
		"tmpdir":                      "T",
		"slave_load_tmpdir":           "T",
		"innodb_tmpdir":               "T",
		"innodb_temp_data_file_path":  "ibtmp1:12M:autoextend",
		"innodb_data_home_dir":        "./",
		"innodb_log_group_home_dir":   "./",
		"innodb_undo_directory":       "./",
		"innodb_buffer_pool_filename": "ib_buffer_pool",
		"aria_log_dir_path":           "D", // ./ is taken for the directory the server was started in
		"init_file":                   "/dev/null",
	},
	moved: map[string]bool{"log_bin_basename": true, "log_bin_index": true, "relay_log_basename": true, "log_slow_query_file": true},
	reads: map[string]bool{
		"basedir": true, "plugin_dir": true, "lc_messages_dir": true, "character_sets_dir": true,
		"secure_file_priv": true, "ft_stopword_file": true, "system_time_zone": true,
		"init_connect": true, "init_slave": true, "proxy_protocol_networks": true,
		"server_audit_file_path": true, // it does not log: see mariaSealed
	},
	readPrefixes: []string{"ssl_", "tls_", "wsrep_", "file_key_management_", "hashicorp_key_management_", "cracklib_"},
	required:     []string{"datadir", "socket", "tmpdir", "log_error", "innodb_log_group_home_dir", "innodb_undo_directory"},
	logs:         mariaLogs,
	sealed:       mariaSealed,
	rehearsal:    mariaRehearsal,
	// Without links DATA DIRECTORY is passed over: a table that the source makes
	// now is made in the copy. MySQL refuses directories that it does not know.
	outward:      []string{"--skip-symbolic-links"},
	prepared:     hasPrepared,
	restores:     true,
	byFilesAlone: true,
}

// mariaLogs are the options for the binary log of a rehearsal: with it goes
// gtid_binlog_state, without which a replica below the rebuilt server would be
// refused. It is written into the copy under the live one's name, by a path
// relative to it, so that it is the first of the rebuilt server's, wherever
// that has its own.
func mariaLogs(paths map[string]string, _ Place) []string {
	base := paths["log_bin_basename"]
	if base == "" {
		return []string{"--skip-log-bin"}
	}
	index := filepath.Base(base) + ".index"
	if named := paths["log_bin_index"]; named != "" {
		index = filepath.Base(named)
	}
	return []string{"--log-bin=" + filepath.Base(base), "--log-bin-index=" + index}
}
