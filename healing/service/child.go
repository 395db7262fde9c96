package service

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// exitRestart is the status with which mysqld ends after RESTART; it wants to
// be started again.
const exitRestart = 16

// child is a mysqld of which this process is the parent.
type child struct {
	pid     int
	ticks   uint64
	process *os.Process
	started time.Time
	done    chan death // receives once, when the child is reaped
}

// death is how a child ended.
type death struct {
	text    string // exit status 1, signal: killed
	clean   bool   // exit status 0
	restart bool   // exit status 16
	lived   time.Duration
}

// spawn starts mysqld in a process group of its own. It is bound to this
// process by PR_SET_PDEATHSIG: the kernel sends the signal when the *thread*
// that forked ends, so that thread is locked and stays until the child has
// been reaped. The kernel forgets the setting when the child changes its user
// (prctl(2)), which is why the credential is set here and not by mysqld's
// --user.
func spawn(o *SupervisorOptions) (*child, error) {
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.Env = append(append([]string{}, o.Env...), "MYSQLD_PARENT_PID="+strconv.Itoa(os.Getpid()))
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: o.Credential}
	c := &child{done: make(chan death, 1)}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its child
		c.started = time.Now()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		c.pid, c.process = cmd.Process.Pid, cmd.Process
		stat, err := readStat(c.pid)
		c.ticks = stat.ticks
		started <- err
		c.done <- c.reap(cmd)
	}()
	if err := <-started; err != nil {
		if c.process != nil {
			_ = c.process.Kill()
			<-c.done
		}
		return nil, fmt.Errorf("start mysqld: %w", err)
	}
	return c, nil
}

// reap waits for the child, ends what is left of its process group while the
// child's pid still cannot be anybody else's, and collects it.
func (c *child) reap(cmd *exec.Cmd) death {
	for {
		err := unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-c.pid, unix.SIGKILL)
	_ = cmd.Wait() // how it ended is in ProcessState
	state := cmd.ProcessState
	return death{
		text:    state.String(),
		clean:   state.ExitCode() == 0,
		restart: state.ExitCode() == exitRestart,
		lived:   time.Since(c.started),
	}
}

func (c *child) end(how How) error {
	sig := syscall.SIGTERM
	if how == Kill {
		sig = syscall.SIGKILL
	}
	if err := c.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end mysqld: %w", err)
	}
	return nil
}

// RunAs returns the credential that mysqld's own option --user asks for, nil
// where this process is not root or the command line names nobody. The child
// then begins with it: it cannot change its user later without losing its tie
// to the supervisor. Log files that mysqld opens must be writable by it.
func RunAs(command []string) (*syscall.Credential, error) {
	name := userOption(command)
	if name == "" || os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		byID, idErr := user.LookupId(name)
		if idErr != nil {
			return nil, fmt.Errorf("find the user to run mysqld as: %w", err)
		}
		u = byID
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("find the user to run mysqld as: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("find the user to run mysqld as: %w", err)
	}
	if uid == 0 {
		return nil, nil
	}
	cred := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("find the groups of %s: %w", name, err)
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			cred.Groups = append(cred.Groups, uint32(n))
		}
	}
	return cred, nil
}

// userOption returns the value of the last --user or -u of a command line.
func userOption(command []string) string {
	name := ""
	for i := 1; i < len(command); i++ {
		word := command[i]
		switch {
		case strings.HasPrefix(word, "--user="):
			name = word[len("--user="):]
		case (word == "--user" || word == "-u") && i+1 < len(command):
			name = command[i+1]
		case strings.HasPrefix(word, "-u") && len(word) > 2:
			name = word[2:]
		}
	}
	return name
}
