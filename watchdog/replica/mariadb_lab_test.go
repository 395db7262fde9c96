package replica

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// maria is the one pair of MariaDB, started by the first test that asks.
var maria struct {
	once sync.Once
	err  error
	pair
}

// ownPassword is the sidecar's own, since unix_socket would want an account of
// the name of whoever runs these tests.
const ownPassword = "own-secret"

func mariaPair(t *testing.T) *pair {
	t.Helper()
	maria.once.Do(func() { maria.err = setUpMaria() })
	if maria.err != nil {
		t.Fatal("set up MariaDB:", maria.err)
	}
	return &maria.pair
}

func setUpMaria() error {
	if out, err := mariaInstall(filepath.Join(lab.dir, "maria-template")); err != nil {
		return fmt.Errorf("initialise: %w: %s", err, out)
	}
	for id, n := range map[int]**node{1: &maria.source, 2: &maria.replica} {
		var err error
		if *n, err = newMaria(fmt.Sprintf("maria%d", id), id); err != nil {
			return err
		}
		if err := (*n).fill(); err != nil {
			return err
		}
		if err := (*n).start(); err != nil {
			return err
		}
	}
	return mariaReplicate()
}

// fill gives the node an empty datadir.
func (n *node) fill() error { return copyTree(filepath.Join(lab.dir, "maria-template"), n.datadir) }

func mariaReplicate() error {
	o := GrantsOptions{Flavor: "mariadb", Account: AccountSidecar, Name: "resilver"}
	statements, err := Grants(o)
	if err != nil {
		return err
	}
	statements[0] = "CREATE USER resilver@localhost IDENTIFIED BY " + literal(ownPassword)
	o = GrantsOptions{Flavor: "mariadb", Account: AccountBackup, Name: "daemon", OSUser: "daemon"}
	backup, err := Grants(o)
	if err != nil {
		return err
	}
	statements = append(append(statements, backup...), "CREATE USER repl@'%' IDENTIFIED BY "+literal(replPassword),
		"GRANT REPLICATION SLAVE ON *.* TO repl@'%'", "CREATE DATABASE t",
		"CREATE TABLE t.a (id BIGINT PRIMARY KEY, v VARCHAR(100))", "INSERT INTO t.a VALUES (1, 'one'), (2, 'two')")
	if err := execAll(maria.source.root, statements...); err != nil {
		return err
	}
	// What the replica made itself so far is nothing that the source lacks.
	if err := execAll(maria.replica.root, "RESET MASTER", mariaSource(maria.source), "START SLAVE", "SET GLOBAL read_only=ON"); err != nil {
		return err
	}
	var pos string
	if err := maria.source.root.QueryRow("SELECT @@GLOBAL.gtid_binlog_pos").Scan(&pos); err != nil {
		return err
	}
	var late int
	if err := maria.replica.root.QueryRow("SELECT MASTER_GTID_WAIT(?, 30)", pos).Scan(&late); err != nil || late != 0 {
		return fmt.Errorf("the replica does not catch up: %d, %w", late, err)
	}
	return nil
}

func mariaSource(n *node) string {
	return fmt.Sprintf(`CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='repl', MASTER_PASSWORD=%s,
		MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_SSL_VERIFY_SERVER_CERT=0`, n.port, literal(replPassword))
}

func execAll(db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// newMaria prepares a server; its options are in a file, so that they count as
// such. It syncs its redo log, or each RESET MASTER would take two seconds.
func newMaria(name string, id int, lines ...string) (*node, error) {
	n := &node{dir: filepath.Join(lab.dir, name), program: mariadbd, maria: true}
	if err := n.place(); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("[mariadbd]\ndatadir=%s\nsocket=%s\ntmpdir=%s\npid_file=%s\nlog_error=%s\nport=%d\nserver_id=%d\n"+
		"bind_address=127.0.0.1\nreport_host=127.0.0.1\nlog_bin=binlog\nrelay_log=relay\nlog_slave_updates=ON\nbinlog_format=ROW\n"+
		"gtid_strict_mode=ON\ninnodb_buffer_pool_size=16M\ninnodb_log_file_size=8M\n", n.datadir, n.socket, n.dir, filepath.Join(n.dir, "pid"), filepath.Join(n.dir, "error.log"), n.port, id)
	for _, l := range lines {
		text += l + "\n"
	}
	options := filepath.Join(n.dir, "my.cnf")
	if err := os.WriteFile(options, []byte(text), 0o644); err != nil {
		return nil, err
	}
	n.args = []string{"--defaults-file=" + options}
	return n, n.open(Options{User: "resilver", Password: pw(ownPassword)})
}

// mariaNode is a server of this test that is spoken to as root.
func mariaNode(t *testing.T, name string, id int, lines ...string) *node {
	t.Helper()
	mariaPair(t)
	n, err := newMaria(name+"-"+strconv.FormatInt(time.Now().UnixNano(), 36), id, lines...)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.own.Disconnect(); err != nil {
		t.Fatal(err)
	}
	if err := n.root.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.open(Options{User: "root"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	return n
}

// mariaProgram is one of the server's programs and its own options.
func mariaProgram(name string) (string, []string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil, nil
	}
	path, err := filepath.Abs("../../.servers/mariadb/bin/" + name)
	if err != nil {
		return "", nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", nil, fmt.Errorf("no %s on PATH nor unpacked by `make lab ENGINE=mariadb`: %w", name, err)
	}
	return path, []string{"--basedir=" + filepath.Join(filepath.Dir(filepath.Dir(path)), "root", "usr")}, nil
}

func mariadbd(args ...string) (*exec.Cmd, error) {
	path, own, err := mariaProgram("mariadbd")
	if err != nil {
		return nil, err
	}
	return owned(exec.Command(path, append(args, own...)...)), nil
}

// mariaInstall makes an empty datadir. The script of an unpacked tree knows
// where that is.
func mariaInstall(datadir string) ([]byte, error) {
	path, _, err := mariaProgram("mariadb-install-db")
	if err != nil {
		return nil, err
	}
	return owned(exec.Command(path, "--no-defaults", "--datadir="+datadir, "--skip-test-db", "--skip-name-resolve",
		"--auth-root-authentication-method=normal")).CombinedOutput()
}
