package cli

import (
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestManagerIsTold listens as systemd does.
func TestManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	lis, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt((30*time.Second).Microseconds(), 10))
	m := manager{slog.New(slog.DiscardHandler)}
	m.ready(time.Second)
	m.beat()
	m.ready(time.Minute)
	m.stopping()
	for _, want := range []string{"READY=1", "WATCHDOG=1", "READY=1\nWATCHDOG_USEC=300000000", "STOPPING=1"} {
		if err := lis.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, err := lis.Read(buf)
		if got := string(buf[:n]); err != nil || got != want {
			t.Errorf("told %q (%v), want %q", got, err, want)
		}
	}
}

func TestWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m := manager{slog.New(slog.DiscardHandler)}
	m.ready(time.Second)
	m.beat()
}
