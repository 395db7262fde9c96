package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const reached = "RESILVER_TEST_FAILPOINT"

func TestMain(m *testing.M) {
	if point := os.Getenv(reached); point != "" {
		at, err := parseFailpoints(os.Getenv("RESILVER_FAILPOINT"))
		if err != nil {
			os.Exit(3)
		}
		at("elsewhere")
		at(point)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, failpoint, point string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{"RESILVER_FAILPOINT=" + failpoint, reached + "=" + point, "GORACE=atexit_sleep_ms=0"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestFailpointKills(t *testing.T) {
	err := start(t, "swap.begin=kill,stop.end=kill", "stop.end").Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("got %v", err)
	}
	if err := start(t, "swap.begin=kill", "stop.end").Wait(); err != nil {
		t.Errorf("another point: %v", err)
	}
}

func TestFailpointWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "go")
	cmd := start(t, "swap.begin=kill,stage.begin=wait:"+path, "stage.begin")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path + ".reached"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the point was not reached")
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(5 * failpointPace):
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFailpointSyntax(t *testing.T) {
	if at, err := parseFailpoints(""); at != nil || err != nil {
		t.Errorf("none: %v", err)
	}
	for _, text := range []string{"swap", "swap=", "=kill", "swap=die", "swap=wait:", "swap=kill,"} {
		if _, err := parseFailpoints(text); err == nil || !strings.Contains(err.Error(), "RESILVER_FAILPOINT") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
