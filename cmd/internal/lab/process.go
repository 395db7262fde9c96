package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Program is one of the programs of a node.
type Program string

// The programs of a node. The supervisor owns mysqld.
const (
	Mysqld     Program = "mysqld"
	Sidecar    Program = "sidecar"
	Supervisor Program = "supervise"
)

func (n *Node) pidFile(p Program) string {
	switch p {
	case Mysqld:
		return n.MysqldPIDFile
	case Sidecar:
		return n.SidecarPIDFile
	default:
		return filepath.Join(n.dir, "sidecar", "supervise.pid")
	}
}

// PID returns the process id of a program, 0 where it does not run. A pid
// file that outlived its process, even one whose number is in use again, is
// recognised: the command line must name a file of this node.
func (n *Node) PID(p Program) int {
	text, err := os.ReadFile(n.pidFile(p))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 || !alive(pid) {
		return 0
	}
	for _, arg := range arguments(pid) {
		if strings.Contains(arg, n.dir+"/") {
			return pid
		}
	}
	return 0
}

// arguments is the command line of a process, empty where it is gone.
func arguments(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// alive says that a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, ok := bytes.Cut(stat, []byte(") "))
	return ok && len(after) > 0 && after[0] != 'Z' && after[0] != 'X'
}

// launch starts a program that stays when the lab's own process ends: in a
// session of its own, its output appended to a log. The channel is closed when
// it ends, if that is while the lab's process lives.
func launch(argv, env []string, logFile, pidFile string) (_ <-chan struct{}, err error) {
	log, err := os.OpenFile(logFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8"}
	if race, ok := os.LookupEnv("GORACE"); ok { // of a resilver with the race detector
		cmd.Env = append(cmd.Env, "GORACE="+race)
	}
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(argv[0]), err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // so that it leaves no zombie; how it ended is in its log
	}()
	if pidFile == "" {
		return ended, nil
	}
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("write a pid file: %w", errors.Join(err, cmd.Process.Kill()))
	}
	return ended, nil
}

// Signal sends a signal to a program that runs.
func (n *Node) Signal(p Program, sig syscall.Signal) error {
	pid := n.PID(p)
	if pid == 0 {
		return fmt.Errorf("%s: %s does not run", n.Name, p)
	}
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s: signal %s: %w", n.Name, p, err)
	}
	return nil
}

// Kill ends a program with SIGKILL and waits until it is gone.
func (n *Node) Kill(ctx context.Context, p Program) error {
	pid := n.PID(p)
	if err := n.Signal(p, syscall.SIGKILL); err != nil {
		return err
	}
	return n.waitGone(ctx, pid, p, 30*time.Second)
}

// end asks a program to stop and kills it after the grace; nothing to do
// where it does not run.
func (n *Node) end(ctx context.Context, p Program, grace time.Duration) error {
	pid := n.PID(p)
	if pid == 0 {
		return nil
	}
	if grace > 0 {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s: stop %s: %w", n.Name, p, err)
		}
		if n.waitGone(ctx, pid, p, grace) == nil {
			return nil
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s: kill %s: %w", n.Name, p, err)
	}
	return n.waitGone(ctx, pid, p, 30*time.Second)
}

func (n *Node) waitGone(ctx context.Context, pid int, p Program, within time.Duration) error {
	return WaitFor(ctx, within, fmt.Sprintf("%s of %s to end", p, n.Name), func(context.Context) (bool, string) {
		return !alive(pid), fmt.Sprintf("process %d runs", pid)
	})
}

// strays are processes of these nodes beyond their pid files: private mysqlds
// of a rebuild, children of a sidecar that was killed.
func (c *Cluster) strays(nodes ...*Node) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || !alive(pid) {
			continue
		}
		if args := arguments(pid); c.runs(args, nodes) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// runs says whether a command line is that of a server, tool or sidecar of one
// of these nodes: never an editor or a pager that shows one of its files.
func (c *Cluster) runs(args []string, nodes []*Node) bool {
	programs := []string{"mysqld", "mariadbd", "mariadb-backup", "mbstream"}
	ours, named := false, false
	for i, arg := range args {
		base := filepath.Base(arg)
		ours = ours || slices.Contains(programs, base) || i == 0 && c.setup.Resilver != "" && arg == c.setup.Resilver
		for _, n := range nodes {
			named = named || strings.Contains(arg, n.dir+"/")
		}
	}
	return ours && named
}

// killStrays ends them.
func (c *Cluster) killStrays(ctx context.Context, nodes ...*Node) error {
	return WaitFor(ctx, 30*time.Second, "the lab's processes to end", func(context.Context) (bool, string) {
		pids, err := c.strays(nodes...)
		if err != nil {
			return false, err.Error()
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, err.Error()
			}
		}
		return len(pids) == 0, fmt.Sprintf("processes %v run", pids)
	})
}
