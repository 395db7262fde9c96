package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var mariaChores = []chore{
	{"contents", func(ctx context.Context, s *Server) error {
		c, err := s.MayHold(ctx)
		if err == nil && len(c.Engines) != 1 {
			return fmt.Errorf("%w: %+v", ErrDenied, c)
		}
		return err
	}},
	{"objects", func(ctx context.Context, s *Server) error {
		list, err := s.Objects(ctx)
		for _, o := range list {
			if _, wrong := s.Definition(ctx, o); wrong != nil && o.Kind != "view" && o.Kind != "event" {
				err = errors.Join(err, wrong)
			}
		}
		return err
	}},
	{"protection", func(ctx context.Context, s *Server) error { _, err := s.StartsReadOnly(ctx); return err }},
	{"source", func(ctx context.Context, s *Server) error {
		c, err := s.SourceConfig(ctx)
		if err != nil {
			return err
		}
		c.Filters = []Filter{{"REPLICATE_DO_DB", "t"}}
		return s.Attach(ctx, c)
	}},
	{"gtids", func(ctx context.Context, s *Server) error {
		return errors.Join(stopReplica(ctx, s), s.RestoreGTIDs(ctx, "0-1-5,0-2-9"))
	}},
	{"events under read_only", func(ctx context.Context, s *Server) error {
		err := s.OpenForClients(ctx, Persisted{}, false)
		if err != nil {
			return err
		}
		if _, err = s.DisableEvents(ctx); errno(err) == 1290 { // ER_OPTION_PREVENTS_STATEMENT
			err = fmt.Errorf("%w: %w", ErrDenied, err)
		}
		return err
	}},
}

// The grants are enough for everything, and none of them can be left out.
func TestMariaDBEveryGrantIsNeeded(t *testing.T) {
	n := mariaNode(t, "grants", 3, "skip_networking=ON", "skip_slave_start=ON")
	if err := n.fill(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.must(t, "CREATE DATABASE t", "CREATE TABLE t.m (id INT) ENGINE=MEMORY", "CREATE EVENT t.e ON SCHEDULE EVERY 1 DAY DO SELECT 1", "CREATE USER client@localhost",
		"CREATE TRIGGER t.r BEFORE INSERT ON t.m FOR EACH ROW SET NEW.id=1", "CREATE PROCEDURE t.p() SELECT 1")
	everyGrantIsNeeded(t, n, mariadbGrants, mariaChores, func() {
		n.must(t, "STOP ALL SLAVES", "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='x'", "SET GLOBAL read_only=OFF", "SET GLOBAL replicate_do_db=''", "ALTER EVENT t.e ENABLE")
		// Somebody whose session must be ended.
		idle, err := n.root.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = idle.Close() })
		client := open(t, Options{Socket: n.socket, User: "client"})
		if conn, err := client.db.Conn(t.Context()); err == nil {
			t.Errorf("a client without BINLOG ADMIN set sql_log_bin: %v", conn.Close())
		}
	})
}

func TestMariaDBGrants(t *testing.T) {
	text, err := grantsText(GrantsOptions{Flavor: "mariadb", Account: AccountBackup, Name: "mysql", OSUser: "mysql"})
	if err != nil || text != "CREATE USER IF NOT EXISTS 'mysql'@'localhost' IDENTIFIED VIA unix_socket;\n"+
		"GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'mysql'@'localhost';\n" {
		t.Errorf("%s, %v", text, err)
	}
	for _, bad := range []GrantsOptions{{Flavor: "mariadb", Account: AccountClone, Name: "x"}, {Flavor: "mysql", Account: AccountBackup, Name: "x"},
		{Flavor: "mariadb", Account: AccountSidecar, Name: "resilver", OSUser: "root"}, {Flavor: "mariadb", Account: AccountSidecar}} {
		if _, err := Grants(bad); err == nil {
			t.Errorf("%+v was granted", bad)
		}
	}
}

func TestMariaDBMissingForDonor(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	if missing, err := s.MissingForDonor(ctx, "daemon"); err != nil || len(missing) != 0 {
		t.Errorf("%v, %v", missing, err)
	}
	p.source.must(t, "CREATE USER half@localhost IDENTIFIED VIA mysql_native_password OR unix_socket", "GRANT RELOAD, PROCESS ON *.* TO half@localhost")
	p.healthy(t)
	for account, want := range map[string]string{"nobody": "no account nobody@localhost", "half": "lacks BINLOG MONITOR|lacks SLAVE MONITOR",
		"resilver": "is not identified by unix_socket"} {
		missing, err := s.MissingForDonor(ctx, account)
		got := strings.Join(missing, "|")
		for _, part := range strings.Split(want, "|") {
			if err != nil || !strings.Contains(got, part) {
				t.Errorf("%s: %v, %v", account, missing, err)
			}
		}
	}
	p.source.must(t, "DROP USER half@localhost")
	p.healthy(t)
}

func TestMariaDBMayHold(t *testing.T) {
	mariaPair(t)
	keys := filepath.Join(lab.dir, "keys")
	if err := os.WriteFile(keys, []byte("1;"+strings.Repeat("0123456789abcdef", 2)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := mariaNode(t, "holds", 3, "skip_networking=ON", "plugin_load_add=file_key_management", "file_key_management_filename="+keys)
	if err := n.fill(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	s, ctx := n.own, t.Context()
	c, err := s.MayHold(ctx)
	if err != nil || len(c.Encrypted) != 0 || len(c.Engines) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	small, err := s.DataBytes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n.must(t, "CREATE DATABASE t", "CREATE TABLE t.m (id INT) ENGINE=MEMORY", "CREATE TABLE t.my (id INT) ENGINE=MyISAM", "CREATE TABLE t.ar (v BLOB) ENGINE=Aria",
		"CREATE TABLE t.v (id INT) WITH SYSTEM VERSIONING", "CREATE SEQUENCE t.s", "CREATE VIEW t.w AS SELECT * FROM t.v",
		"CREATE TABLE t.secret (id INT) ENCRYPTED=YES", "INSERT INTO t.ar SELECT REPEAT('x', 60000) FROM t.seq_1_to_100", "FLUSH TABLES")
	c, err = s.MayHold(ctx)
	if err != nil || len(c.Engines) != 1 || c.Engines[0] != "t.m (MEMORY)" || len(c.Encrypted) != 1 || c.Encrypted[0] != "t/secret" {
		t.Errorf("%+v, %v", c, err)
	}
	if large, err := s.DataBytes(ctx); err != nil || large < small+6_000_000 {
		t.Errorf("%d bytes, then %d, %v", small, large, err)
	}
	far := ownedDir(t, filepath.Join(n.dir, "far"))
	if len(c.Scattered) != 0 {
		t.Errorf("scattered %v", c.Scattered)
	}
	n.must(t, "CREATE TABLE t.far (id INT) DATA DIRECTORY='"+far+"'", "CREATE TABLE t.fara (id INT) ENGINE=Aria DATA DIRECTORY='"+far+"'")
	if got, err := s.Scattered(ctx); err != nil || !slices.Equal(got, []string{far + "/t/far.ibd", "t.fara"}) {
		t.Errorf("scattered %v, %v", got, err)
	}
	// An account that cannot see the tables must not find that there are none.
	n.must(t, "CREATE USER blind@localhost", "GRANT BINLOG ADMIN, PROCESS ON *.* TO blind@localhost")
	blind := open(t, Options{Socket: n.socket, User: "blind"})
	if _, err := blind.MayHold(ctx); !errors.Is(err, ErrDenied) {
		t.Errorf("blind, but: %v", err)
	}
}

func TestMariaDBPaths(t *testing.T) {
	p := mariaPair(t)
	s, ctx := p.replica.own, t.Context()
	paths, err := s.Paths(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dir := p.replica.datadir
	for name, want := range map[string]string{"datadir": dir + "/", "socket": p.replica.socket, "tmpdir": p.replica.dir,
		"log_bin_basename": dir + "/binlog", "relay_log_index": dir + "/relay.index", "aria_log_dir_path": dir + "/",
		"innodb_undo_directory": "./", "innodb_data_home_dir": "", "init_file": "", "log_error": filepath.Join(p.replica.dir, "error.log")} {
		if got, ok := paths[name]; !ok || got != want {
			t.Errorf("%s: %q, wanted %q", name, got, want)
		}
	}
	noPathIsMissing(t, p.replica, paths)
}
