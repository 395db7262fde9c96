package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const withoutPtraceEnv = "RESILVER_TEST_WITHOUT_PTRACE"

// A container's root, and that of resilver.service, lacks CAP_SYS_PTRACE. It
// still sees where a server of mysqld's user works.
func TestWorkdirNeedsNoPtrace(t *testing.T) {
	root := os.Geteuid() == 0
	if root && os.Getenv(withoutPtraceEnv) == "" {
		runtime.LockOSThread() // for good: only children of this thread do without
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_PTRACE, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), withoutPtraceEnv+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	cmd.Dir = "/tmp"
	if root {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := cmd.Process.Pid
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid)); errors.Is(err, fs.ErrPermission) != root {
		t.Fatalf("looking without further ado: %v", err)
	}
	want, err := os.Stat(cmd.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if cwd, err := workdir(pid); err != nil || !os.SameFile(cwd, want) {
		t.Errorf("it works in %v, %v, want %s", cwd, err, cmd.Dir)
	}
}
