package private

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"resilver/watchdog/replica"
)

// holdCommand makes the test binary boot a scratch server and wait to be
// killed: a sidecar that dies.
const holdCommand = "hold-scratch"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == holdCommand {
		os.Exit(hold(os.Args[2], os.Args[3]))
	}
	code := m.Run()
	if template := os.Getenv(templateEnv); template != "" {
		_ = os.RemoveAll(template)
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// templateEnv names the area whose template the tests share.
const templateEnv = "RESILVER_TEST_TEMPLATE"

func hold(area, bin string) int {
	o, err := optionsFor(area, bin)
	if err == nil {
		var s *Server
		if s, err = Scratch(background(), o, nil); err == nil {
			fmt.Println(s.pid)
			<-s.Done()
		}
	}
	fmt.Println(err)
	return 1
}

// mysqld finds a real server on PATH or among those that the project fetches.
// There is no test without one.
func mysqld() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", "..", ".servers"))
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real // in a folder that mysqld's user can enter
	}
	root = filepath.Join(root, "mysql")
	fetched := filepath.Join(root, "bin", "mysqld")
	if _, err := os.Stat(fetched); err == nil {
		return fetched, nil
	}
	found, err := exec.LookPath("mysqld")
	if err != nil {
		return "", errors.New("no mysqld on PATH and none fetched: run make lab")
	}
	return found, nil
}

// optionsFor are the options of private servers in area; they run as daemon
// where we are root.
func optionsFor(area, bin string) (Options, error) {
	p := Program{Prefix: []string{bin}, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("daemon")
		if err != nil {
			return Options{}, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		p.UID, p.GID = uint32(uid), uint32(gid)
	}
	paths := livePaths()
	for name, value := range libraryPaths(bin) {
		paths[name] = value
	}
	return Options{Program: p, Paths: paths, Area: area, BootTimeout: time.Minute,
		Logger: slog.New(slog.DiscardHandler)}, nil
}

// libraryPaths are where a fetched server finds its files; an installed one
// knows.
func libraryPaths(bin string) map[string]string {
	root := filepath.Join(filepath.Dir(bin), "..", "root", "usr")
	out := map[string]string{"basedir": "", "lc_messages_dir": "", "character_sets_dir": "", "plugin_dir": ""}
	if _, err := os.Stat(root); err == nil {
		out["lc_messages_dir"] = filepath.Join(root, "share", "mysql")
		out["character_sets_dir"] = filepath.Join(root, "share", "mysql", "charsets")
		out["plugin_dir"] = filepath.Join(root, "lib", "mysql", "plugin")
	}
	return out
}

// newArea makes a staging area that the servers' user owns.
func newArea(t *testing.T, under string) Options {
	t.Helper()
	bin, err := mysqld()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "private-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	o, err := optionsFor(filepath.Join(dir, under), bin)
	if err != nil {
		t.Fatal(err)
	}
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	if err := os.MkdirAll(o.Area, 0o755); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o755), os.Chown(path, int(o.Program.UID), int(o.Program.GID)))
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// withTemplate gives an area the template that an earlier test made.
func withTemplate(t *testing.T, o Options) Options {
	t.Helper()
	if shared := os.Getenv(templateEnv); shared != "" {
		if out, err := exec.Command("cp", "-a", shared+"/.", o.Area).CombinedOutput(); err != nil {
			t.Fatalf("copy: %v\n%s", err, out)
		}
		return o
	}
	area, err := os.OpenRoot(o.Area)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = area.Close() }()
	name, err := template(t.Context(), area, o, "")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := os.MkdirTemp("/tmp", "private-template-")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(shared, 0o755), os.Chown(shared, int(o.Program.UID), int(o.Program.GID))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(o.Area, name), shared).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	if err := os.Setenv(templateEnv, shared); err != nil {
		t.Fatal(err)
	}
	return o
}

func scratch(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Scratch(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// asRoot opens root's account, which has no password in a new datadir.
func asRoot(t *testing.T) func(socket string) (*replica.Server, error) {
	return func(socket string) (*replica.Server, error) {
		return replica.Open(replica.Options{Socket: socket, User: "root", Timeout: 10 * time.Second,
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	}
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := cutLast(string(b), ")")
	return !strings.HasPrefix(strings.TrimSpace(rest), "Z")
}

func eventually(t *testing.T, limit time.Duration, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// heldScratch starts another process that holds a scratch server in area, and
// returns it with the server's number.
func heldScratch(t *testing.T, o Options) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], holdCommand, o.Area, o.Program.Prefix[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the holder says %q", line)
	}
	return cmd, pid
}
