//go:build proof

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// runner is who runs a demonstration; zero is the user that the tests run as.
type runner struct {
	as  *syscall.Credential
	env []string
	dir string
}

// ordinaryUser is one who owns nothing but a new home directory. Servers that
// were fetched already are linked into it. Tests that are not run by root are
// run by an ordinary user in any case.
func ordinaryUser(t *testing.T, engine string) runner {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "user-") // short, for sockets
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(home)) })
	servers := filepath.Join(home, ".cache", "resilver-lab")
	must(t, os.MkdirAll(servers, 0o755))
	server, err := lab.Servers(t.Context(), engine, logWriter{t})
	must(t, err)
	if server.Root != "" {
		tree, err := filepath.EvalSymlinks(filepath.Dir(server.Root))
		must(t, err)
		must(t, os.Symlink(tree, filepath.Join(servers, engine)))
	}
	r := runner{dir: home, env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "GORACE=" + os.Getenv("GORACE")}}
	if os.Geteuid() != 0 {
		return r
	}
	games, err := user.Lookup("games")
	must(t, err)
	uid, err := strconv.ParseUint(games.Uid, 10, 32)
	must(t, err)
	gid, err := strconv.ParseUint(games.Gid, 10, 32)
	must(t, err)
	r.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, dir := range []string{home, filepath.Dir(servers), servers} {
		must(t, os.Chown(dir, int(uid), int(gid)))
	}
	t.Cleanup(func() { _ = os.Remove("/var/tmp/resilver-lab-" + games.Uid) }) // unless it has another lab
	return r
}

// labBinary is resilver-lab, built once, beside resilver.
var labBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "resilver-lab")
	out, err := exec.Command("go", "build", "-o", path, "resilver/cmd/resilver-lab").CombinedOutput() //nolint:noctx // go test has a deadline
	if err != nil {
		return "", fmt.Errorf("build resilver-lab: %w: %s", err, out)
	}
	return path, nil
})

// lab is a command of resilver-lab.
func (r runner) lab(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := labBinary()
	must(t, err)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.as}
	return cmd
}

// demo starts a demonstration.
func (r runner) demo(t *testing.T, engine string, args ...string) *demonstration {
	t.Helper()
	return watch(t, r.lab(t.Context(), t, append([]string{"demo", "--engine", engine, "--resilver", binary}, args...)...))
}

// demonstration is one that runs in a process group of its own, as a terminal
// would have it.
type demonstration struct {
	cmd  *exec.Cmd
	said chan string // each line; closed at the end
	all  []string
	dir  string // of its lab, once it is known
}

var labIn = regexp.MustCompile(`nodes in (\S+)`)

func watch(t *testing.T, cmd *exec.Cmd) *demonstration {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	out, in, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = in, in
	must(t, cmd.Start())
	must(t, in.Close())
	d := &demonstration{cmd: cmd, said: make(chan string, 10000)}
	go func() {
		defer close(d.said)
		defer out.Close()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			d.said <- lines.Text()
		}
	}()
	return d
}

// next takes in lines up to one with a text in it; false at the end of all.
func (d *demonstration) next(t *testing.T, text string) bool {
	t.Helper()
	limit := time.After(5 * time.Minute)
	for {
		select {
		case line, ok := <-d.said:
			if !ok {
				return false
			}
			t.Logf("%s %s", time.Now().Format("15:04:05"), line)
			d.all = append(d.all, line)
			if m := labIn.FindStringSubmatch(line); m != nil {
				d.dir = m[1]
			}
			if text != "" && strings.Contains(line, text) {
				return true
			}
		case <-limit:
			_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGTERM)
			t.Fatalf("it neither ends nor says %q", text)
		}
	}
}

// says waits for a line with a text in it.
func (d *demonstration) says(t *testing.T, text string) {
	t.Helper()
	if !d.next(t, text) {
		t.Fatalf("it ended without saying %q: %v", text, d.cmd.Wait())
	}
}

// end waits until nobody can say anything any more, and returns the exit
// code, -1 where a signal has ended it.
func (d *demonstration) end(t *testing.T) int {
	t.Helper()
	d.next(t, "")
	_ = d.cmd.Wait() // the exit code is what is asked for
	return d.cmd.ProcessState.ExitCode()
}

func (d *demonstration) text() string { return strings.Join(d.all, "\n") }

// leftNothing: neither the lab's directory is left, nor a process that knows it.
func (d *demonstration) leftNothing(t *testing.T) {
	t.Helper()
	if d.dir == "" {
		t.Fatal("it did not say where its lab is")
	}
	nothingOf(t, d.dir)
	d.dir = ""
}

func nothingOf(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); err == nil {
		t.Errorf("%s is left", dir)
	}
	nobodyOf(t, dir)
}

// nobodyOf: no process knows a lab.
func nobodyOf(t *testing.T, dir string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	for _, process := range all {
		command, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(process, "environ"))
		if strings.Contains(string(command)+string(environ), dir) {
			t.Errorf("%s is left: %q", process, command)
		}
	}
}
