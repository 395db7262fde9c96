package method

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "57b70f4e-20d3-11e5-a393-4a63946f7eac"
)

// infoDir is a copy with the given files.
func infoDir(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// The position is that of xtrabackup_slave_info, else of
// xtrabackup_binlog_info, else the copy is refused.
func TestPosition(t *testing.T) {
	const slave, binlog = "xtrabackup_slave_info", "xtrabackup_binlog_info"
	for name, c := range map[string]struct {
		tool  Tool
		files map[string]string
		want  string // empty: refused
		says  string // of the refusal
	}{
		"mariadb primary":             {ToolMariabackup, map[string]string{binlog: "binlog.000002\t344\t0-1-2363\n"}, "0-1-2363", ""},
		"mariadb replica":             {ToolMariabackup, map[string]string{slave: "SET GLOBAL gtid_slave_pos = '0-1-2363';\nCHANGE MASTER TO master_use_gtid = slave_pos;\n", binlog: "b.1\t4\t0-1-1\n"}, "0-1-2363", ""},
		"mariadb two domains":         {ToolMariabackup, map[string]string{binlog: "b.000002\t344\t0-1-2363,1-7-3\n"}, "0-1-2363,1-7-3", ""},
		"mariadb newer names":         {ToolMariabackup, map[string]string{"mariadb_backup_binlog_info": "b.000002\t344\t0-1-5"}, "0-1-5", ""},
		"mysql one line":              {ToolXtrabackup, map[string]string{binlog: "binlog.000007\t3439\t" + uuidA + ":1-5\n"}, uuidA + ":1-5", ""},
		"mysql several lines":         {ToolXtrabackup, map[string]string{binlog: "binlog.000007\t3439\t" + uuidA + ":1-5:7,\n" + uuidB + ":1-99\n"}, uuidA + ":1-5:7," + uuidB + ":1-99", ""},
		"mysql tagged":                {ToolXtrabackup, map[string]string{binlog: "binlog.000007\t3439\t" + uuidA + ":1-5:blue:1-2\n"}, uuidA + ":1-5:blue:1-2", ""},
		"mysql replica":               {ToolXtrabackup, map[string]string{slave: "SET GLOBAL gtid_purged='" + uuidA + ":1-5,\n" + uuidB + ":1';\nCHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1;\n"}, uuidA + ":1-5," + uuidB + ":1", ""},
		"nothing":                     {ToolMariabackup, nil, "", "neither"},
		"no gtid":                     {ToolMariabackup, map[string]string{binlog: "binlog.000002\t344\n"}, "", "names no GTID"},
		"empty gtid":                  {ToolXtrabackup, map[string]string{binlog: "binlog.000002\t344\t\n"}, "", "names no GTID"},
		"empty file":                  {ToolMariabackup, map[string]string{binlog: ""}, "", "not understood"},
		"garbled":                     {ToolMariabackup, map[string]string{binlog: "\x00\x01\x02"}, "", "not understood"},
		"position is no number":       {ToolMariabackup, map[string]string{binlog: "b.1\tx\t0-1-1"}, "", "not understood"},
		"mysql's form at mariadb":     {ToolMariabackup, map[string]string{binlog: "b.1\t4\t" + uuidA + ":1-5"}, "", "no GTID position"},
		"mariadb's form at mysql":     {ToolXtrabackup, map[string]string{binlog: "b.1\t4\t0-1-2363"}, "", "no GTID set"},
		"domain twice":                {ToolMariabackup, map[string]string{binlog: "b.1\t4\t0-1-2,0-2-3"}, "", "no GTID position"},
		"an injection":                {ToolMariabackup, map[string]string{binlog: "b.1\t4\t0-1-2'; DROP DATABASE x; --"}, "", "no GTID position"},
		"replica by file":             {ToolMariabackup, map[string]string{slave: "CHANGE MASTER TO MASTER_LOG_FILE='b.1', MASTER_LOG_POS=4;\n", binlog: "b.1\t4\t0-1-2"}, "", "does not replicate by GTID"},
		"replica with an empty place": {ToolMariabackup, map[string]string{slave: "SET GLOBAL gtid_slave_pos = '';\n", binlog: "b.1\t4\t0-1-2"}, "", "no GTID position"},
		"two sources":                 {ToolMariabackup, map[string]string{slave: "SET GLOBAL gtid_slave_pos = '0-1-2';\nSET GLOBAL gtid_slave_pos = '1-1-2';\n"}, "", "several sources"},
	} {
		t.Run(name, func(t *testing.T) {
			got, replicated, err := kinds[c.tool].position(infoDir(t, c.files))
			if got != c.want || replicated != (c.want != "" && c.files[slave] != "") || (err == nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// The copy's owner may have made these files into anything.
func TestPositionOfNoFile(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	name := filepath.Join(dir, "xtrabackup_binlog_info")
	for what, mk := range map[string]func() error{
		"a pipe":      func() error { return syscall.Mkfifo(name, 0o600) },
		"a directory": func() error { return os.Mkdir(name, 0o700) },
		"a link out":  func() error { return os.Symlink("/etc/hostname", name) },
	} {
		if err := mk(); err != nil {
			t.Fatal(err)
		}
		if set, _, err := kinds[ToolMariabackup].position(root); err == nil {
			t.Errorf("%s: %q", what, set)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// Trap P28: MariaDB's tool leaves log-applied where Percona's leaves
// full-prepared; what is no full backup is refused.
func TestTrapP28Checkpoints(t *testing.T) {
	const rest = "\nfrom_lsn = 0\nto_lsn = 44404\nlast_lsn = 46956\nrecover_binlog_info = 0\n"
	for text, want := range map[string]string{
		"backup_type = full-backuped" + rest:                                        typeBackup,
		"backup_type = log-applied" + rest:                                          typeApplied,
		"backup_type = full-prepared" + rest + "flushed_lsn = 1\nredo_memory = 0\n": typePrepared,
		"":                                 "",
		"backup_type = full-backuped":      "",
		"backup_type = incremental" + rest: "",
		"backup_type = log-applied\nfrom_lsn = 5\nto_lsn = 7\nlast_lsn = 7\n": "",
		"backup_type = log-applied\nfrom_lsn = 0\nto_lsn = 7\nlast_lsn = 6\n": "",
		"backup_type = log-applied\nfrom_lsn = 0\nto_lsn = 0\nlast_lsn = 0\n": "",
		"backup_type = log-applied\nbackup_type = full-prepared" + rest:       "",
		"backup_type = log-applied\nnonsense" + rest:                          "",
	} {
		got, err := parseCheckpoints(text)
		if err != nil {
			got.kind = ""
		}
		if got.kind != want {
			t.Errorf("%q: %q, %v", text, got.kind, err)
		}
	}
	c, err := readCheckpoints(infoDir(t, map[string]string{"mariadb_backup_checkpoints": "backup_type = log-applied" + rest}))
	if err != nil || c.to != 44404 || c.latest != 46956 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := readCheckpoints(infoDir(t, nil)); err == nil {
		t.Error("no file, no error")
	}
}
