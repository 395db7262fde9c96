package method_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"resilver/healing/method"
)

// xtrabackupDir has a program with the command line and the files of Percona's
// xtrabackup (testdata/xtrabackup says what it is and is not), and MariaDB's
// mbstream, which speaks the same format, by the name of xbstream.
func xtrabackupDir(t *testing.T) string {
	t.Helper()
	dir := place(t)
	if out, err := exec.Command("go", "build", "-o", dir+"/xtrabackup", "./testdata/xtrabackup").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	bin, _ := mariaBin(t)
	if err := os.WriteFile(dir+"/xbstream", []byte("#!/bin/sh\nexec "+bin+"/mbstream \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestXtrabackupByItsStandIn proves the way of a MySQL backup through this
// house: command line, stream, position and marks. Percona's own tool was not
// run by it.
func TestXtrabackupByItsStandIn(t *testing.T) {
	dir := xtrabackupDir(t)
	donor := newLive(t).start()
	name := ownerName(t)
	donor.exec("CREATE USER IF NOT EXISTS `"+name+"`@localhost IDENTIFIED WITH auth_socket",
		"GRANT BACKUP_ADMIN, RELOAD, PROCESS, REPLICATION CLIENT ON *.* TO `"+name+"`@localhost",
		"GRANT SELECT ON performance_schema.* TO `"+name+"`@localhost",
		"CREATE DATABASE t", "CREATE TABLE t.w (i INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(2000))")
	before := donor.read("SELECT @@gtid_executed")
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := donor.db.Exec("INSERT INTO t.w (b) VALUES (REPEAT('x', 1000))"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	live := donor.asLive("mysql", donor.version())
	d := donate(t, live, func(o *method.BackupOptions) {
		o.Dirs = []string{dir}
		o.Tools = map[method.Tool]method.BackupSettings{method.ToolXtrabackup: {Parallel: 2, Args: []string{"--throttle=1000"}}}
	})
	m, err := method.NewXtrabackup(method.PhysicalOptions{Dirs: []string{dir}, Parallel: 2, UseMemory: 64 << 20, StallTimeout: time.Minute, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if fits, why := m.Fit(t.Context(), method.Facts{Flavor: "mysql", VersionNumber: donor.version()}); !fits {
		t.Fatal(why)
	}
	job := jobIn(t, d.open)
	got, err := m.Stage(t.Context(), job, func(int64, int64) {})
	close(over)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.served(); err != nil {
		t.Error(err)
	}
	if err := m.Prepare(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if err := m.Prepare(t.Context(), job); err == nil || !strings.Contains(err.Error(), "not a backup") {
		t.Errorf("prepared twice: %v", err)
	}
	if temp, err := filepath.Glob(filepath.Join(os.TempDir(), "resilver-backup-*")); err != nil || len(temp) != 0 {
		t.Errorf("temporary files are left: %v, %v", temp, err)
	}
	copied := newLive(t)
	if err := errors.Join(os.RemoveAll(copied.data), os.Rename(job.Staging, copied.data)); err != nil {
		t.Fatal(err)
	}
	copied.start()
	rows, err := strconv.Atoi(copied.read("SELECT COUNT(*) FROM t.w"))
	if err != nil {
		t.Fatal(err)
	}
	if want := sequence(t, got.Reported) - sequence(t, before); rows != want || rows == 0 {
		t.Errorf("position %s after %s: %d rows, want %d", got.Reported, before, rows, want)
	}
}
