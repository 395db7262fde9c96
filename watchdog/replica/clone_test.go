package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// rootNode is a server of this test that is spoken to as root.
func rootNode(t *testing.T, name string, id int) *node {
	t.Helper()
	n, err := newNode(fmt.Sprintf("%s-%d", name, time.Now().UnixNano()), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.own.Disconnect(); err != nil {
		t.Fatal(err)
	}
	if n.own, err = Open(Options{Socket: n.socket, User: "root", Timeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	return n
}

// scratch is an empty private server, as a copy is made with.
func scratch(t *testing.T, name string, extra ...string) *node {
	t.Helper()
	n := rootNode(t, name, 3)
	if err := copyTree(filepath.Join(lab.dir, "template"), n.datadir); err != nil {
		t.Fatal(err)
	}
	if err := n.start(append(extra, "--skip-networking", "--persisted-globals-load=OFF")...); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCopyRehearsedAndAttached goes the way of a rebuild with the accounts of
// Grants: clone through a relay to the donor's socket, rehearse in a private
// server, start closed, attach, open. The donor is the source, so that its
// events come along enabled.
func TestCopyRehearsedAndAttached(t *testing.T) {
	healthy(t)
	ctx := t.Context()
	events(t)
	empty := scratch(t, "scratch")
	copied := rootNode(t, "copy", 4)
	order := CloneOrder{Host: "127.0.0.1", Port: relay(t, lab.source.socket), User: "resilver_clone", Dir: copied.datadir}
	if err := empty.own.Clone(ctx, order); err != nil {
		t.Fatal(err)
	}
	if done, total, err := empty.own.CloneProgress(ctx); err != nil || done < 10<<20 || total < done {
		t.Errorf("progress %d of %d, %v", done, total, err)
	}
	if err := empty.own.Clone(ctx, order); err == nil || errno(err) != 1007 {
		t.Errorf("cloned into a directory that exists: %v", err)
	}
	before := rehearse(t, copied)
	startClosed(t, copied)
	open := attachCopy(t, copied)
	if err := open.OpenForClients(ctx, before, false); err != nil {
		t.Fatal(err)
	}
	if now, err := open.Openness(ctx); err != nil || !now.SuperReadOnly || now.OfflineMode {
		t.Errorf("opened: %+v, %v", now, err)
	}
	got := copied.value(t, `SELECT GROUP_CONCAT(CONCAT(VARIABLE_NAME, '=', VARIABLE_VALUE) ORDER BY 1) FROM performance_schema.persisted_variables`)
	if got != "max_connections=77,read_only=OFF" {
		t.Errorf("persisted afterwards: %s", got)
	}
}

// events makes events of an account of power, of a plain one, and of one that
// is gone, one of them with a time zone and sql_mode of its own.
func events(t *testing.T) {
	lab.source.must(t, "DROP DATABASE IF EXISTS ev", "DROP USER IF EXISTS plain@'%', gone@'%'", "CREATE DATABASE ev", "CREATE USER plain@'%'", "GRANT ALL ON ev.* TO plain@'%'", "CREATE USER gone@'%'",
		"CREATE EVENT ev.a ON SCHEDULE EVERY 1 DAY DO INSERT INTO t.a VALUES (9000, 'an event ran')",
		"SET SESSION time_zone='+05:00', sql_mode='ANSI_QUOTES'",
		"CREATE DEFINER=plain@'%' EVENT ev.b ON SCHEDULE EVERY 1 HOUR STARTS '2030-01-01 00:00:00' COMMENT 'x' DO SELECT 1",
		"SET SESSION time_zone=DEFAULT, sql_mode=DEFAULT",
		"CREATE DEFINER=gone@'%' EVENT ev.`c``d` ON SCHEDULE AT '2035-01-01 00:00:00' ON COMPLETION PRESERVE DO SELECT 2",
		"CREATE DEFINER='o''b@c'@localhost EVENT ev.e ON SCHEDULE EVERY 1 DAY DO SELECT 3",
		"CREATE EVENT ev.off ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 4", "DROP USER gone@'%'")
	healthy(t)
}

func rehearse(t *testing.T, n *node) Persisted {
	t.Helper()
	if err := n.start("--skip-networking", "--skip-replica-start", "--persisted-globals-load=OFF", "--event-scheduler=OFF"); err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	n.must(t, "SET PERSIST_ONLY max_connections=77", "SET PERSIST_ONLY read_only=OFF")
	s, ctx := open(t, Options{Socket: n.socket, User: "resilver"}), t.Context()
	if err := s.ResetSource(ctx); err != nil {
		t.Error(err)
	}
	want, err := s.Executed(ctx)
	if err != nil || want == "" {
		t.Fatal(want, err)
	}
	tagged := want + ",11111111-1111-1111-1111-111111111111:tag:1-3"
	for _, set := range []string{tagged, want} {
		if err := s.RestoreGTIDs(ctx, set); err != nil {
			t.Fatal(err)
		}
		got, err := s.Executed(ctx)
		if err != nil || !contains(t, got, set) || !contains(t, set, got) {
			t.Errorf("restored %s, got %s, %v", set, got, err)
		}
	}
	described := n.value(t, describeEvents)
	if count, err := s.DisableEvents(ctx); err != nil || count != 4 {
		t.Errorf("disabled %d events, wanted 4: %v", count, err)
	}
	if count, err := s.DisableEvents(ctx); err != nil || count != 0 {
		t.Errorf("disabled %d events the second time: %v", count, err)
	}
	if now := n.value(t, describeEvents); now != described {
		t.Errorf("the events were\n%s and are\n%s", described, now)
	}
	before, err := s.PersistClosed(ctx)
	if err != nil {
		t.Fatal(err)
	}
	off := "OFF"
	if !reflect.DeepEqual(before, Persisted{"read_only": &off, "super_read_only": nil, "offline_mode": nil}) {
		t.Errorf("persisted before: %v", before)
	}
	if got, err := s.Executed(ctx); err != nil || !contains(t, got, want) {
		t.Errorf("the rehearsal made transactions: %s, was %s, %v", got, want, err)
	}
	return before
}

const describeEvents = `SELECT GROUP_CONCAT(CONCAT_WS('|', EVENT_SCHEMA, EVENT_NAME, DEFINER, TIME_ZONE, SQL_MODE, EVENT_DEFINITION,
	STARTS, ENDS, INTERVAL_VALUE, INTERVAL_FIELD, EXECUTE_AT, ON_COMPLETION, CHARACTER_SET_CLIENT, EVENT_COMMENT) ORDER BY EVENT_NAME SEPARATOR '\n')
	FROM information_schema.EVENTS`

// startClosed starts the copy as the live server would be: it must come up
// closed to everybody but us.
func startClosed(t *testing.T, n *node) {
	t.Helper()
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Socket: n.socket, User: "resilver"})
	obs := s.Observe(t.Context())
	if !obs.SuperReadOnly || !obs.OfflineMode || len(obs.Sources) != 0 {
		t.Errorf("started: %+v", obs)
	}
	if p, err := protection(t.Context(), s); err != nil || p.Source != "PERSISTED" || !strings.HasSuffix(p.Path, "mysqld-auto.cnf") || p.ByOptionFile() {
		t.Errorf("%+v, %v", p, err)
	}
	client := open(t, Options{Socket: n.socket, User: "plain"})
	if _, err := client.Executed(t.Context()); errno(err) != 3032 && !errors.Is(err, ErrDenied) {
		t.Errorf("a client came in: %v", err)
	}
	if n := n.value(t, "SELECT @@max_connections"); n != "77" {
		t.Errorf("other persisted settings are lost: max_connections %s", n)
	}
}

func attachCopy(t *testing.T, n *node) *Server {
	t.Helper()
	s, ctx := open(t, Options{Socket: n.socket, User: "resilver"}), t.Context()
	c, err := lab.replica.own.SourceConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Attach(ctx, c); err != nil {
		t.Fatal(err)
	}
	id := time.Now().UnixMilli() % 1e9
	lab.source.must(t, fmt.Sprintf("INSERT INTO t.a VALUES (%d,'after the copy')", id))
	until(t, "the copy to replicate", func() bool { return n.value(t, fmt.Sprintf("SELECT COUNT(*) FROM t.a WHERE id=%d", id)) == "1" })
	obs := s.Observe(ctx)
	if d, _ := watchdog.Diagnose(watchdog.Memory{}, obs, watchdog.PrimaryFacts{}, time.Now(), watchdog.DiagnoseConfig{}); d.Class != watchdog.ClassHealthy {
		t.Errorf("%+v", d)
	}
	want, err := lab.source.own.Executed(ctx)
	if err != nil || !contains(t, obs.Executed, want) {
		t.Errorf("the copy has transactions of its own: %s, source %s, %v", obs.Executed, want, err)
	}
	return s
}

// A clone whose line stands still ends soon after its context.
func TestCloneEndsWithItsContext(t *testing.T) {
	empty := scratch(t, "scratch2")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c // and never a word
		}
	}()
	lost := errors.New("lease lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- empty.own.Clone(ctx, CloneOrder{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "resilver_clone", Dir: filepath.Join(empty.dir, "new")})
	}()
	defer func() { _ = (<-accepted).Close() }()
	until(t, "the clone to begin", func() bool {
		return len(accepted) == 1
	})
	cancel(lost)
	start := time.Now()
	if err := <-ended; !errors.Is(err, lost) {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestMayHoldAndMissingForDonor(t *testing.T) {
	healthy(t)
	s, ctx := lab.replica.own, t.Context()
	c, err := s.MayHold(ctx)
	if err != nil || len(c.Encrypted) != 0 || len(c.Engines) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	lab.source.must(t, "CREATE TABLE t.my (id INT PRIMARY KEY) ENGINE=MyISAM")
	healthy(t)
	if c, err = s.MayHold(ctx); err != nil || len(c.Engines) != 1 || c.Engines[0] != "t.my (MyISAM)" {
		t.Errorf("%+v, %v", c, err)
	}
	lab.source.must(t, "DROP TABLE t.my")
	if missing, err := s.MissingForDonor(ctx, "resilver_clone"); err != nil || len(missing) != 0 {
		t.Errorf("%v, %v", missing, err)
	}
	for account, want := range map[string]string{"nobody": "no account", "resilver": "lacks BACKUP_ADMIN"} {
		if missing, err := s.MissingForDonor(ctx, account); err != nil || len(missing) != 1 || !strings.Contains(missing[0], want) {
			t.Errorf("%s: %v, %v", account, missing, err)
		}
	}
	// An account that cannot see the tables must not find that there are none.
	lab.source.must(t, "CREATE USER blind@localhost", "GRANT SYSTEM_VARIABLES_ADMIN, PROCESS ON *.* TO blind@localhost")
	healthy(t)
	blind := open(t, Options{Socket: lab.replica.socket, User: "blind"})
	if _, err := blind.MayHold(ctx); !errors.Is(err, ErrDenied) {
		t.Errorf("blind, but: %v", err)
	}
	lab.source.must(t, "DROP USER blind@localhost")
}

func TestPathsAndProtection(t *testing.T) {
	s, ctx := lab.replica.own, t.Context()
	paths, err := s.Paths(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"datadir": lab.replica.datadir + "/", "socket": lab.replica.socket, "tmpdir": lab.replica.dir,
		"log_bin_basename": lab.replica.datadir + "/binlog", "relay_log_index": lab.replica.datadir + "/relay.index",
		"innodb_undo_directory": "./", "innodb_data_home_dir": "", "init_file": "", "log_error": filepath.Join(lab.replica.dir, "error.log")} {
		if got, ok := paths[name]; !ok || got != want {
			t.Errorf("%s: %q, wanted %q", name, got, want)
		}
	}
	noPathIsMissing(t, lab.replica, paths)
	p, err := protection(ctx, s)
	if err != nil || !p.On || p.Source != "DYNAMIC" || p.ByOptionFile() {
		t.Errorf("set at run time: %+v, %v", p, err)
	}
	for _, want := range []bool{true, false} {
		if got := (Protection{On: want, Source: "GLOBAL", Path: "/etc/mysql/my.cnf"}).ByOptionFile(); got != want {
			t.Errorf("by an option file that says %v: %v", want, got)
		}
	}
}

// noPathIsMissing wants every variable that holds a path among the paths.
func noPathIsMissing(t *testing.T, n *node, paths map[string]string) {
	t.Helper()
	rows, err := n.root.QueryContext(t.Context(), "SHOW GLOBAL VARIABLES")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			t.Fatal(err)
		}
		if _, ok := paths[name]; !ok && (strings.HasPrefix(value, "/") || strings.Contains(value, lab.dir)) {
			t.Errorf("%s = %s is not among the paths", name, value)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
