package bench

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"resilver/watchdog"
)

func TestCPUIn(t *testing.T) {
	// A name may hold spaces and brackets.
	got, err := cpuIn([]byte("42 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0\n"))
	if err != nil || math.Abs(got-2) > 1e-9 {
		t.Errorf("cpuIn is %v, %v, want 2 seconds", got, err)
	}
	for _, text := range []string{"", "42 (a) S 1 2 3", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 50 0"} {
		if got, err := cpuIn([]byte(text)); err == nil {
			t.Errorf("cpuIn(%q) is %v, want an error", text, got)
		}
	}
}

func TestUsageOfSelf(t *testing.T) {
	u, err := usageOf(os.Getpid())
	if err != nil || u.rss <= u.anonymous || u.anonymous <= 0 || u.cpu < 0 {
		t.Errorf("this process uses %+v, %v", u, err)
	}
	if _, err := usageOf(-1); err == nil {
		t.Error("a process that does not exist has a usage")
	}
}

func TestDiskIn(t *testing.T) {
	const mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /var/tmp tmpfs rw 0 0\n/dev/vdb /var/tmp/lab xfs rw 0 0\nproc /var/tmp/lab2 proc rw 0 0\n"
	for dir, want := range map[string]string{"/home": "/dev/vda, ext4", "/var/tmp/x": "tmpfs, tmpfs", "/var/tmp/lab": "/dev/vdb, xfs", "/var/tmp/lab/a/b": "/dev/vdb, xfs"} {
		if got := diskIn(mounts, dir); got != want {
			t.Errorf("%s lies on %q, want %q", dir, got, want)
		}
	}
}

func TestLongestWithin(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	commits := []timed{{at(0), 5 * time.Second}, {at(6), time.Second}, {at(9.9), 3 * time.Second}, {at(20), 9 * time.Second}}
	longest, n := longestWithin(commits, at(5.5), at(10))
	if longest != 3*time.Second || n != 2 {
		t.Errorf("longest is %s of %d, want 3s of 2: the first ended before, the last began after", longest, n)
	}
	if longest, n = longestWithin(commits, at(15), at(16)); longest != 0 || n != 0 {
		t.Errorf("longest is %s of %d, want none", longest, n)
	}
}

func TestSteps(t *testing.T) {
	r := &watchdog.Record{Steps: []watchdog.StepTime{{Name: watchdog.StepPreflight, Seconds: 1}, {Name: watchdog.StepStage, Seconds: 4}, {Name: watchdog.StepStop, Seconds: 0.5}}}
	if got := stepSeconds(r, watchdog.StepStage); got != 4 {
		t.Errorf("stage took %v, want 4", got)
	}
	if got := stepSeconds(r, watchdog.Steps()...); got != 5.5 {
		t.Errorf("all steps took %v, want 5.5", got)
	}
	for step, want := range map[watchdog.Step]bool{watchdog.StepPreflight: false, watchdog.StepStage: false, watchdog.StepPrepare: true, watchdog.StepSettle: true, "else": false} {
		if got := beyondStage(step); got != want {
			t.Errorf("%s lies beyond stage: %t, want %t", step, got, want)
		}
	}
}

func TestCopiedPosition(t *testing.T) {
	dir := t.TempDir()
	if got, err := copiedPosition(dir); err == nil {
		t.Errorf("a copy without a position has %q", got)
	}
	file := filepath.Join(dir, "xtrabackup_binlog_info")
	for text, want := range map[string]string{"binlog.000001\t2253\t0-1-10\n": "0-1-10", "binlog.000001\t2253\n": "", "": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := copiedPosition(dir); got != want || (err == nil) != (want != "") {
			t.Errorf("the position in %q is %q, %v, want %q", text, got, err, want)
		}
	}
}
