package private

import (
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"resilver/watchdog/replica"
)

// mariaPaths is what a MariaDB with everything outside its datadir shows.
func mariaPaths() map[string]string {
	return map[string]string{
		"aria_log_dir_path": "/var/lib/mysql/", "basedir": "/usr", "plugin_dir": "/usr/lib/mysql/plugin/", "character_sets_dir": "/usr/share/mysql/charsets/",
		"lc_messages_dir": "", "secure_file_priv": "/var/lib/mysql-files/", "datadir": "/var/lib/mysql/", "socket": "/run/mysqld/mysqld.sock",
		"pid_file": "/run/mysqld/mysqld.pid", "log_error": "/var/log/mysql/error.log", "tmpdir": "/mnt/a:/mnt/b",
		"general_log_file": "/var/log/mysql/general.log", "slow_query_log_file": "/var/log/mysql/slow.log", "log_slow_query_file": "/var/log/mysql/slow.log",
		"log_bin_basename": "/var/lib/mysql/db1-bin", "log_bin_index": "/var/lib/mysql/other.index",
		"relay_log_basename": "/relay/relay", "relay_log_index": "/relay/relay.index", "relay_log_info_file": "/relay/info",
		"slave_load_tmpdir": "/mnt/a", "innodb_tmpdir": "/mnt/c", "innodb_data_home_dir": "/ibdata", "innodb_data_file_path": "ibdata1:12M:autoextend",
		"innodb_log_group_home_dir": "/redo", "innodb_undo_directory": "/undo", "init_file": "/etc/mysql/init.sql",
		"innodb_temp_data_file_path": "../../ibt/ibtmp1:12M:autoextend", "wsrep_data_home_dir": "/var/lib/mysql/",
		"ssl_ca": "/etc/mysql/ca.pem", "init_connect": "SELECT 1 /* hi */", "server_audit_file_path": "/var/log/mysql/audit.log",
		"feedback_url": "http://mariadb.org/feedback_plugin/post", "proxy_protocol_networks": "::/0",
	}
}

func TestSealMariaDB(t *testing.T) {
	got, err := Seal(mariaPaths(), somewhere)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--datadir=" + somewhere.Datadir, "--aria-log-dir-path=" + somewhere.Datadir, "--socket=/tmp/r/mysqld.sock",
		"--log-bin=db1-bin", "--log-bin-index=other.index", "--relay-log=" + somewhere.Work + "/relay",
		"--relay-log-info-file=" + somewhere.Work + "/relay-log.info", "--master-info-file=" + somewhere.Work + "/master.info",
		"--innodb-log-group-home-dir=./", "--innodb-undo-directory=./", "--innodb-data-home-dir=./", "--init-file=/dev/null",
		"--tmpdir=" + somewhere.Work + "/tmp", "--slave-load-tmpdir=" + somewhere.Work + "/tmp", "--log-error=" + somewhere.Work + "/mysqld.err",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	for _, o := range got {
		if _, value, _ := strings.Cut(o, "="); strings.HasPrefix(value, "/") && value != "/dev/null" &&
			!strings.HasPrefix(value, "/var/lib/mysql.resilver/") && !strings.HasPrefix(value, "/tmp/r/") {
			t.Errorf("%s leads out of the staging area", o)
		}
	}
	for base, want := range map[string]string{"": "--skip-log-bin", "/logs/binlog": "--log-bin=binlog"} {
		paths := mariaPaths()
		paths["log_bin_basename"] = base
		if got, err := Seal(paths, somewhere); err != nil || !slices.Contains(got, want) {
			t.Errorf("log_bin at %q: no %s in %v, %v", base, want, got, err)
		}
	}
	for name, value := range map[string]string{"rocksdb_datadir": "/x", "innodb_data_file_path": "/disk/ibdata1:12M", "innodb_directories": "/x"} {
		paths := mariaPaths()
		paths[name] = value
		var unknown *PathError
		if err := CheckSeal(paths); !errors.As(err, &unknown) || unknown.Variable != name {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
	}
}

func TestPositionRule(t *testing.T) {
	for name, c := range map[string]struct {
		executed, reported, donor string
		primary, replica          string // the position, or what a refusal says, of a copy of either
	}{
		"as reported":             {"0-1-40", "0-1-40", "0-1-50", "0-1-40", "0-1-40"},
		"empty table":             {"", "0-1-40", "0-1-50", "0-1-40", "behind the reported"},
		"a table of older days":   {"0-3-9", "0-1-40", "0-1-50,0-3-9", "0-1-40", "behind the reported"},
		"two domains":             {"0-1-40,1-2-3", "0-1-40,1-2-3", "0-1-50,1-2-3", "0-1-40,1-2-3", "0-1-40,1-2-3"},
		"nothing reported":        {"0-1-40", "", "0-1-50", "no position was reported", "no position was reported"},
		"donor not read":          {"", "0-1-40", "", "not known", "not known"},
		"more than the donor":     {"", "0-1-60", "0-1-50", "more than the donor's", "more than the donor's"},
		"the table is ahead":      {"0-1-41", "0-1-40", "0-1-50", "not within", "0-1-41"},
		"ahead in one of two":     {"0-1-41,1-2-3", "0-1-40,1-2-3", "0-1-50,1-2-3", "not within", "0-1-41,1-2-3"},
		"a domain more":           {"0-1-40,1-2-3", "0-1-40", "0-1-50,1-2-3", "not within", "0-1-40,1-2-3"},
		"ahead of the donor":      {"0-1-51", "0-1-40", "0-1-50", "not within", "more than the donor's"},
		"ahead by a stranger":     {"0-7-41", "0-1-40", "0-1-50", "not within", "more than the donor's"},
		"ahead and behind":        {"0-1-41,1-2-2", "0-1-40,1-2-3", "0-1-50,1-2-3", "not within", "behind the reported"},
		"ahead, a domain less":    {"0-1-41", "0-1-40,1-2-3", "0-1-50,1-2-3", "not within", "behind the reported"},
		"not a position":          {"nonsense", "0-1-40", "0-1-50", "not a position", "not a position"},
		"not a position reported": {"", "0-1-40x", "0-1-50", "not a position", "not a position"},
	} {
		for replicated, want := range map[bool]string{false: c.primary, true: c.replica} {
			got, err := PositionRule(t.Context(), GTIDSets{Executed: c.executed, Reported: c.reported, Replicated: replicated, Donor: c.donor}, within)
			if err != nil && !strings.Contains(err.Error(), want) || err == nil && got != want {
				t.Errorf("%s, of a replica %v: %q, %v, want %q", name, replicated, got, err, want)
			}
		}
	}
}

// maria is a MariaDB of the tests.
type maria struct {
	t                       *testing.T
	bin, base, data, socket string
	owner                   Program
	args                    []string
	cmd                     *exec.Cmd
	db                      *sql.DB
}

// mariaBin finds real servers on PATH or among those that the project fetches.
// There is no test without them.
func mariaBin(t *testing.T) (bin, base string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "..", ".servers"))
	if err != nil {
		t.Fatal(err)
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	root = filepath.Join(root, "mariadb")
	if _, err := os.Stat(filepath.Join(root, "bin", "mariadbd")); err == nil {
		return filepath.Join(root, "bin"), filepath.Join(root, "root", "usr")
	}
	found, err := exec.LookPath("mariadbd")
	if err != nil {
		t.Fatal("no mariadbd on PATH and none fetched: run make lab")
	}
	return filepath.Dir(found), "/usr"
}

func whoami(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// stagedMaria makes a staged copy of a new MariaDB datadir, and the live
// server's option file with every path somewhere in live.
func stagedMaria(t *testing.T) (o RehearseOptions, live string) {
	t.Helper()
	options := newArea(t, "")
	bin, base := mariaBin(t)
	options.Program.Prefix = []string{filepath.Join(bin, "mariadbd")}
	live = options.Area + "-live"
	t.Cleanup(func() { _ = os.RemoveAll(live) })
	o = RehearseOptions{Options: options, Datadir: filepath.Join(options.Area, "new"), Connect: func(socket string) (*replica.Server, error) {
		return replica.Open(replica.Options{Socket: socket, User: whoami(t), Timeout: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	}}
	args := []string{"--no-defaults", "--datadir=" + o.Datadir, "--skip-test-db", "--skip-name-resolve",
		"--auth-root-authentication-method=socket", "--auth-root-socket-user=" + whoami(t)}
	if os.Geteuid() == 0 {
		args = append(args, "--user=daemon")
	}
	install := exec.Command(filepath.Join(bin, "mariadb-install-db"), args...)
	install.Dir = "/"
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("initialise: %v\n%s", err, out)
	}
	for _, dir := range []string{live, live + "/data", live + "/logs"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"data/db1-bin.000001": "precious", "data/other.index": live + "/data/db1-bin.000001\n", "data/db1-bin.state": "0-9-9",
		"logs/relay.000001": "precious", "init.sql": "CREATE DATABASE from_init_file;\n",
		"my.cnf": strings.ReplaceAll(`[mysqld]
basedir=`+base+`
datadir=LIVE/data
aria_log_dir_path=LIVE/data
socket=LIVE/mysqld.sock
pid_file=LIVE/mysqld.pid
log_error=LIVE/logs/error.log
log_bin=LIVE/data/db1-bin
log_bin_index=LIVE/data/other.index
relay_log=LIVE/logs/relay
relay_log_index=LIVE/logs/relay.index
relay_log_info_file=LIVE/logs/relay.info
master_info_file=LIVE/logs/master.info
tmpdir=LIVE
slave_load_tmpdir=LIVE
innodb_tmpdir=LIVE
innodb_undo_directory=LIVE
innodb_log_group_home_dir=LIVE
innodb_data_home_dir=LIVE
general_log=ON
general_log_file=LIVE/logs/general.log
slow_query_log=ON
slow_query_log_file=LIVE/logs/slow.log
init_file=LIVE/init.sql
event_scheduler=ON
gtid_strict_mode=ON
server_id=7
read_only=ON
innodb_buffer_pool_size=2G
innodb_force_recovery=1
port=33077
feedback=ON
plugin_load_add=server_audit
server_audit_logging=ON
server_audit_file_path=LIVE/logs/audit.log
`, "LIVE", live)} {
		if err := os.WriteFile(filepath.Join(live, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{live, o.Datadir} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(options.Program.UID), int(options.Program.GID)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	o.Program.Args = []string{"--defaults-file=" + live + "/my.cnf"}
	o.Paths = mariaPaths()
	for name, value := range o.Paths {
		o.Paths[name] = strings.ReplaceAll(value, "/var/lib/mysql/", live+"/data/")
	}
	return o, live
}

// bootMaria boots a datadir as an ordinary server would, on a socket only.
func bootMaria(t *testing.T, o Options, datadir string, options ...string) *maria {
	t.Helper()
	bin, base := mariaBin(t)
	m := &maria{t: t, bin: bin, base: base, data: datadir, socket: filepath.Join(o.Area, "t.sock"), owner: o.Program}
	m.args = append([]string{"--no-defaults", "--basedir=" + base, "--datadir=" + datadir, "--socket=" + m.socket, "--pid-file=" + o.Area + "/t.pid",
		"--log-error=" + o.Area + "/t.err", "--tmpdir=" + o.Area, "--skip-networking", "--innodb-buffer-pool-size=32M", "--server-id=7", "--gtid-strict-mode=ON"}, options...)
	m.cmd = exec.Command(filepath.Join(bin, "mariadbd"), m.args...)
	m.cmd.Dir = "/"
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: o.Program.credential()}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.kill)
	db, err := sql.Open("mysql", whoami(t)+"@unix("+m.socket+")/?interpolateParams=true")
	if err != nil {
		t.Fatal(err)
	}
	m.db = db
	t.Cleanup(func() { _ = db.Close() })
	eventually(t, 30*time.Second, "boot of "+datadir, func() bool { return greets(t.Context(), m.socket) })
	var version string
	if err := db.QueryRowContext(t.Context(), "SELECT VERSION()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	t.Logf("server: mariadb %s", version)
	return m
}

func (m *maria) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.db.Close()
	_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
	_ = m.cmd.Wait()
	m.cmd = nil
}

func (m *maria) shutdown() {
	m.t.Helper()
	_ = m.db.Close()
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	if err := m.cmd.Wait(); err != nil {
		m.t.Error(err)
	}
	m.cmd = nil
}

func (m *maria) exec(statements ...string) {
	m.t.Helper()
	for _, s := range statements {
		if _, err := m.db.Exec(s); err != nil {
			m.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (m *maria) read(query string) string {
	m.t.Helper()
	var v sql.NullString
	if err := m.db.QueryRow(query).Scan(&v); err != nil {
		m.t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

// TestRehearseMariaDB: sealed against every path of the live server (R1,
// invariant 16), with the position that was reported in both places (R25), and
// the primary's events disabled (R2).
func TestRehearseMariaDB(t *testing.T) {
	o, live := stagedMaria(t)
	donor := bootMaria(t, o.Options, o.Datadir)
	donor.exec("CREATE DATABASE t", "CREATE TABLE t.a (i INT PRIMARY KEY)", "INSERT INTO t.a VALUES (1)",
		"CREATE EVENT t.e ON SCHEDULE EVERY 1 SECOND DO INSERT INTO t.a VALUES (NULL)")
	donor.shutdown()
	before := listing(t, live)
	o.Reported, o.DonorExecuted = "0-1-40", "0-1-50,0-3-9,0-4-45"
	s, err := Rehearsal(t.Context(), o.Options, o.Datadir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Kill() })
	for _, fd := range openFiles(t, s.pid) {
		if strings.HasPrefix(fd, live) {
			t.Errorf("it has %s open", fd)
		}
	}
	if n := listening(t, s.pid); n != 0 {
		t.Errorf("it listens on %d TCP sockets", n)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	got, err := Rehearse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got.Executed != "0-1-40,0-3-9" || !got.Restored || got.Events != 1 {
		t.Errorf("%+v", got)
	}
	if now := listing(t, live); !slices.Equal(now, before) {
		t.Errorf("live files changed:\n%v\n%v", before, now)
	}
	index, err := os.ReadFile(filepath.Join(o.Datadir, "other.index"))
	if err != nil || !strings.HasPrefix(string(index), "./db1-bin.0") || strings.Count(string(index), "\n") != 1 {
		t.Errorf("index %q, %v", index, err)
	}
	// As the live server will be: its own log continues where the copy begins.
	final := bootMaria(t, o.Options, o.Datadir, "--log-bin="+o.Datadir+"/db1-bin", "--log-bin-index="+o.Datadir+"/other.index", "--event-scheduler=ON")
	if pos, state := final.read("SELECT @@gtid_slave_pos"), final.read("SELECT @@gtid_binlog_state"); pos != "0-1-40" || !strings.Contains(state, "0-1-40") || !strings.Contains(state, "0-3-9") {
		t.Errorf("gtid_slave_pos %q, gtid_binlog_state %q", pos, state)
	}
	if n := final.read("SELECT COUNT(*) FROM t.a"); n != "1" {
		t.Errorf("%s rows", n)
	}
	final.shutdown()
	// A replica's table may be ahead of what the tool heard.
	o.Reported, o.Replicated = "0-1-39", true
	if got, err := Rehearse(t.Context(), o); err != nil || got.Executed != "0-1-40,0-3-9" {
		t.Errorf("ahead of what was reported: %+v, %v", got, err)
	}
	o.Replicated = false
	for reported, says := range map[string]string{"": "no position was reported", "0-1-60": "more than the donor's", "0-1-39": "not within"} {
		o.Reported = reported
		if _, err := Rehearse(t.Context(), o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("reported %q: %v", reported, err)
		}
	}
	// The option file was changed since the live server was started (R4).
	text, err := os.ReadFile(live + "/my.cnf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(live+"/my.cnf", []byte(strings.Replace(string(text), "read_only=ON\n", "", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Reported = "0-1-40"
	if _, err := Rehearse(t.Context(), o); err == nil || !strings.Contains(err.Error(), "open to writers") {
		t.Errorf("open to writers: %v", err)
	}
}

// TestTrapR21PreparedTransactions: a copy that has transactions which were
// prepared only, and does not boot for them, is rolled back once (MDEV-36025).
// A commit that waits between the two for a semi-synchronous replica makes one.
func TestTrapR21PreparedTransactions(t *testing.T) {
	o, _ := stagedMaria(t)
	donor := bootMaria(t, o.Options, o.Datadir, "--log-bin=db1-bin", "--rpl-semi-sync-master-enabled=ON",
		"--rpl-semi-sync-master-wait-point=AFTER_SYNC", "--rpl-semi-sync-master-timeout=10")
	donor.exec("CREATE DATABASE t", "CREATE TABLE t.a (i INT PRIMARY KEY)", "INSERT INTO t.a VALUES (1)",
		"SET GLOBAL rpl_semi_sync_master_timeout=600000", "SET GLOBAL rpl_semi_sync_master_enabled=OFF", "SET GLOBAL rpl_semi_sync_master_enabled=ON")
	hung := make(chan error, 1)
	go func() {
		_, err := donor.db.Exec("INSERT INTO t.a VALUES (2)")
		hung <- err
	}()
	eventually(t, 10*time.Second, "a commit that waits", func() bool {
		return donor.read("SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%'") == "1"
	})
	donor.kill()
	<-hung //nolint:errcheck // only that it ended counts
	logs, err := filepath.Glob(o.Datadir + "/db1-bin.*")
	if err != nil || len(logs) == 0 {
		t.Fatalf("binary logs: %v, %v", logs, err)
	}
	for _, name := range append(logs, o.Datadir+"/tc.log") {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	// Without the cure it does not boot.
	l, err := o.rehearsalLaunch(engineOf(o.Paths), o.Datadir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = boot(t.Context(), l)
	var fault *Fault
	if !errors.As(err, &fault) || !hasPrepared(fault.Tail) {
		t.Fatalf("it boots, or fails for something else: %v", err)
	}
	t.Log(err)
	o.Reported, o.DonorExecuted = "0-1-40", "0-1-40"
	if got, err := Rehearse(t.Context(), o); err != nil || got.Executed != "0-1-40" {
		t.Fatalf("%+v, %v", got, err)
	}
	final := bootMaria(t, o.Options, o.Datadir, "--log-bin=db1-bin", "--log-bin-index=other.index")
	if rows := final.read("SELECT GROUP_CONCAT(i) FROM t.a"); rows != "1" {
		t.Errorf("rows %s", rows)
	}
	final.shutdown()
}
