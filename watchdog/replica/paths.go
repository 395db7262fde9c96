package replica

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
)

// mysqlPaths are the variables that name a place on disk also where their
// value is empty or relative to the datadir. (MySQL reference, 9.7.)
var mysqlPaths = []string{
	"basedir", "character_sets_dir", "datadir", "general_log_file", "init_file", "innodb_data_file_path",
	"innodb_data_home_dir", "innodb_directories", "innodb_doublewrite_dir", "innodb_log_group_home_dir",
	"innodb_redo_log_archive_dirs", "innodb_temp_data_file_path", "innodb_temp_tablespaces_dir", "innodb_tmpdir",
	"innodb_undo_directory", "lc_messages_dir", "log_bin_basename", "log_bin_index", "log_error", "pid_file",
	"plugin_dir", "relay_log_basename", "relay_log_index", "replica_load_tmpdir", "secure_file_priv",
	"slow_query_log_file", "socket", "tmpdir", "mysqlx_socket", "admin_ssl_ca", "admin_ssl_capath",
	"admin_ssl_cert", "admin_ssl_crl", "admin_ssl_crlpath", "admin_ssl_key", "ssl_ca", "ssl_capath",
	"ssl_cert", "ssl_crl", "ssl_crlpath", "ssl_key",
}

// Paths returns every global variable that names a place on disk, as the
// server writes it: those known to, and any other whose value has an absolute
// path in it. Relative ones are relative to datadir.
func (s *Server) Paths(ctx context.Context) (map[string]string, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	defer ss.close()
	rows, err := ss.query(ctx, "read path variables", "SHOW GLOBAL VARIABLES")
	if err != nil {
		return nil, err
	}
	known := ss.version.pathVariables()
	out := map[string]string{}
	for _, r := range rows {
		name, value := r.text("Variable_name"), r.text("Value")
		if err := r.err(); err != nil {
			return nil, named("read path variables", err)
		}
		if slices.Contains(known, name) || hasAbsolutePath(value) {
			out[name] = value
		}
	}
	return out, nil
}

func (mySQL) pathVariables() []string { return mysqlPaths }

// hasAbsolutePath looks at each part of a list: tmpdir is separated by colons,
// innodb_directories by semicolons, innodb_redo_log_archive_dirs labels its.
func hasAbsolutePath(value string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(":;, ", r) }), filepath.IsAbs)
}
