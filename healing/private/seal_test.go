package private

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

var somewhere = Place{Datadir: "/var/lib/mysql.resilver/new", Work: "/var/lib/mysql.resilver/rehearse/rehearsal", Socket: "/tmp/r/mysqld.sock"}

// livePaths is what a server with everything outside its datadir shows.
func livePaths() map[string]string {
	return map[string]string{
		"basedir": "/usr/", "plugin_dir": "/usr/lib/mysql/plugin/", "character_sets_dir": "/usr/share/mysql/charsets/",
		"lc_messages_dir": "/usr/share/mysql/", "secure_file_priv": "/var/lib/mysql-files/",
		"datadir": "/var/lib/mysql/", "socket": "/run/mysqld/mysqld.sock", "mysqlx_socket": "/run/mysqld/mysqlx.sock",
		"pid_file": "/run/mysqld/mysqld.pid", "log_error": "/var/log/mysql/error.log", "tmpdir": "/mnt/a:/mnt/b",
		"general_log_file": "/var/log/mysql/general.log", "slow_query_log_file": "/var/log/mysql/slow.log",
		"log_bin_basename": "/binlog/binlog", "log_bin_index": "/binlog/binlog.index",
		"relay_log_basename": "/relay/relay", "relay_log_index": "/relay/relay.index",
		"replica_load_tmpdir": "/mnt/a", "slave_load_tmpdir": "/mnt/a", "innodb_tmpdir": "/mnt/c",
		"innodb_data_home_dir": "/ibdata", "innodb_data_file_path": "ibdata1:12M:autoextend",
		"innodb_log_group_home_dir": "/redo", "innodb_undo_directory": "/undo", "innodb_doublewrite_dir": "/dblwr",
		"innodb_directories": "/ts1;/ts2", "innodb_redo_log_archive_dirs": "a:/arch", "init_file": "/etc/mysql/init.sql",
		"innodb_temp_tablespaces_dir": "/ibt", "innodb_temp_data_file_path": "../../ibt/ibtmp1:12M:autoextend",
		"ssl_ca": "/etc/mysql/ca.pem", "admin_ssl_key": "/etc/mysql/key.pem", "init_connect": "SELECT 1 /* hi */",
		"system_time_zone": "UTC", "authentication_openid_connect_configuration": "JSON:///etc/oidc",
	}
}

func TestSealMovesEveryPath(t *testing.T) {
	got, err := Seal(livePaths(), somewhere)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--datadir=/var/lib/mysql.resilver/new", "--socket=/tmp/r/mysqld.sock", "--log-bin=" + somewhere.Work + "/binlog",
		"--log-bin-index=" + somewhere.Work + "/binlog.index", "--relay-log=" + somewhere.Work + "/relay",
		"--relay-log-index=" + somewhere.Work + "/relay.index", "--innodb-log-group-home-dir=./", "--innodb-undo-directory=./",
		"--innodb-data-home-dir=./", "--innodb-doublewrite-dir=./", "--innodb-directories=", "--innodb-redo-log-archive-dirs=",
		"--tmpdir=" + somewhere.Work + "/tmp", "--innodb-tmpdir=" + somewhere.Work + "/tmp", "--init-file=/dev/null",
		"--pid-file=" + somewhere.Work + "/mysqld.pid", "--log-error=" + somewhere.Work + "/mysqld.err",
		"--general-log-file=" + somewhere.Work + "/general.log", "--slow-query-log-file=" + somewhere.Work + "/slow.log",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	for _, o := range got {
		if _, value, _ := strings.Cut(o, "="); strings.HasPrefix(value, "/") && value != "/dev/null" &&
			!strings.HasPrefix(value, "/var/lib/mysql.resilver/") && !strings.HasPrefix(value, "/tmp/r/") {
			t.Errorf("%s leads out of the staging area", o)
		}
	}
}

func TestSealRefusesUnknownPaths(t *testing.T) {
	for name, value := range map[string]string{
		"audit_log_file": "/var/log/audit.log", "keyring_file_data": "/var/lib/mysql-keyring/k", "some_dirs": "a;/b", "more": "x:/y",
		"listed": "a, /b", "innodb_data_file_path": "/disk/ibdata1:12M:autoextend", "url": "file:///etc/x",
	} {
		paths := livePaths()
		paths[name] = value
		_, err := Seal(paths, somewhere)
		var unknown *PathError
		if !errors.As(err, &unknown) || unknown.Variable != name {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
		if err := CheckSeal(paths); !errors.As(err, &unknown) {
			t.Errorf("%s=%s: check: got %v", name, value, err)
		}
	}
	paths := livePaths()
	maps.Copy(paths, map[string]string{"url": "https://example.org/x", "ratio": "1/2", "innodb_ft_aux_table": "d/t"})
	if err := CheckSeal(paths); err != nil {
		t.Error(err)
	}
}

func TestSealWantsARealServersPaths(t *testing.T) {
	for _, of := range []func() map[string]string{livePaths, mariaPaths} {
		for _, name := range engineOf(of()).required {
			paths := of()
			delete(paths, name)
			if _, err := Seal(paths, somewhere); err == nil {
				t.Errorf("%s is missing, and it is sealed", name)
			}
		}
	}
	if err := CheckSeal(nil); err == nil {
		t.Error("no paths, and it is sealed")
	}
}

func TestSealableDropsWhatMustNotRun(t *testing.T) {
	got := sealable([]string{"--defaults-file=/etc/my.cnf", "--daemonize", "--user=mysql", "--user", "mysql", "-u", "mysql", "-umysql",
		"--init_file=/x", "--init-file", "/y", "--loose-init-file=/z", "--initialize-insecure", "--datadir=/var/lib/mysql", "-D",
		"--chroot=/c", "-h", "/var/lib/mysql", "--core-file", "--port=3306"})
	want := []string{"--defaults-file=/etc/my.cnf", "--datadir=/var/lib/mysql", "-h", "/var/lib/mysql", "--port=3306"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
