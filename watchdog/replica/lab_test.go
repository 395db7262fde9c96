package replica

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"resilver/watchdog"
)

// node is one real server of these tests.
type node struct {
	dir, datadir, socket string
	port                 int
	args                 []string
	program              func(args ...string) (*exec.Cmd, error)
	maria                bool
	cmd                  *exec.Cmd
	done                 chan struct{}
	root                 *sql.DB // as root, writing binary logs
	own                  *Server // as the sidecar's account
}

// pair is a source and its replica.
type pair struct {
	source, replica *node
	broken          string // the test after which the replica did not come back
}

// lab is the one pair of MySQL that all tests share, and where it lies.
var lab struct {
	dir   string
	owner *syscall.Credential // nil: servers run as we do
	pair
}

func TestMain(m *testing.M) {
	code := run(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func run(m *testing.M) int {
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "set up servers:", err)
		tearDown()
		return 1
	}
	defer tearDown()
	return m.Run()
}

func tearDown() {
	for _, n := range []*node{lab.replica, lab.source, maria.replica, maria.source} {
		if n != nil {
			n.kill()
		}
	}
	_ = os.RemoveAll(lab.dir)
}

func setUp() error {
	var err error
	if lab.dir, err = os.MkdirTemp("", "resilver-replica-"); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		u, err := user.Lookup("daemon")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		lab.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(lab.dir, uid, gid); err != nil {
			return err
		}
	}
	template := filepath.Join(lab.dir, "template")
	cmd, err := mysqld("--no-defaults", "--initialize-insecure", "--datadir="+template,
		"--log-error="+filepath.Join(lab.dir, "initialize.log"))
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initialize: %w: %s", err, out)
	}
	for id, n := range map[int]**node{1: &lab.source, 2: &lab.replica} {
		if *n, err = newNode(fmt.Sprintf("node%d", id), id); err != nil {
			return err
		}
		if err := copyTree(template, (*n).datadir); err != nil {
			return err
		}
		if err := (*n).start(); err != nil {
			return err
		}
	}
	return replicate()
}

// replicate makes the accounts on the source and attaches the replica.
func replicate() error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	var statements []string
	for _, o := range []GrantsOptions{
		{Flavor: "mysql", Account: AccountSidecar, Name: "resilver", OSUser: me.Username},
		{Flavor: "mysql", Account: AccountClone, Name: "resilver_clone", OSUser: me.Username},
	} {
		g, err := Grants(o)
		if err != nil {
			return err
		}
		statements = append(statements, g...)
	}
	statements = append(statements, "CREATE USER repl@'%' IDENTIFIED BY "+literal(replPassword),
		"GRANT REPLICATION SLAVE ON *.* TO repl@'%'", "CREATE DATABASE t",
		"CREATE TABLE t.a (id INT PRIMARY KEY, v VARCHAR(100))", "INSERT INTO t.a VALUES (1, 'one'), (2, 'two')")
	for _, s := range statements {
		if _, err := lab.source.root.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	// The replica has no account for us before it replicates.
	for _, s := range []string{"RESET BINARY LOGS AND GTIDS", fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1',
		SOURCE_PORT=%d, SOURCE_USER='repl', SOURCE_PASSWORD=%s, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1,
		SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=3`, lab.source.port, literal(replPassword)), "START REPLICA", "SET GLOBAL super_read_only=ON"} {
		if _, err := lab.replica.root.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	// A session keeps the rights it had when it began: all grants must be there first.
	var set string
	if err := lab.source.root.QueryRow("SELECT @@GLOBAL.gtid_executed").Scan(&set); err != nil {
		return err
	}
	var late int
	if err := lab.replica.root.QueryRow("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 30)", set).Scan(&late); err != nil || late != 0 {
		return fmt.Errorf("the replica does not catch up: %d, %w", late, err)
	}
	return nil
}

// replPassword has in it what quoting could get wrong.
const replPassword = `p'a"ss\word ?; -- x`

// newNode prepares a server of its own directory and account.
func newNode(name string, id int, extra ...string) (*node, error) {
	n := &node{dir: filepath.Join(lab.dir, name), program: mysqld}
	if err := n.place(); err != nil {
		return nil, err
	}
	// Not --no-defaults: that would leave mysqld-auto.cnf unread too.
	options := filepath.Join(n.dir, "my.cnf")
	if err := os.WriteFile(options, []byte("[mysqld]\n"), 0o644); err != nil {
		return nil, err
	}
	n.args = append([]string{"--defaults-file=" + options, "--datadir=" + n.datadir, "--socket=" + n.socket, "--tmpdir=" + n.dir,
		"--pid-file=" + filepath.Join(n.dir, "pid"), "--log-error=" + filepath.Join(n.dir, "error.log"),
		"--port=" + strconv.Itoa(n.port), "--bind-address=127.0.0.1", "--server-id=" + strconv.Itoa(id),
		"--gtid-mode=ON", "--enforce-gtid-consistency", "--log-bin=binlog", "--relay-log=relay",
		"--plugin-load-add=mysql_clone.so", "--plugin-load-add=auth_socket.so", "--sync-binlog=0",
		"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=16M", "--innodb-redo-log-capacity=16M",
		"--auto-generate-certs=OFF", "--innodb-buffer-pool-load-at-startup=0", "--innodb-buffer-pool-dump-at-shutdown=0"}, extra...)
	return n, n.open(Options{User: "resilver"})
}

// place gives the node a directory and a port of its own.
func (n *node) place() error {
	n.datadir, n.socket = filepath.Join(n.dir, "data"), filepath.Join(n.dir, "s.sock")
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if lab.owner != nil {
		if err := os.Chown(n.dir, int(lab.owner.Uid), int(lab.owner.Gid)); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n.port = l.Addr().(*net.TCPAddr).Port
	return l.Close()
}

// open prepares sessions as root, and as the sidecar's account.
func (n *node) open(o Options) (err error) {
	if n.root, err = sql.Open("mysql", "root@unix("+n.socket+")/"); err != nil {
		return err
	}
	o.Socket, o.Timeout, o.Logger = n.socket, 5*time.Second, slog.New(slog.DiscardHandler)
	n.own, err = Open(o)
	return err
}

// start starts the server and waits until it answers.
func (n *node) start(extra ...string) error {
	cmd, err := n.program(append(n.args, extra...)...)
	if err != nil {
		return err
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.done = cmd, make(chan struct{})
	go func() { _ = cmd.Wait(); close(n.done) }()
	deadline := time.After(60 * time.Second)
	for n.root.Ping() != nil {
		select {
		case <-n.done:
			log, _ := os.ReadFile(filepath.Join(n.dir, "error.log"))
			return fmt.Errorf("the server ended: %s\n%s", out.String(), log)
		case <-deadline:
			return errors.New("the server does not answer")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// stop shuts the server down cleanly.
func (n *node) stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.done:
	case <-time.After(30 * time.Second):
		n.end()
	}
}

// end kills the process.
func (n *node) end() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		<-n.done
	}
}

// kill ends the process and our sessions.
func (n *node) kill() {
	n.end()
	_ = n.own.Disconnect()
	_ = n.root.Close()
}

// mysqld is the server found on PATH or in the project's own folder; there
// being none is an error, never a reason to skip.
func mysqld(args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath("mysqld")
	if err != nil {
		if path, err = filepath.Abs("../../.servers/mysql/bin/mysqld"); err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("no mysqld on PATH nor unpacked by `make lab`: %w", err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil { // into a folder that mysqld's user can enter
			return nil, err
		}
		root := filepath.Join(filepath.Dir(filepath.Dir(path)), "root")
		args = append(args, "--lc-messages-dir="+root+"/usr/share/mysql", "--character-sets-dir="+root+"/usr/share/mysql/charsets",
			"--plugin-dir="+root+"/usr/lib/mysql/plugin")
	}
	return owned(exec.Command(path, append(args, "--secure-file-priv=", "--mysqlx=OFF")...)), nil
}

// owned has a command run as the servers do, and die with us.
func owned(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = lab.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: lab.owner}
	cmd.WaitDelay = time.Second
	return cmd
}

// copyTree copies a stopped server's datadir, without its identity.
func copyTree(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(to, "auto.cnf")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return filepath.WalkDir(to, func(path string, _ os.DirEntry, err error) error {
		if err != nil || lab.owner == nil {
			return err
		}
		return os.Lchown(path, int(lab.owner.Uid), int(lab.owner.Gid))
	})
}

// must runs statements as root.
func (n *node) must(t *testing.T, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := n.root.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// locally changes the replica alone.
func (n *node) locally(t *testing.T, statements ...string) {
	t.Helper()
	if n.maria { // root writes under read_only
		n.must(t, append(append([]string{"SET SESSION sql_log_bin=0"}, statements...), "SET SESSION sql_log_bin=1")...)
		return
	}
	all := append([]string{"SET GLOBAL super_read_only=OFF", "SET SESSION sql_log_bin=0"}, statements...)
	n.must(t, append(all, "SET SESSION sql_log_bin=1", "SET GLOBAL super_read_only=ON")...)
}

func (n *node) value(t *testing.T, query string) string {
	t.Helper()
	var v sql.NullString
	if err := n.root.QueryRowContext(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

// until polls a condition with a deadline.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// healthy waits until the replica has applied all that the source has.
func healthy(t *testing.T) watchdog.Observation {
	t.Helper()
	return lab.healthy(t)
}

func (p *pair) healthy(t *testing.T) watchdog.Observation {
	t.Helper()
	if p.broken != "" {
		t.Fatalf("%s left the replica broken", p.broken)
	}
	p.broken = t.Name()
	var obs watchdog.Observation
	until(t, "the replica to catch up", func() bool {
		want, err := p.source.own.Executed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		obs = p.replica.own.Observe(t.Context())
		return obs.Reachable && len(obs.Sources) == 1 && obs.Sources[0].Receiver.Running == watchdog.ThreadRunning &&
			obs.Sources[0].Applier.Running == watchdog.ThreadRunning && p.contains(t, want, obs.Executed)
	})
	p.broken = ""
	return obs
}

func contains(t *testing.T, part, whole string) bool {
	t.Helper()
	return lab.contains(t, part, whole)
}

func (p *pair) contains(t *testing.T, part, whole string) bool {
	t.Helper()
	ok, err := p.source.own.GTIDSubset(t.Context(), part, whole)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// relay lets TCP clients of this process reach a unix socket, as a tunnel
// does; it ends with the test.
func relay(t *testing.T, socket string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", socket)
			if err != nil {
				_ = in.Close()
				continue
			}
			pipe := func(to, from net.Conn) { _, _ = io.Copy(to, from); _ = to.Close(); _ = from.Close() }
			go pipe(in, out)
			go pipe(out, in)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().(*net.TCPAddr).Port
}

// freeze stops a server's process for as long as while runs.
func freeze(t *testing.T, n *node, while func()) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.cmd.Process.Signal(syscall.SIGCONT) }()
	while()
}
