package method_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"resilver/healing/method"
)

// filled makes tables of both kinds with some bulk.
func filled(s *live) *live {
	s.exec("CREATE DATABASE t", "CREATE TABLE t.w (i INT PRIMARY KEY AUTO_INCREMENT, at CHAR(40)) ENGINE=InnoDB",
		"CREATE TABLE t.aria (i INT PRIMARY KEY, b VARCHAR(2000)) ENGINE=Aria", "CREATE TABLE t.bulk (i INT PRIMARY KEY, b VARCHAR(2000)) ENGINE=InnoDB",
		"INSERT INTO t.aria SELECT seq, REPEAT(MD5(seq), 50) FROM t.seq_1_to_500",
		"INSERT INTO t.bulk SELECT seq, REPEAT(MD5(seq), 50) FROM t.seq_1_to_3000")
	return s
}

// writing writes rows, one transaction each, until the function returned is called.
func (s *live) writing() (stop func()) {
	s.t.Helper()
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := s.db.Exec("INSERT INTO t.w (at) VALUES (@@gtid_binlog_pos)"); err != nil {
				s.t.Error(err)
				return
			}
		}
	})
	return func() { close(over); wg.Wait() }
}

// TestMariabackupStagesACopyThatBoots: a primary donor under a writer; the copy
// holds exactly what its reported position says.
func TestMariabackupStagesACopyThatBoots(t *testing.T) {
	donor := filled(newMaria(t, "log_bin=binlog").start().backupAccount())
	before := donor.read("SELECT @@gtid_binlog_pos")
	stop := donor.writing()
	eventually(t, 10*time.Second, func() error {
		if donor.read("SELECT COUNT(*) FROM t.w") < "5" {
			return errors.New("the writer has not begun")
		}
		return nil
	})
	d := donate(t, donor.asLive("mariadb", donor.version()), nil)
	m := mariabackup(t)
	if fits, why := m.Fit(t.Context(), method.Facts{Flavor: "mariadb", VersionNumber: donor.version()}); !fits {
		t.Fatal(why)
	}
	job := jobIn(t, d.open)
	var done, total atomic.Int64
	got, err := m.Stage(t.Context(), job, func(n, all int64) { done.Store(n); total.Store(all) })
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := d.served(); err != nil {
		t.Error(err)
	}
	if got.Bytes < 5<<20 || done.Load() != got.Bytes || total.Load() < got.Bytes {
		t.Errorf("%d bytes, progress %d of %d", got.Bytes, done.Load(), total.Load())
	}
	if err := m.Prepare(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(d.state); len(entries) != 0 || d.restored != 0 {
		t.Errorf("left in the state directory: %v; restored %d times", entries, d.restored)
	}
	for _, path := range []string{job.Staging, job.Staging + "/ibdata1", job.Staging + "/t/bulk.ibd"} {
		info, err := os.Stat(path)
		if uid, _ := owner(t); err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	copied := mariaOn(t, job.Staging).start()
	rows, err := strconv.Atoi(copied.read("SELECT COUNT(*) FROM t.w"))
	if err != nil {
		t.Fatal(err)
	}
	if want := sequence(t, got.Reported) - sequence(t, before); rows != want {
		t.Errorf("position %s after %s: %d rows, want %d", got.Reported, before, rows, want)
	}
	for _, table := range []string{"t.aria", "t.bulk"} {
		if a, b := donor.read("SELECT SUM(CRC32(b)) FROM "+table), copied.read("SELECT SUM(CRC32(b)) FROM "+table); a != b {
			t.Errorf("%s: %s at the donor, %s in the copy", table, a, b)
		}
	}
	if left := strays(t, job.Area); len(left) > 1 { // the server above is one
		t.Errorf("processes are left: %v", left)
	}
}

func sequence(t *testing.T, gtid string) int {
	t.Helper()
	n, err := strconv.Atoi(gtid[strings.LastIndex(gtid, "-")+1:])
	if err != nil {
		t.Fatalf("%q: %v", gtid, err)
	}
	return n
}

// A replica donor reports its source's position; over the peers' port.
func TestMariabackupOfAReplica(t *testing.T) {
	primary := newMaria(t, "log_bin=binlog").start()
	replica := newMaria(t, "log_bin=binlog", "log_slave_updates=ON").start().backupAccount()
	primary.exec("CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'secret'", "GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'")
	replica.exec("SET GLOBAL gtid_slave_pos = '"+primary.read("SELECT @@gtid_binlog_pos")+"'",
		"CHANGE MASTER TO master_host='127.0.0.1', master_port="+strconv.Itoa(primary.port)+", master_user='repl', master_password='secret', master_use_gtid=slave_pos",
		"START SLAVE")
	filled(primary)
	eventually(t, 20*time.Second, func() error {
		if p, r := primary.read("SELECT @@gtid_binlog_pos"), replica.read("SELECT @@gtid_slave_pos"); p != r {
			return errors.New(r + " is not " + p)
		}
		return nil
	})
	live := replica.asLive("mariadb", replica.version())
	live.Replica, live.Applying = true, true
	d := donate(t, live, func(o *method.BackupOptions) {
		o.Tools[method.ToolMariabackup] = method.BackupSettings{Args: []string{"--safe-slave-backup"}}
		o.Restore = func(context.Context) error {
			_, err := replica.db.Exec("START SLAVE SQL_THREAD")
			return err
		}
	})
	open := overPeers(t, d)
	m, job := mariabackup(t), jobIn(t, open)
	got, err := m.Stage(t.Context(), job, func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	if want := primary.read("SELECT @@gtid_binlog_pos"); got.Reported != want {
		t.Errorf("reported %q, want %q", got.Reported, want)
	}
	if err := d.served(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(job.Staging, "xtrabackup_slave_info")); err != nil {
		t.Error(err)
	}

	// Trap R23 and P1: killed under --safe-slave-backup, the tool leaves the
	// applier stopped; it is started again.
	d.fence.Limit = rate.NewLimiter(200<<10, 64<<10)
	killed := make(chan error, 1)
	go func() {
		_, err := m.Stage(t.Context(), jobIn(t, open), func(int64, int64) {})
		killed <- err
	}()
	applier := func() string {
		return replica.read("SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Slave_SQL'")
	}
	eventually(t, 20*time.Second, func() error {
		if n := applier(); n != "0" {
			return errors.New("the tool has not stopped the applier")
		}
		return nil
	})
	kill9(t, d.state)
	if err := <-killed; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the recipient: %v", err)
	}
	if err := d.served(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the donor: %v", err)
	}
	eventually(t, 20*time.Second, func() error { // its thread names itself after START has answered
		if n := applier(); n != "1" {
			return errors.New("the applier stands still")
		}
		return nil
	})
}

// kill9 kills the tool that the donor's record names.
func kill9(t *testing.T, state string) {
	t.Helper()
	var pid int
	eventually(t, 20*time.Second, func() (err error) {
		pid, err = recordedPID(state)
		return err
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
