package healing

import (
	"strings"
	"testing"
)

func TestElsewhere(t *testing.T) {
	flat := map[string]string{
		"innodb_data_home_dir": "", "innodb_undo_directory": "./", "innodb_log_group_home_dir": "./",
		"log_bin_basename": "/var/lib/mysql/binlog", "log_bin_index": "/var/lib/mysql/binlog.index", "relay_log_basename": "/var/lib/mysql/relay",
	}
	if got := elsewhere("/var/lib/mysql/", flat); got != "" {
		t.Errorf("a flat layout: %s", got)
	}
	for name, path := range map[string]string{
		"log_bin_basename": "/var/log/mysql/binlog", "relay_log_basename": "/var/lib/mysql2/relay",
		"innodb_undo_directory": "../undo", "innodb_data_home_dir": "/fast", "innodb_log_group_home_dir": "/redo",
	} {
		spoilt := map[string]string{name: path}
		if got := elsewhere("/var/lib/mysql", spoilt); !strings.HasPrefix(got, name) {
			t.Errorf("%s=%s: %q", name, path, got)
		}
	}
}
