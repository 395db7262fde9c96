package transfer_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"resilver/gossip/peer"
	"resilver/healing/transfer"
)

// startMysqld boots a fresh server with auth_socket and returns its socket. It
// runs as an ordinary user where we are root.
func startMysqld(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "transfer-mysqld-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := serverArgs(t)
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "mysqld.sock")
	args = append(args, "--datadir="+data, "--log-error="+filepath.Join(dir, "error.log"))
	if os.Geteuid() == 0 {
		daemon, err := user.Lookup("daemon")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(daemon.Uid)
		gid, _ := strconv.Atoi(daemon.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--user=daemon")
	}
	runMysqld(t, append(args, "--initialize-insecure")...)
	cmd := mysqldCmd(t, context.Background(), append(args, "--socket="+socket, "--skip-networking",
		"--pid-file="+filepath.Join(dir, "mysqld.pid"), "--plugin-load-add=auth_socket.so",
		"--skip-log-bin", "--innodb-buffer-pool-size=16M", "--performance-schema=OFF", "--auto-generate-certs=OFF",
		"--caching-sha2-password-auto-generate-rsa-keys=OFF")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(60 * time.Second)
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			return socket
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Fatalf("mysqld does not answer:\n%s", log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// mysqldBinary finds a server on PATH or among those that the project fetches.
func mysqldBinary(t *testing.T) (binary, root string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "..", ".servers"))
	if err != nil {
		t.Fatal(err)
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real // in a folder that mysqld's user can enter
	}
	root = filepath.Join(root, "mysql")
	binary = filepath.Join(root, "bin", "mysqld")
	if _, err := os.Stat(binary); err == nil {
		return binary, filepath.Join(root, "root")
	}
	if binary, err = exec.LookPath("mysqld"); err != nil {
		t.Fatal("no mysqld on PATH and none fetched: see make lab")
	}
	return binary, ""
}

func serverArgs(t *testing.T) []string {
	t.Helper()
	args := []string{"--no-defaults", "--secure-file-priv=", "--mysqlx=OFF"}
	if _, root := mysqldBinary(t); root != "" {
		share := filepath.Join(root, "usr", "share", "mysql")
		args = append(args, "--lc-messages-dir="+share, "--character-sets-dir="+filepath.Join(share, "charsets"),
			"--plugin-dir="+filepath.Join(root, "usr", "lib", "mysql", "plugin"))
	}
	return args
}

func mysqldCmd(t *testing.T, ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	binary, _ := mysqldBinary(t)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

func runMysqld(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := mysqldCmd(t, ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("run mysqld: %v\n%s", err, out.String())
	}
}

// login opens the server as a database user over connections that dial makes.
func login(t *testing.T, user string, dial func(ctx context.Context) (net.Conn, error)) *sql.DB {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Net, cfg.Addr = user, "tunnel", "db2"
	cfg.Timeout, cfg.ReadTimeout = 20*time.Second, 20*time.Second
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func currentUser(t *testing.T, db *sql.DB) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var who string
	err := db.QueryRowContext(ctx, "SELECT CURRENT_USER()").Scan(&who)
	return who, err
}

// Trap R3: through a relay dialled by root, auth_socket lets anyone at the far
// end become root@localhost. Through ours nobody does.
func TestTrapR3TunnelIsNotRoot(t *testing.T) {
	t.Parallel()
	socket := startMysqld(t)
	direct := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	setUp := login(t, "root", direct)
	var version string
	if err := setUp.QueryRow("SELECT VERSION()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	t.Logf("server: mysql %s", version)
	// Where we are not root, the donor end dials as ourselves: then it is a
	// root account of somebody else that has to stay closed.
	donorUser, rootUser := "nobody", "root"
	if os.Geteuid() != 0 {
		donorUser = me.Username
	}
	for _, q := range []string{
		"CREATE USER resilver_clone@localhost IDENTIFIED WITH auth_socket AS '" + donorUser + "'",
		"GRANT BACKUP_ADMIN ON *.* TO resilver_clone@localhost",
		"ALTER USER root@localhost IDENTIFIED WITH auth_socket AS '" + rootUser + "'",
	} {
		if _, err := setUp.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if os.Geteuid() == 0 {
		// The trap itself: a connection that root dialled is root's, whoever uses it.
		if who, err := currentUser(t, login(t, "root", direct)); err != nil || who != "root@localhost" {
			t.Fatalf("control: root's own connection is %q, %v", who, err)
		}
	}
	as := func(ctx context.Context) (net.Conn, error) { return transfer.DialAs(ctx, donorUser, socket) }
	client, donor := sidecarsDialling(t, as)
	donor.check = func(peer.TunnelRequest) error { return nil }
	r := openRelay(t, client, 7)
	through := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(r.Port()))
	}
	for name, dial := range map[string]func(context.Context) (net.Conn, error){"descriptor": as, "tunnel": through} {
		var refused *mysql.MySQLError
		if who, err := currentUser(t, login(t, "root", dial)); !errors.As(err, &refused) || refused.Number != 1698 {
			t.Errorf("%s: root's login gives %q, %v; want error 1698", name, who, err)
		}
		if who, err := currentUser(t, login(t, "resilver_clone", dial)); err != nil || who != "resilver_clone@localhost" {
			t.Errorf("%s: the donor's account gives %q, %v", name, who, err)
		}
	}
}
