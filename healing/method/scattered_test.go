package method_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"resilver/healing/method"
	"resilver/healing/private"
	"resilver/watchdog/replica"
)

// TestCloneScattered: on this machine the donor's own live files lie where the
// copy of its tablespaces wants to go. With covers they land in these, the live
// ones are left alone, and the rehearsal finds them; without, or with one that
// is missing, nothing is written there.
func TestCloneScattered(t *testing.T) {
	ext := place(t)
	source := donor(t, "innodb_directories="+ext)
	node := replicaOf(t, source)
	node.exec("STOP REPLICA")
	source.exec("CREATE TABLE d.far (id INT PRIMARY KEY, v VARCHAR(99)) DATA DIRECTORY='"+ext+"'", "INSERT INTO d.far VALUES (1, 'one'), (2, 'two')",
		"CREATE TABLESPACE g ADD DATAFILE '"+ext+"/g.ibd'", "CREATE TABLE d.general (id INT PRIMARY KEY) TABLESPACE g", "INSERT INTO d.general VALUES (7)")
	live := inodesOf(t, ext)
	areas := place(t)
	covers := []private.Cover{{Over: ext, From: mkdir(t, areas+"/a")}, {Over: ext + "/d", From: mkdir(t, areas+"/b")}}
	job := method.Job{ID: "r1", Area: node.data + ".resilver", Staging: node.data + ".resilver/new", Program: node.program(),
		Paths: node.paths(t), Tunnel: source.tunnel(cloneUser(t))}
	clone := newClone(t, time.Minute)
	if fits, why := clone.Fit(t.Context(), method.Facts{Flavor: "mysql", VersionNumber: 90704, Scattered: true}); fits != (os.Geteuid() == 0) {
		t.Fatalf("fits %v as user %d: %s", fits, os.Geteuid(), why)
	}
	refused(t, job, "that was not known when the rebuild began")
	must(t, os.RemoveAll(job.Staging))
	if os.Geteuid() != 0 {
		return // nobody else can make covers
	}
	job.Covers = covers[1:]
	refused(t, job, "that was not known when the rebuild began")
	must(t, os.RemoveAll(job.Staging))
	for _, c := range covers {
		emptied(t, c.From)
	}
	job.Covers = covers
	if _, err := clone.Stage(t.Context(), job, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if got := inodesOf(t, ext); !maps.Equal(got, live) {
		t.Errorf("live files changed: %v, they were %v", got, live)
	}
	rehearsed, err := private.Rehearse(t.Context(), private.RehearseOptions{
		Options: private.Options{Program: job.Program, Paths: job.Paths, Area: job.Area, Covers: covers, BootTimeout: time.Minute, Logger: logger(t)},
		Datadir: job.Staging, DonorExecuted: source.read("SELECT @@GLOBAL.gtid_executed"),
		Connect: func(socket string) (*replica.Server, error) { return node.sidecar(t, socket), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rehearsed.Scattered)
	if want := []string{ext + "/d/far.ibd", ext + "/g.ibd"}; !slices.Equal(rehearsed.Scattered, want) {
		t.Errorf("the rehearsal found %v, want %v", rehearsed.Scattered, want)
	}
	for i, name := range []string{"a/g.ibd", "b/far.ibd"} {
		if info, err := os.Stat(filepath.Join(areas, name)); err != nil || info.Size() < 64<<10 {
			t.Errorf("%d: %v, %v", i, info, err)
		}
	}
	if left := strays(t, job.Area); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if got := source.read("SELECT GROUP_CONCAT(v) FROM d.far"); got != "one,two" || !maps.Equal(inodesOf(t, ext), live) {
		t.Errorf("the live table is %s", got)
	}
	// A rehearsal that does not know of them refuses the copy.
	_, err = private.Rehearse(t.Context(), private.RehearseOptions{
		Options: private.Options{Program: job.Program, Paths: job.Paths, Area: job.Area, Covers: covers[:1], BootTimeout: time.Minute, Logger: logger(t)},
		Datadir: job.Staging, DonorExecuted: source.read("SELECT @@GLOBAL.gtid_executed"),
		Connect: func(socket string) (*replica.Server, error) { return node.sidecar(t, socket), nil },
	})
	if err == nil {
		t.Error("a copy with a tablespace in no cover was taken")
	}
}

// TestMariabackupScattered: a backup has such a tablespace beside the others,
// and a link to its place. Preparation leaves that place alone; without the
// link the copy boots with what it has itself.
func TestMariabackupScattered(t *testing.T) {
	ext := place(t)
	donor := newMaria(t, "log_bin=binlog").start().backupAccount()
	donor.exec("CREATE DATABASE d", "CREATE TABLE d.far (id INT PRIMARY KEY, v VARCHAR(99)) ENGINE=InnoDB DATA DIRECTORY='"+ext+"'",
		"INSERT INTO d.far VALUES (1, 'copied')")
	d := donate(t, donor.asLive("mariadb", donor.version()), nil)
	m, job := mariabackup(t), jobIn(t, d.open)
	if fits, why := m.Fit(t.Context(), method.Facts{Flavor: "mariadb", VersionNumber: donor.version(), Scattered: true}); !fits {
		t.Fatal(why)
	}
	if _, err := m.Stage(t.Context(), job, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	donor.exec("UPDATE d.far SET v='live'")
	live := inodesOf(t, ext)
	if err := m.Prepare(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(job.Staging, "d", "far.isl")
	if text, err := os.ReadFile(link); err != nil || strings.TrimSpace(string(text)) != ext+"/d/far.ibd" {
		t.Fatalf("the link is %q, %v", text, err)
	}
	must(t, os.Rename(link, link+".resilver"))
	copied := mariaOn(t, job.Staging).start()
	if got := copied.read("SELECT v FROM d.far"); got != "copied" {
		t.Errorf("the copy has %q", got)
	}
	copied.exec("UPDATE d.far SET v='of the copy'")
	if got := donor.read("SELECT v FROM d.far"); got != "live" || !maps.Equal(inodesOf(t, ext), live) {
		t.Errorf("the live table is %q", got)
	}
}

func emptied(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		must(t, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
}

// inodesOf are the files below dir.
func inodesOf(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	for path := range contents(t, dir) {
		info, err := os.Stat(path)
		must(t, err)
		out[path] = info.Sys().(*syscall.Stat_t).Ino
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
