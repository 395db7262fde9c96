package method_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"resilver/healing/private"
	"resilver/healing/transfer"
)

// TestMain also is the child that dials as another user.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == transfer.DialAsCommand {
		os.Exit(transfer.DialAsMain(os.Args[2:]))
	}
	if len(os.Args) == 4 && os.Args[1] == donateCommand {
		os.Exit(donateUntilKilled(os.Args[2], os.Args[3]))
	}
	go keepThread()
	code := m.Run()
	close(kept)
	for _, dir := range []string{initialised.dir, mariaInitialised.dir} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// kept is where servers are started: a child with a parent-death signal ends
// with the thread that forked it, and threads end with private servers that have
// covers.
var kept = make(chan func())

func keepThread() {
	runtime.LockOSThread()
	for start := range kept {
		start()
	}
}

// mysqld finds a real server on PATH or among those that the project fetches,
// with the options its libraries need. There is no test without one.
func mysqld(t *testing.T) (string, []string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "..", ".servers"))
	if err != nil {
		t.Fatal(err)
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real // in a folder that mysqld's user can enter
	}
	root = filepath.Join(root, "mysql")
	if fetched := filepath.Join(root, "bin", "mysqld"); exists(fetched) {
		share := filepath.Join(root, "root", "usr", "share", "mysql")
		return fetched, []string{"lc-messages-dir=" + share, "character-sets-dir=" + share + "/charsets",
			"plugin-dir=" + filepath.Join(root, "root", "usr", "lib", "mysql", "plugin"), "secure-file-priv="}
	}
	found, err := exec.LookPath("mysqld")
	if err != nil {
		t.Fatal("no mysqld on PATH and none fetched: run make lab")
	}
	return found, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// owner is whom the servers run as: daemon where we are root.
func owner(t *testing.T) (uid, gid uint32) {
	t.Helper()
	if os.Geteuid() != 0 {
		return uint32(os.Getuid()), uint32(os.Getgid())
	}
	u, err := user.Lookup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	id, _ := strconv.Atoi(u.Uid)
	group, _ := strconv.Atoi(u.Gid)
	return uint32(id), uint32(group)
}

// place makes a directory that the servers' user owns and reaches.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "method-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	give(t, dir)
	return dir
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	give(t, path)
	return path
}

func give(t *testing.T, path string) {
	t.Helper()
	uid, gid := owner(t)
	if err := errors.Join(os.Chmod(path, 0o755), os.Chown(path, int(uid), int(gid))); err != nil {
		t.Fatal(err)
	}
}

// live is a running server with an option file of its own, as an
// administrator would have set it up.
type live struct {
	t                          *testing.T
	dir, data, socket, optFile string
	root                       string // the account that may do everything
	port                       int
	args                       []string
	prefix                     []string
	cmd                        *exec.Cmd
	db                         *sql.DB
}

// initialised is a fresh datadir that the live servers of this run begin with.
var initialised struct {
	sync.Once
	dir string
}

func template(t *testing.T) string {
	t.Helper()
	initialised.Do(func() {
		dir, err := os.MkdirTemp("/tmp", "method-init-")
		if err != nil {
			t.Fatal(err)
		}
		initialised.dir = dir
		give(t, dir)
		bin, libs := mysqld(t)
		args := []string{"--no-defaults", "--initialize-insecure", "--datadir=" + dir + "/data"}
		for _, l := range libs {
			args = append(args, "--"+l)
		}
		cmd := exec.Command(bin, args...)
		asOwner(t, cmd)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("initialise: %v\n%s", err, out)
		}
	})
	return initialised.dir + "/data"
}

func asOwner(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		uid, gid := owner(t)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
}

// newLive prepares a server in a directory of its own; options are lines of
// its option file, in which DIR stands for that directory.
func newLive(t *testing.T, options ...string) *live {
	t.Helper()
	bin, libs := mysqld(t)
	s := &live{t: t, dir: place(t), port: freePort(t), prefix: []string{bin}, root: "root"}
	s.data, s.socket, s.optFile = s.dir+"/data", s.dir+"/mysqld.sock", s.dir+"/my.cnf"
	cp := exec.Command("cp", "-a", template(t), s.data)
	if out, err := cp.CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	_ = os.Remove(s.data + "/auto.cnf")
	lines := append([]string{"[mysqld]"}, libs...)
	lines = append(lines, "datadir="+s.data, "socket="+s.socket, "pid-file="+s.dir+"/mysqld.pid", "log-error="+s.dir+"/error.log",
		"port="+strconv.Itoa(s.port), "bind-address=127.0.0.1", "mysqlx=OFF", "gtid_mode=ON", "enforce_gtid_consistency=ON",
		"plugin-load-add=mysql_clone.so", "plugin-load-add=auth_socket.so", "innodb-buffer-pool-size=64M",
		"skip-replica-start", "server_id="+strconv.Itoa(s.port))
	text := strings.ReplaceAll(strings.Join(append(lines, options...), "\n")+"\n", "DIR", s.dir)
	if err := os.WriteFile(s.optFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.args = []string{"--defaults-file=" + s.optFile}
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// start boots the server and waits until it answers.
func (s *live) start() *live {
	s.t.Helper()
	s.cmd = exec.Command(s.prefix[0], s.args...)
	asOwner(s.t, s.cmd)
	started := make(chan error)
	kept <- func() { started <- s.cmd.Start() }
	if err := <-started; err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.kill)
	db, err := sql.Open("mysql", s.root+"@unix("+s.socket+")/?interpolateParams=true")
	if err != nil {
		s.t.Fatal(err)
	}
	s.db = db
	s.t.Cleanup(func() { _ = db.Close() })
	eventually(s.t, 60*time.Second, func() error {
		if err := db.Ping(); err != nil {
			log, _ := os.ReadFile(s.dir + "/error.log")
			return fmt.Errorf("%w\n%s", err, log)
		}
		return nil
	})
	s.t.Logf("server: %s", s.read("SELECT CONCAT(IF(VERSION() LIKE '%MariaDB%', 'mariadb ', 'mysql '), VERSION())"))
	return s
}

func (s *live) kill() {
	if s.cmd == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
	_ = os.Remove(s.socket)
	_ = os.Remove(s.socket + ".lock")
}

func (s *live) exec(statements ...string) {
	s.t.Helper()
	for _, st := range statements {
		if _, err := s.db.Exec(st); err != nil {
			s.t.Fatalf("%s: %v", st, err)
		}
	}
}

func (s *live) read(query string) string {
	s.t.Helper()
	var v sql.NullString
	if err := s.db.QueryRow(query).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

// program is how this server is run, as its sidecar sees it.
func (s *live) program() private.Program {
	uid, gid := owner(s.t)
	return private.Program{Prefix: s.prefix, Args: s.args, UID: uid, GID: gid}
}

// eventually polls a condition until it holds, with a deadline.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var quiet = slog.New(slog.DiscardHandler)

func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// strays are the processes that name dir on their command line and are not
// one of the live servers.
func strays(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		b, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.Contains(string(b), dir) {
			out = append(out, e.Name()+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}

// tunnel dials the donor's socket as the user that its clone account names.
func (s *live) tunnel(as string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return transfer.DialAs(ctx, as, s.socket) }
}

// cloneUser is the system user that clones: one without rights.
func cloneUser(t *testing.T) string {
	t.Helper()
	if os.Geteuid() == 0 {
		return "nobody"
	}
	return me(t)
}

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}
