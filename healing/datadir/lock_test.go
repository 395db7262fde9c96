package datadir

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// holdLock is a child that takes the lock as InnoDB does, says so, and waits
// for the end of its input.
func holdLock(datadir string) {
	f, err := os.OpenFile(filepath.Join(datadir, "ibdata1"), os.O_RDWR, 0)
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err != nil {
		os.Exit(3)
	}
	_, _ = os.Stdout.WriteString("locked\n")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	_ = f.Close()
	os.Exit(0)
}

func TestInUseNamesTheHolder(t *testing.T) {
	p, base := setUp(t)
	d := p.Live.Path
	if held, _, err := lockedBy(d + "/"); err != nil || held {
		t.Fatalf("in use: %v %v", held, err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{crashVariable + "=lock", "DATADIR=" + d}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the child says %q", line)
	}
	held, pid, err := lockedBy(d)
	must(t, err)
	if !held || pid != cmd.Process.Pid {
		t.Errorf("held %v by %d, wanted %d", held, pid, cmd.Process.Pid)
	}
	_, err = LockSystemTablespace(d)
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != cmd.Process.Pid {
		t.Errorf("locking gave %v", err)
	}
	must(t, in.Close())
	must(t, cmd.Wait())
	if held, _, err := lockedBy(d); err != nil || held {
		t.Errorf("in use after the end: %v %v", held, err)
	}
	if _, _, err := lockedBy(filepath.Join(base)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without ibdata1: %v", err)
	}
}

// TestLockKeepsAServerOut: the lock refuses another process's lock as InnoDB
// takes it, survives looking at the file here, and an exchange.
func TestLockKeepsAServerOut(t *testing.T) {
	p, _ := setUp(t)
	newDatadir(t, p.Path(NameNew), "new")
	unlock, err := LockSystemTablespace(p.Live.Path)
	must(t, err)
	if held, pid, err := lockedBy(p.Live.Path); err != nil || !held || pid != 0 {
		t.Fatalf("held %v by %d: %v", held, pid, err)
	}
	_, err = os.ReadFile(filepath.Join(p.Live.Path, "ibdata1"))
	must(t, err)
	try := func(dir string) int {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{crashVariable + "=lock", "DATADIR=" + dir}
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	if code := try(p.Live.Path); code != 3 {
		t.Errorf("a server got the lock: exit %d", code)
	}
	if _, err := Exchange(p.Live.Ref, mustRef(t, p.Path(NameNew))); err != nil {
		t.Fatal(err)
	}
	if code := try(p.Path(NameNew)); code != 3 {
		t.Errorf("a server got the lock after the exchange: exit %d", code)
	}
	if code := try(p.Live.Path); code != 0 {
		t.Errorf("the new datadir is locked: exit %d", code)
	}
	must(t, unlock())
	if code := try(p.Path(NameNew)); code != 0 {
		t.Errorf("still locked: exit %d", code)
	}
}

// lockedBy asks holder of a datadir by path.
func lockedBy(datadir string) (held bool, pid int, err error) {
	dir, err := openReal(datadir)
	if err != nil {
		return false, 0, err
	}
	defer dir.Close()
	pid, held, err = holder(dir)
	return held, pid, err
}
