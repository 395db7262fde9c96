package admin

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

func TestAccess(t *testing.T) {
	const self, stranger, nobody = 4242, 54321, 65534
	for name, test := range map[string]struct {
		who              caller
		readers, writers []string
		read, write      bool
	}{
		"root":               {caller{0, 0, true}, nil, nil, true, true},
		"own uid":            {caller{self, 1, true}, nil, nil, true, true},
		"not vouched for":    {caller{0, 0, false}, nil, []string{"root", "0"}, false, false},
		"stranger":           {caller{stranger, stranger, true}, nil, []string{"root"}, false, false},
		"writer by number":   {caller{stranger, stranger, true}, nil, []string{"54321"}, true, true},
		"reader by number":   {caller{stranger, stranger, true}, []string{"54321"}, []string{"root"}, true, false},
		"reader by gid":      {caller{stranger, 777, true}, []string{"%777"}, nil, true, false},
		"gid is not uid":     {caller{stranger, 777, true}, []string{"777"}, []string{"%54321"}, false, false},
		"writer by name":     {caller{nobody, 777, true}, nil, []string{"nobody"}, true, true},
		"group by user list": {caller{nobody, 777, true}, nil, []string{"%nogroup"}, true, true},
		"unknown names":      {caller{stranger, stranger, true}, []string{"%nosuch"}, []string{"nosuch", "%", ""}, false, false},
	} {
		a := access{self: self, readers: test.readers, writers: test.writers}
		if a.mayRead(test.who) != test.read || a.mayWrite(test.who) != test.write {
			t.Errorf("%s: read %v, write %v", name, a.mayRead(test.who), a.mayWrite(test.who))
		}
	}
}

// callerAs runs this test binary as a user that is nobody here, in the given
// group, and returns what it was allowed.
func callerAs(t *testing.T, socket string, uid, gid uint32) map[string]string {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = self.Close() }()
	binary := filepath.Join(filepath.Dir(filepath.Dir(socket)), "caller")
	if _, err := os.Stat(binary); err != nil {
		copied, err := os.OpenFile(binary, os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(copied, self); err != nil {
			t.Fatal(err)
		}
		if err := copied.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{asCaller + "=" + socket, "GORACE=atexit_sleep_ms=0"}
	cmd.Dir = "/"
	cmd.Stderr = t.Output()
	if uid != uint32(os.Geteuid()) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run as uid %d: %v", uid, err)
	}
	var answer map[string]string
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return answer
}

// Real processes with real uids: root's socket and a caller who is not root.
// An ordinary user can only be itself, and its own uid may do everything.
func TestRightsByRealUID(t *testing.T) {
	if os.Geteuid() != 0 {
		dir := filepath.Join(tempDir(t), "run")
		socket := filepath.Join(dir, "s")
		run(t, Options{Socket: socket, Daemon: &daemon{}})
		if got := callerAs(t, socket, uint32(os.Geteuid()), uint32(os.Getegid())); got["read"] != "ok" || got["write"] != "ok" {
			t.Errorf("own uid: %v", got)
		}
		return
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	id, _ := strconv.ParseUint(nobody.Uid, 10, 32)
	group, _ := strconv.ParseUint(nobody.Gid, 10, 32)
	uid, gid := uint32(id), uint32(group)
	for name, test := range map[string]struct {
		dirGroup         int
		readers, writers []string
		dial             string
		read, write      string
	}{
		"closed directory": {0, []string{"nobody"}, []string{"nobody"}, "unreachable", "", ""},
		"nobody listed":    {int(gid), nil, []string{"root"}, "ok", "denied", "denied"},
		"reader":           {int(gid), []string{"nobody"}, []string{"root"}, "ok", "ok", "denied"},
		"writer":           {int(gid), nil, []string{"nobody"}, "ok", "ok", "ok"},
		"writing group":    {int(gid), nil, []string{"%" + nobody.Gid}, "ok", "ok", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(tempDir(t), "run")
			if err := os.Mkdir(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, 0, test.dirGroup); err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(dir, "s")
			d := &daemon{}
			run(t, Options{Socket: socket, Daemon: d, Readers: test.readers, Writers: test.writers})
			got := callerAs(t, socket, uid, gid)
			if got["dial"] != test.dial || got["read"] != test.read || got["write"] != test.write {
				t.Errorf("got %v", got)
			}
			if test.write != "ok" && d.last() != "" && d.last() != "status" {
				t.Errorf("the daemon was asked for %s", d.last())
			}
			if test.write == "ok" && d.last() != `pause nobody "a test" "" until false` {
				t.Errorf("the daemon was asked for %s", d.last())
			}
		})
	}
}
