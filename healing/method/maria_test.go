package method_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"resilver/gossip/peer"
	"resilver/healing/method"
	"resilver/healing/private"
	"resilver/healing/transfer"
	"resilver/watchdog"
)

// mariaBin is where MariaDB's programs are: those that the project fetches, or
// the machine's own. There is no test without them.
func mariaBin(t *testing.T) (bin, basedir string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "..", ".servers"))
	if err != nil {
		t.Fatal(err)
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	root = filepath.Join(root, "mariadb")
	if exists(filepath.Join(root, "bin", "mariadbd")) {
		return filepath.Join(root, "bin"), filepath.Join(root, "root", "usr")
	}
	found, err := exec.LookPath("mariadbd")
	if err != nil {
		t.Fatal("no mariadbd on PATH and none fetched: run make lab")
	}
	return filepath.Dir(found), "/usr"
}

// toolDirs are where the tools of the fetched servers, or the machine's, are.
func toolDirs(t *testing.T) []string {
	bin, _ := mariaBin(t)
	return []string{bin, "/usr/bin", "/usr/local/bin"}
}

var mariaInitialised struct {
	sync.Once
	dir string
}

// mariaTemplate is a fresh datadir of MariaDB, in which the servers' user and
// the tests' may log in as the accounts of their names.
func mariaTemplate(t *testing.T) string {
	t.Helper()
	mariaInitialised.Do(func() {
		dir, err := os.MkdirTemp("/tmp", "method-maria-")
		if err != nil {
			t.Fatal(err)
		}
		mariaInitialised.dir = dir
		give(t, dir)
		bin, _ := mariaBin(t)
		args := []string{"--no-defaults", "--datadir=" + dir + "/data", "--skip-test-db", "--skip-name-resolve",
			"--auth-root-authentication-method=socket", "--auth-root-socket-user=" + me(t)}
		if os.Geteuid() == 0 {
			args = append(args, "--user="+ownerName(t))
		}
		cmd := exec.Command(filepath.Join(bin, "mariadb-install-db"), args...)
		cmd.Dir = "/"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("initialise: %v\n%s", err, out)
		}
		uid, gid := owner(t)
		err = filepath.WalkDir(dir+"/data", func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(uid), int(gid)))
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return mariaInitialised.dir + "/data"
}

// newMaria prepares a MariaDB in a directory of its own.
func newMaria(t *testing.T, options ...string) *live {
	t.Helper()
	s := mariaOn(t, "", options...)
	if out, err := exec.Command("cp", "-a", mariaTemplate(t), s.data).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	return s
}

// mariaOn is a MariaDB on a datadir that is there; empty: one of its own.
func mariaOn(t *testing.T, data string, options ...string) *live {
	t.Helper()
	bin, base := mariaBin(t)
	s := &live{t: t, dir: place(t), port: freePort(t), prefix: []string{filepath.Join(bin, "mariadbd")}, root: me(t)}
	s.data, s.socket, s.optFile = data, s.dir+"/mysqld.sock", s.dir+"/my.cnf"
	if data == "" {
		s.data = s.dir + "/data"
	}
	lines := append([]string{"[mysqld]", "basedir=" + base, "datadir=" + s.data, "socket=" + s.socket, "pid_file=" + s.dir + "/pid",
		"log_error=" + s.dir + "/error.log", "tmpdir=" + s.dir, "port=" + strconv.Itoa(s.port), "bind_address=127.0.0.1",
		"innodb_buffer_pool_size=32M", "server_id=" + strconv.Itoa(s.port), "gtid_strict_mode=1", "skip_slave_start"}, options...)
	if err := os.WriteFile(s.optFile, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.args = []string{"--defaults-file=" + s.optFile}
	return s
}

// backupAccount makes the smallest account that a backup is known to work
// with: named like the servers' user.
func (s *live) backupAccount() *live {
	s.t.Helper()
	name := ownerName(s.t)
	if name != "root" {
		s.exec("CREATE USER IF NOT EXISTS `"+name+"`@localhost IDENTIFIED VIA unix_socket",
			"GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, REPLICATION SLAVE ADMIN ON *.* TO `"+name+"`@localhost")
	}
	return s
}

func ownerName(t *testing.T) string {
	t.Helper()
	uid, _ := owner(t)
	u, err := user.LookupId(strconv.Itoa(int(uid)))
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// donation is the donor's side of a test: what its server is, and what was
// done to it.
type donation struct {
	t        *testing.T
	state    string
	backups  *method.Backups
	restored int
	result   chan error // of each stream served
	fence    transfer.FenceOptions
}

var errStale = errors.New("the token is stale")

// donate makes a donor out of a server; change may alter its options.
func donate(t *testing.T, live method.LiveServer, change func(*method.BackupOptions)) *donation {
	t.Helper()
	d := &donation{t: t, state: t.TempDir(), result: make(chan error, 10)}
	d.fence = transfer.FenceOptions{Check: func() error { return nil }, Ahead: errors.New("ahead")}
	o := method.BackupOptions{
		Dirs: toolDirs(t), StateDir: d.state, Stall: 30 * time.Second, Logger: logger(t),
		Tools:   map[method.Tool]method.BackupSettings{method.ToolMariabackup: {Parallel: 2}},
		Live:    func(context.Context) (method.LiveServer, error) { return live, nil },
		Restore: func(context.Context) error { d.restored++; return nil },
	}
	if change != nil {
		change(&o)
	}
	var err error
	if d.backups, err = method.NewBackups(o); err != nil {
		t.Fatal(err)
	}
	return d
}

// open is what a recipient has in the place of peer's client: an admitted
// stream over a line of its own.
func (d *donation) open(ctx context.Context, req method.BackupRequest) (net.Conn, error) {
	return d.openWith(context.WithoutCancel(ctx), req)
}

// openWith ends the donor's side with ctx.
func (d *donation) openWith(ctx context.Context, req method.BackupRequest) (net.Conn, error) {
	stream, err := d.backups.Admit(ctx, req, d.fence)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	near, err := l.Accept()
	if err != nil {
		return nil, err
	}
	go func() { d.result <- stream.Serve(ctx, near) }()
	return far, nil
}

// served is how the last stream ended at the donor.
func (d *donation) served() error {
	d.t.Helper()
	select {
	case err := <-d.result:
		return err
	case <-time.After(60 * time.Second):
		d.t.Fatal("the donor's end did not end")
		return nil
	}
}

// asLive is the server as its own sidecar sees it.
func (s *live) asLive(flavor string, version int) method.LiveServer {
	uid, gid := owner(s.t)
	return method.LiveServer{Flavor: flavor, VersionNumber: version, Socket: s.socket, OptionFiles: method.OptionFiles(s.args),
		UID: uid, GID: gid, Bytes: 1 << 20}
}

// version is what the server says, as one number.
func (s *live) version() int {
	s.t.Helper()
	parts := strings.SplitN(strings.SplitN(s.read("SELECT VERSION()"), "-", 2)[0], ".", 3)
	n := 0
	for _, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil {
			s.t.Fatal(err)
		}
		n = n*100 + v
	}
	return n
}

func mariabackup(t *testing.T, dirs ...string) *method.Physical {
	t.Helper()
	if dirs == nil {
		dirs = toolDirs(t)
	}
	m, err := method.NewMariabackup(method.PhysicalOptions{Dirs: dirs, Parallel: 2, UseMemory: 64 << 20, StallTimeout: 30 * time.Second, Logger: logger(t),
		Args: []string{"--throttle=1000", "--safe-slave-backup"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// jobIn is a copy to be staged in an area of its own.
func jobIn(t *testing.T, open func(context.Context, method.BackupRequest) (net.Conn, error)) method.Job {
	t.Helper()
	uid, gid := owner(t)
	area := mkdir(t, place(t)+"/data.resilver")
	return method.Job{ID: "r1", Area: area, Staging: area + "/new", Program: private.Program{UID: uid, GID: gid}, Backup: open}
}

// recordedPID is the number of the tool that runs.
func recordedPID(state string) (int, error) {
	text, err := os.ReadFile(filepath.Join(state, "backup.json"))
	if err != nil {
		return 0, err
	}
	var r struct {
		Process private.Birth `json:"process"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return 0, err
	}
	if r.Process.PID == 0 {
		return 0, errors.New("no tool runs")
	}
	return r.Process.PID, nil
}

// overPeers carries a donation over the ports of two sidecars.
func overPeers(t *testing.T, d *donation) func(context.Context, method.BackupRequest) (net.Conn, error) {
	t.Helper()
	ca, dir := t.TempDir(), t.TempDir()
	if err := peer.InitCA(ca, "orders"); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]string{}
	port := func(node string) *peer.Port {
		if err := peer.Issue(ca, dir, "orders", node, []string{"127.0.0.1"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		p, err := peer.Listen(peer.Options{Address: "127.0.0.1:0", Cluster: "orders", Node: node,
			CAFile: filepath.Join(dir, peer.CACertFile), CertFile: filepath.Join(dir, node+".crt"), KeyFile: filepath.Join(dir, node+".key"),
			Nodes: func() map[string]string { return nodes }, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	recipient, donor := port("db1"), port("db2")
	nodes["db1"], nodes["db2"] = recipient.Address(), donor.Address()
	no := errors.New("not here")
	err := donor.Handle(peer.Handlers{
		State:        func(context.Context, string) (watchdog.PeerState, error) { return watchdog.PeerState{}, no },
		Objects:      func(context.Context, string) ([]string, error) { return nil, no },
		GTIDSubtract: func(context.Context, string, string, string) (string, error) { return "", no },
		GTIDBeyond:   func(context.Context, string, string, uint32, watchdog.Observation) (string, error) { return "", no },
		Lease:        func(context.Context, string, []byte) ([]byte, error) { return nil, no },
		Tunnel:       func(context.Context, peer.TunnelRequest) (func(context.Context, net.Conn), error) { return nil, no },
		Backup: func(ctx context.Context, req peer.BackupRequest) (func(context.Context, net.Conn), error) {
			if req.Caller != "db1" || req.ClusterID != "c1" || req.Token != 7 {
				t.Errorf("asked by %+v", req)
			}
			stream, err := d.backups.Admit(ctx, method.BackupRequest{Tool: method.Tool(req.Tool), Parallel: req.Parallel}, d.fence)
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context, conn net.Conn) { d.result <- stream.Serve(ctx, conn) }, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, req method.BackupRequest) (net.Conn, error) {
		return recipient.Client().Backup(ctx, "db2", "c1", 7, string(req.Tool), req.Parallel)
	}
}
