package private

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Place is where a sealed server may write, and nowhere else.
type Place struct {
	Datadir string // its data
	Work    string // its log, pid file and temporary files
	Socket  string // its socket, in Work unless that path would be too long
}

// tmp is where its temporary files go.
func (p Place) tmp() string { return filepath.Join(p.Work, "tmp") }

func (p Place) log() string { return filepath.Join(p.Work, "mysqld.err") }

// PathError is a path of the live server that a private one might write to;
// it is what guard staging-place shows.
type PathError struct{ Variable, Value string }

func (e *PathError) Error() string {
	return fmt.Sprintf("option %s is %s: it is not known whether mysqld writes there", e.Variable, e.Value)
}

// writes lists the variables that name a place mysqld writes to, with what a
// private server gets instead: D, W, T and S stand for its datadir, its work
// directory, its directory for temporary files and its socket. Paths below the
// datadir are relative, as mysqld resolves them: an absolute path of the
// staging directory must not be stored in the data.
var writes = map[string]string{
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
}

// moved are other names under which the server shows the paths in writes.
var moved = map[string]bool{"log_bin_basename": true, "relay_log_basename": true, "slave_load_tmpdir": true}

// reads are the variables whose paths mysqld only reads: kept as they are.
var reads = map[string]bool{
	"basedir": true, "plugin_dir": true, "lc_messages_dir": true, "character_sets_dir": true,
	"secure_file_priv": true, "ft_stopword_file": true, "system_time_zone": true,
	// Not places, but SQL, which may hold a slash.
	"init_connect": true, "init_replica": true, "init_slave": true,
	"validate_password.dictionary_file": true, "validate_password_dictionary_file": true,
}

// readPrefixes are families of such variables: keys, certificates, and
// plugins that a private server does not start.
var readPrefixes = []string{"ssl_", "admin_ssl_", "tls_", "admin_tls_", "caching_sha2_password_",
	"sha256_password_", "authentication_", "mysqlx_", "group_replication_recovery_"}

// required must be known: a list without them is not a server's.
var required = []string{"datadir", "socket", "tmpdir", "log_error", "innodb_log_group_home_dir", "innodb_undo_directory"}

// Seal returns the options that point every path mysqld writes to into p. It
// holds them against paths, the live server's own variables that name places
// on disk (replica.Paths): one that is not known here and holds an absolute
// path is a *PathError. What is not known is refused.
func Seal(paths map[string]string, p Place) ([]string, error) {
	for _, name := range required {
		if _, ok := paths[name]; !ok {
			return nil, fmt.Errorf("seal a private server: variable %s of the live server is not known", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if value := paths[name]; absolute(value) && !known(name) {
			return nil, fmt.Errorf("seal a private server: %w", &PathError{name, value})
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(writes)) {
		out = append(out, option(name, p.resolve(writes[name])))
	}
	return out, nil
}

// CheckSeal says whether a private server could be sealed against these
// paths, before anything is copied.
func CheckSeal(paths map[string]string) error {
	_, err := Seal(paths, Place{Datadir: "/datadir", Work: "/rehearse", Socket: "/rehearse/mysqld.sock"})
	return err
}

func (p Place) resolve(place string) string {
	switch head, rest, _ := strings.Cut(place, "/"); head {
	case "D":
		return p.Datadir
	case "S":
		return p.Socket
	case "T":
		return p.tmp()
	case "W":
		return filepath.Join(p.Work, rest)
	}
	return place
}

// option writes a variable as an option.
func option(name, value string) string {
	return "--" + strings.ReplaceAll(name, "_", "-") + "=" + value
}

func known(name string) bool {
	_, sealed := writes[name]
	return sealed || moved[name] || reads[name] ||
		slices.ContainsFunc(readPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// absolute says that a value is an absolute path, or a list that holds one:
// tmpdir is separated by colons, innodb_directories by semicolons,
// innodb_redo_log_archive_dirs labels its directories.
func absolute(value string) bool {
	for _, scheme := range []string{"http://", "https://"} {
		if strings.HasPrefix(value, scheme) {
			return false
		}
	}
	parts := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(":;, ", r) })
	return slices.ContainsFunc(parts, filepath.IsAbs)
}
