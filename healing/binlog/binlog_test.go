package binlog

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// The files in testdata are those of real servers (MySQL 9.7.4, MariaDB
// 10.11.18) that were killed: the binary logs of a source, and the relay logs
// of its replica, whose applier was stopped half-way. A statement in MySQL's
// has lines in it that look like the tool's own.

// server is where the project fetches a server to, or the one on the PATH.
func server(t *testing.T, flavor string) []string {
	t.Helper()
	name := map[string]string{"mysql": "mysqld", "mariadb": "mariadbd"}[flavor]
	root, err := filepath.EvalSymlinks(filepath.Join("..", "..", ".servers"))
	if err == nil {
		root, err = filepath.Abs(root)
	}
	if err != nil {
		t.Fatal(err)
	}
	if path := filepath.Join(root, flavor, "bin", name); exists(path) {
		return []string{path}
	}
	return []string{filepath.Join("/usr/sbin", name)}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func reader(t *testing.T, flavor string) *Reader {
	t.Helper()
	r, err := New(Options{Flavor: flavor, Server: server(t, flavor), Dirs: []string{"/usr/bin"}, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(server(t, flavor)[0], "--no-defaults", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("server: %s, its own reader of logs: %s", flavor, bytes.TrimSpace(said))
	return r
}

func logsIn(dir string, relay bool) Logs {
	kind := "binlog"
	if relay {
		kind = "relay"
	}
	return Logs{Datadir: dir, Basename: filepath.Join(dir, kind), Index: kind + ".index", Relay: relay}
}

// copied is a copy of the files of a flavour, to be damaged.
func copied(t *testing.T, flavor string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", flavor))); err != nil {
		t.Fatal(err)
	}
	return dir
}

const (
	tagged = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	own    = "7583e806-e72e-11f1-8eee-02fc00000001"
)

// want is the set that each of them holds.
var want = []struct {
	flavor string
	relay  bool
	set    string
}{
	{"mysql", false, tagged + ":9:tagged:7," + own + ":1-16," + tagged + ":tagged:8," + own + ":17-20"},
	{"mysql", true, tagged + ":9:tagged:7," + own + ":1-16," + tagged + ":tagged:8," + own + ":17-20"},
	{"mariadb", false, "0-1-11,3-77-1,0-1-13,3-78-2"},
	{"mariadb", true, "0-1-13,3-78-2"},
}

func TestReadsRealLogs(t *testing.T) {
	for _, c := range want {
		got, err := reader(t, c.flavor).GTIDs(t.Context(), logsIn(copied(t, c.flavor), c.relay))
		if err != nil || got != c.set {
			t.Errorf("%s, relay %t: %q, %v, want %q", c.flavor, c.relay, got, err, c.set)
		}
	}
}

func lastFile(dir string, relay bool) string {
	if relay {
		return filepath.Join(dir, "relay.000005")
	}
	return filepath.Join(dir, "binlog.000002")
}

// TestDamagedLogsAreNeverShorter: whatever byte of the last file is wrong, the
// answer is an error or the whole set.
func TestDamagedLogsAreNeverShorter(t *testing.T) {
	for _, c := range want {
		t.Run(fmt.Sprintf("%s relay %t", c.flavor, c.relay), func(t *testing.T) {
			t.Parallel()
			r, dir := reader(t, c.flavor), copied(t, c.flavor)
			path := lastFile(dir, c.relay)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			refused := 0
			for at := 0; at < len(whole); at += 17 {
				damaged := slices.Clone(whole)
				damaged[at] ^= 0xff
				write(t, path, damaged)
				got, err := r.GTIDs(t.Context(), logsIn(dir, c.relay))
				if err != nil {
					refused++
				} else if got != c.set {
					t.Errorf("byte %d is wrong, and the set is %q, want %q or an error", at, got, c.set)
				}
			}
			if refused < len(whole)/17/2 {
				t.Errorf("only %d of %d damages were noticed", refused, len(whole)/17)
			}
		})
	}
}

// TestTornEnd: what a crash cut off at the end of the last file is no damage,
// and all before it counts.
func TestTornEnd(t *testing.T) {
	for _, c := range want {
		r, dir := reader(t, c.flavor), copied(t, c.flavor)
		path := lastFile(dir, c.relay)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The last event is the end of a transaction, and 31 bytes long.
		for _, less := range []int{1, 11, 12, 13, 30, 31} {
			write(t, path, whole[:len(whole)-less])
			if got, err := r.GTIDs(t.Context(), logsIn(dir, c.relay)); err != nil || got != c.set {
				t.Errorf("%s, relay %t: %d bytes less: %q, %v", c.flavor, c.relay, less, got, err)
			}
		}
		// Zeros are not what a crash of the server leaves.
		write(t, path, append(slices.Clone(whole), make([]byte, 64)...))
		if got, err := r.GTIDs(t.Context(), logsIn(dir, c.relay)); err == nil {
			t.Errorf("%s, relay %t: zeros at the end: %q", c.flavor, c.relay, got)
		}
		// The same in a file that is not the last.
		write(t, path, whole[:len(whole)-1])
		next := path[:len(path)-1] + "9"
		write(t, next, whole[:4])
		if got, err := r.GTIDs(t.Context(), logsIn(dir, c.relay)); err == nil {
			t.Errorf("%s, relay %t: cut off in the middle: %q", c.flavor, c.relay, got)
		}
		// A new file that a crash left empty, and that is in no list yet.
		for _, begun := range [][]byte{{}, whole[:2], whole[:4], whole[:60]} {
			write(t, path, whole)
			write(t, next, begun)
			if got, err := r.GTIDs(t.Context(), logsIn(dir, c.relay)); err != nil || got != c.set {
				t.Errorf("%s, relay %t: a new file of %d bytes: %q, %v", c.flavor, c.relay, len(begun), got, err)
			}
		}
	}
}

// TestUnreadable: what cannot be read is an error.
func TestUnreadable(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"gone":      func(t *testing.T, path string) { t.Helper(); remove(t, path) },
		"encrypted": func(t *testing.T, path string) { t.Helper(); write(t, path, []byte("\xfdbin and more of it")) },
		"something else": func(t *testing.T, path string) {
			t.Helper()
			write(t, path, []byte("no binary log at all, by its looks"))
		},
		"a link": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Rename(path, path+".real"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		},
		"no index": func(t *testing.T, path string) {
			t.Helper()
			remove(t, filepath.Join(filepath.Dir(path), "relay.index"))
			remove(t, filepath.Join(filepath.Dir(path), "binlog.index"))
		},
	} {
		for _, c := range want {
			dir := copied(t, c.flavor)
			spoil(t, lastFile(dir, c.relay))
			if got, err := reader(t, c.flavor).GTIDs(t.Context(), logsIn(dir, c.relay)); err == nil {
				t.Errorf("%s: %s, relay %t: %q", name, c.flavor, c.relay, got)
			}
		}
	}
	// No file of a binary log begins with the set of those before.
	dir := copied(t, "mysql")
	write(t, lastFile(dir, false), []byte{0xfe, 'b', 'i', 'n'})
	if got, err := reader(t, "mysql").GTIDs(t.Context(), logsIn(dir, false)); err == nil {
		t.Errorf("no head: %q", got)
	}
}

func TestChannels(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"relay.index", "relay-east.index", "relay-east.000001", "relayed.index"} {
		write(t, filepath.Join(dir, name), nil)
	}
	got, err := Channels(logsIn(dir, true))
	if err != nil || len(got) != 2 || got[1].Basename != filepath.Join(dir, "relay-east") {
		t.Errorf("channels %+v, %v", got, err)
	}
}

func TestSetIsShort(t *testing.T) {
	s := &set{}
	for _, gtid := range []string{"a:1", "a:2", "a:4", "a:3", "a:t:1", "b:7"} {
		if err := s.add(gtid); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.String(); got != "a:1-2:4:3,a:t:1,b:7" {
		t.Errorf("%s", got)
	}
	if err := s.add("ANONYMOUS"); err == nil {
		t.Error("a transaction without an id was taken")
	}
	m := &set{mariadb: true}
	for _, gtid := range []string{"0-1-9", "0-1-3", "1-1-1"} {
		if err := m.add(gtid); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.String(); got != "0-1-9,1-1-1" {
		t.Errorf("%s", got)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestToolOfAnotherEngine: what it does not understand it leaves out, or says
// in other words; that is no answer.
func TestToolOfAnotherEngine(t *testing.T) {
	for _, c := range want {
		other := map[string]string{"mysql": "mariadb", "mariadb": "mysql"}[c.flavor]
		r := reader(t, other)
		r.o.Flavor = c.flavor
		if got, err := r.GTIDs(t.Context(), logsIn(copied(t, c.flavor), c.relay)); err == nil {
			t.Errorf("%s, relay %t: %q", c.flavor, c.relay, got)
		}
	}
}
