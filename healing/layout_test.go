package healing

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"resilver/healing/datadir"
)

// laidOut makes a datadir and directories beside it.
func laidOut(t *testing.T, dirs ...string) (datadir.Place, string) {
	t.Helper()
	h := newHalf(t, "", false)
	base := filepath.Dir(h.j.Live.Path)
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p, err := datadir.PlaceFor(h.j.Live.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	return p, base
}

func TestOutside(t *testing.T) {
	p, base := laidOut(t, "logs", "ib", "home", "mysql/sub")
	at := func(path string) string { return filepath.Join(base, path) }
	flat := map[string]string{
		"innodb_data_home_dir": "", "innodb_undo_directory": "./", "innodb_log_group_home_dir": "./", "innodb_doublewrite_dir": "",
		"aria_log_dir_path": at("mysql/"), "relay_log_info_file": "relay-log.info",
		"log_bin_basename": at("mysql/binlog"), "log_bin_index": at("mysql/binlog.index"), "relay_log_basename": at("mysql/relay"),
	}
	if got, err := outside(p, flat, "odd Channel"); err != nil || len(got) > 0 {
		t.Errorf("a flat layout: %v, %v", got, err)
	}
	split := map[string]string{
		"log_bin_basename": at("logs/my-bin"), "log_bin_index": at("logs/idx.lst"), "relay_log_basename": at("logs/relay"),
		"innodb_undo_directory": at("ib"), "innodb_log_group_home_dir": "../ib", "innodb_doublewrite_dir": at("ib/"), "aria_log_dir_path": at("ib"),
		"innodb_data_home_dir": at("home"), "innodb_data_file_path": "ibdata1:50M;ibdata2:50M:autoextend", "innodb_temp_data_file_path": "ibtmp1:12M:autoextend",
	}
	if err := os.WriteFile(at("home/ibdata1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := outside(p, split, "ch_1")
	if err != nil || len(got) != 3 {
		t.Fatalf("a split layout: %+v, %v", got, err)
	}
	for _, o := range got {
		want := map[string]string{
			at("logs"): "my-bin.000001 my-bin.1000000 my-bin.state idx.lst idx.~rec~ idx.index_crash_safe relay.000007 relay.index relay-ch_1.000001 relay-ch_1.index",
			at("home"): "ibdata1 ibdata2 ibtmp1 ib_buffer_pool ib_buffer_pool.incomplete",
			at("ib"):   "#innodb_redo/ ib_logfile0 undo_001 undo002 undo_1_trunc.log u.ibu #ib_16384_0.dblwr #ib_16384_1.bdblwr aria_log_control aria_log.00000001",
		}[o.Dir.Path]
		match := regexp.MustCompile("^(?:" + strings.Join(o.Own, "|") + ")$")
		for name := range strings.FieldsSeq(want) {
			if !match.MatchString(name) {
				t.Errorf("%s: %s is not taken for the server's", o.Dir.Path, name)
			}
		}
		if want == "" {
			t.Errorf("%s was not expected", o.Dir.Path)
		}
		for name := range strings.FieldsSeq("my-bin.01 my-bin.000001.gz my-bin2.000001 relay-ch_2.000001 relay-log.info error.log .resilver undo undo_001.bak undo_001/ ib_logfile0/ ib_logfile #innodb_redo ibdata3 ibdata1/ mysql my-binX000001") {
			if match.MatchString(name) {
				t.Errorf("%s: %s is taken for the server's", o.Dir.Path, name)
			}
		}
	}
	// MySQL's doublewrite files go where the system tablespace is.
	split["innodb_doublewrite_dir"] = ""
	if got, err = outside(p, split, "ch_1"); err != nil || !got[0].Owns("#ib_16384_0.dblwr") || got[0].Dir.Path != at("home") {
		t.Errorf("doublewrite files beside the system tablespace: %+v, %v", got, err)
	}
}

func TestOutsideIsRefused(t *testing.T) {
	p, base := laidOut(t, "logs", "mysql/sub", "mysql.resilver/old")
	at := func(path string) string { return filepath.Join(base, path) }
	for name, c := range map[string]struct{ variable, path, channel string }{
		"no ibdata1":         {"innodb_data_home_dir", at("logs"), ""},
		"another name":       {"innodb_data_file_path", "sys1:12M;ibdata1:12M:autoextend", ""},
		"a path of its own":  {"innodb_data_file_path", "ibdata1:12M;more/ibdata2:12M:autoextend", ""},
		"relay log's state":  {"relay_log_info_file", at("logs/relay-log.info"), ""},
		"inside the datadir": {"log_bin_basename", at("mysql/sub/binlog"), ""},
		"staging area":       {"relay_log_basename", at("mysql.resilver/old/relay"), ""},
		"missing":            {"innodb_undo_directory", at("none"), ""},
		"odd channel":        {"relay_log_basename", at("logs/relay"), "Odd channel"},
	} {
		_, err := outside(p, map[string]string{c.variable: c.path}, c.channel)
		var place *datadir.PlaceError
		if !errors.As(err, &place) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestRewriteIndex: an index of a flat copy names its files by paths relative
// to the datadir, where they will not be.
func TestRewriteIndex(t *testing.T) {
	h := newHalf(t, "", false)
	p, err := datadir.PlaceFor(h.j.Live.Path, "")
	h.do(t, err)
	index := filepath.Join(h.j.Staged.Path, "binlog.index")
	for logs, want := range map[string]string{"/logs": "/logs/binlog.000001\n/logs/binlog.000002\n", p.Live.Path: "./binlog.000001\n./binlog.000002\n"} {
		if err := os.WriteFile(index, []byte("./binlog.000001\n./binlog.000002\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		h.do(t, rewriteIndex(p, h.j.Staged, map[string]string{"log_bin_basename": logs + "/binlog"}))
		if got, err := os.ReadFile(index); err != nil || string(got) != want {
			t.Errorf("logs in %s: %q, %v", logs, got, err)
		}
	}
	h.do(t, rewriteIndex(p, h.j.Staged, map[string]string{"log_bin_basename": "/logs/none"}))
}
