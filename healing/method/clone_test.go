package method_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"resilver/healing/method"
	"resilver/healing/private"
	"resilver/watchdog/replica"
)

// donor makes a source with 30 MB of data, an event that writes every second,
// both accounts, and a replication configuration of its own.
func donor(t *testing.T, options ...string) *live {
	t.Helper()
	s := newLive(t, append([]string{"log_bin=DIR/binlog", "event_scheduler=ON", "plugin-load-add=semisync_source.so"}, options...)...).start()
	for _, o := range []replica.GrantsOptions{
		{Flavor: "mysql", Account: replica.AccountSidecar, Name: "resilver", OSUser: me(t)},
		{Flavor: "mysql", Account: replica.AccountClone, Name: "resilver_clone", OSUser: cloneUser(t)},
	} {
		grants, err := replica.Grants(o)
		if err != nil {
			t.Fatal(err)
		}
		s.exec(grants...)
	}
	s.exec("CREATE DATABASE d", "CREATE TABLE d.rows (id INT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(16000))",
		"INSERT INTO d.rows (v) VALUES (RANDOM_BYTES(1000))")
	for range 4 {
		s.exec("INSERT INTO d.rows (v) SELECT CONCAT(RANDOM_BYTES(1000),RANDOM_BYTES(1000),RANDOM_BYTES(1000),RANDOM_BYTES(1000)) FROM d.rows")
	}
	for range 9 {
		s.exec("INSERT INTO d.rows (v) SELECT CONCAT(RANDOM_BYTES(1000),RANDOM_BYTES(1000),RANDOM_BYTES(1000)) FROM d.rows LIMIT 1000")
	}
	s.exec("CREATE TABLE d.ticks (id INT AUTO_INCREMENT PRIMARY KEY, at DATETIME)",
		"CREATE EVENT d.tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO d.ticks (at) VALUES (NOW())",
		"CREATE USER repl@'%' IDENTIFIED BY 'repl-secret'", "GRANT REPLICATION SLAVE ON *.* TO repl@'%'",
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='elsewhere', SOURCE_PASSWORD='x', SOURCE_AUTO_POSITION=1")
	return s
}

// replicaOf makes a replica of the donor whose binary and relay logs have
// absolute paths, one of them outside the datadir. Its option file says
// nothing of being read-only: that was set at run time.
func replicaOf(t *testing.T, source *live, options ...string) *live {
	t.Helper()
	s := newLive(t, append([]string{"log_bin=DIR/logs/binlog", "log_bin_index=DIR/logs/binlog.index", "event_scheduler=ON",
		"relay_log=DIR/data/relay", "relay_log_index=DIR/data/relay.index", "daemonize=OFF"}, options...)...)
	mkdir(t, s.dir+"/logs")
	mkdir(t, s.data+".resilver")
	s.start()
	s.exec(fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='repl', "+
		"SOURCE_PASSWORD='repl-secret', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1", source.port),
		"START REPLICA", "SET GLOBAL super_read_only=ON")
	eventually(t, 60*time.Second, func() error {
		if n := s.read("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA='d' AND TABLE_NAME='ticks'"); n != "1" {
			return errors.New("replica has not caught up")
		}
		return nil
	})
	return s
}

func (s *live) sidecar(t *testing.T, socket string) *replica.Server {
	t.Helper()
	db, err := replica.Open(replica.Options{Socket: socket, User: "resilver", Timeout: 10 * time.Second, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (s *live) paths(t *testing.T) map[string]string {
	t.Helper()
	db := s.sidecar(t, s.socket)
	defer func() { _ = db.Disconnect() }()
	paths, err := db.Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func newClone(t *testing.T, stall time.Duration) *method.Clone {
	t.Helper()
	c, err := method.NewClone(method.CloneOptions{Account: "resilver_clone", StallTimeout: stall, BootTimeout: time.Minute, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// contents are the files of a directory by their hash.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = fmt.Sprintf("%x %d", sha256.Sum256(b), len(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestClone runs the whole way of a copy, then every way it can be refused or
// given up, against one donor.
func TestClone(t *testing.T) {
	source := donor(t)
	node := replicaOf(t, source)
	paths := node.paths(t)
	area := node.data + ".resilver"
	job := func(tunnel func(context.Context) (net.Conn, error)) method.Job {
		return method.Job{ID: "r1", Area: area, Staging: area + "/new", Program: node.program(), Paths: paths, Tunnel: tunnel}
	}
	plain := source.tunnel(cloneUser(t))
	run := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) {
			test(t)
			if left := strays(t, area); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			if err := os.RemoveAll(area + "/new"); err != nil {
				t.Fatal(err)
			}
			if exists(area + "/scratch") {
				t.Error("the scratch datadir is left")
			}
		})
	}
	run("replaces the live data", func(t *testing.T) { testReplace(t, source, node, job(plain)) })
	run("learns the donor's collation", func(t *testing.T) {
		source.exec("SET GLOBAL collation_server=utf8mb4_bin")
		defer source.exec("SET GLOBAL collation_server=utf8mb4_0900_ai_ci")
		mustStage(t, job(plain))
	})
	run("another clone", func(t *testing.T) { testBusy(t, job, plain) })
	run("wrong system user", func(t *testing.T) {
		source.exec("ALTER USER resilver_clone@localhost IDENTIFIED WITH auth_socket AS 'games'")
		defer source.exec("ALTER USER resilver_clone@localhost IDENTIFIED WITH auth_socket AS '" + cloneUser(t) + "'")
		refused(t, job(plain), "identified by auth_socket")
	})
	run("no BACKUP_ADMIN", func(t *testing.T) {
		source.exec("REVOKE BACKUP_ADMIN ON *.* FROM resilver_clone@localhost")
		defer source.exec("GRANT BACKUP_ADMIN ON *.* TO resilver_clone@localhost")
		refused(t, job(plain), "lacks BACKUP_ADMIN")
	})
	run("no clone plugin", func(t *testing.T) {
		source.exec("UNINSTALL PLUGIN clone")
		defer source.exec("INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
		refused(t, job(plain), "plugin_load_add=mysql_clone.so")
	})
	run("tunnel refused", func(t *testing.T) {
		refused(t, job(func(context.Context) (net.Conn, error) { return nil, errors.New("token is stale") }), "token is stale")
	})
	run("stall", func(t *testing.T) { testStall(t, job, plain) })
	run("given up in the middle", func(t *testing.T) { testGivenUp(t, job, plain) })
	run("staging exists", func(t *testing.T) {
		mkdir(t, area+"/new")
		refused(t, job(plain), "must not exist")
	})
}

func testReplace(t *testing.T, source, node *live, job method.Job) {
	// The live replica stands still, so that its files can be compared (R1).
	node.exec("STOP REPLICA", "FLUSH BINARY LOGS")
	logs := contents(t, node.dir+"/logs")
	if len(logs) < 3 {
		t.Fatalf("live binary logs: %v", logs)
	}
	ran := node.read("SELECT COUNT(*) FROM d.ticks")
	var reports, last, total int64
	copied, err := newClone(t, time.Minute).Stage(t.Context(), job, func(d, all int64) {
		if d < last || all < d {
			t.Errorf("progress went from %d to %d of %d", last, d, all)
		}
		reports, last, total = reports+1, d, all
	})
	if err != nil {
		t.Fatal(err)
	}
	if copied.Bytes < 30<<20 || copied.Bytes != last || total < last || reports < 2 || copied.Reported != "" {
		t.Errorf("copy %+v after %d reports, the last %d of %d", copied, reports, last, total)
	}
	if left := strays(t, job.Area); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	donorExecuted := source.read("SELECT @@GLOBAL.gtid_executed")
	unchanged := func(after string) {
		t.Helper()
		if now := contents(t, node.dir+"/logs"); !maps.Equal(now, logs) {
			t.Errorf("R1: live binary logs changed by %s:\n%v\n%v", after, logs, now)
		}
		if now := node.read("SELECT COUNT(*) FROM d.ticks"); now != ran {
			t.Errorf("live table changed by %s from %s to %s rows", after, ran, now)
		}
	}
	unchanged("the copy")
	rehearsed, err := private.Rehearse(t.Context(), private.RehearseOptions{
		Options: private.Options{Program: job.Program, Paths: job.Paths, Area: job.Area, BootTimeout: time.Minute, Logger: logger(t)},
		Datadir: job.Staging, DonorExecuted: donorExecuted,
		Connect: func(socket string) (*replica.Server, error) { return node.sidecar(t, socket), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if rehearsed.Restored || rehearsed.Events != 1 || rehearsed.Executed == "" {
		t.Errorf("rehearsed: %+v", rehearsed)
	}
	unchanged("the rehearsal")
	checkOwner(t, job.Staging)

	bootReal(t, node, job.Staging)
	if got := node.read("SELECT CONCAT(@@GLOBAL.super_read_only, @@GLOBAL.read_only, @@GLOBAL.offline_mode)"); got != "111" {
		t.Errorf("R4: super_read_only, read_only, offline_mode are %s, want 111", got)
	}
	if got := node.read("SELECT COUNT(*) FROM performance_schema.replication_connection_configuration"); got != "0" {
		t.Errorf("P34: %s source configurations are left", got)
	}
	if got := node.read("SELECT STATUS FROM information_schema.EVENTS"); !strings.Contains(got, "DISABLED") {
		t.Errorf("R2: the event is %s", got)
	}
	if got := node.read("SELECT @@GLOBAL.gtid_executed"); got != strings.ReplaceAll(rehearsed.Executed, ",", ",\n") {
		t.Errorf("gtid_executed is %s, rehearsed %s", got, rehearsed.Executed)
	}
	checkSame(t, source, node)
	checkOwner(t, node.data)
	if left := strays(t, job.Area); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// bootReal ends the live server, puts the copy in its place and boots it with
// the real options. Its old logs go aside, as swap does.
func bootReal(t *testing.T, node *live, staging string) {
	t.Helper()
	_ = node.db.Close()
	node.kill()
	for from, to := range map[string]string{node.data: node.dir + "/old", node.dir + "/logs": node.dir + "/oldlogs"} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, node.dir+"/logs")
	if err := os.Rename(staging, node.data); err != nil {
		t.Fatal(err)
	}
	node.start()
}

// checkSame holds the copied table against the donor's; both have the rows
// that were there when the copy was begun.
func checkSame(t *testing.T, a, b *live) {
	t.Helper()
	const sum = "SELECT CONCAT(COUNT(*), ' ', BIT_XOR(CRC32(v))) FROM d.rows"
	if x, y := a.read(sum), b.read(sum); x != y {
		t.Errorf("table differs: %s, %s", x, y)
	}
}

// checkOwner is trap X19: every file belongs to the datadir's owner.
func checkOwner(t *testing.T, dir string) {
	t.Helper()
	uid, gid := owner(t)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != gid {
			t.Errorf("X19: %s belongs to %d:%d", path, st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
