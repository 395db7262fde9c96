package transfer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// connectCommand makes the test binary a client that is somebody else.
const connectCommand = "connect-to"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case DialAsCommand:
			os.Exit(DialAsMain(os.Args[2:]))
		case connectCommand:
			os.Exit(connectAndCopy(os.Args[2]))
		}
	}
	goleak.VerifyTestMain(m)
}

// connectAndCopy sends a greeting to a TCP address and prints what comes back.
func connectAndCopy(address string) int {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return 1
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "ping"); err != nil {
		return 2
	}
	if _, err := io.Copy(os.Stdout, conn); err != nil {
		return 3
	}
	return 0
}

func isRoot() bool { return os.Geteuid() == 0 }

var (
	errAhead = errors.New("ahead")
	errStale = errors.New("stale")
	quietLog = slog.New(slog.DiscardHandler)
)

// tcpPair is two ends of one connection over loopback.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
}

// ServeUnix is serveUnix for the tests from outside.
var ServeUnix = serveUnix

// serveUnix answers each connection to a unix socket with f; the directory is
// open to everybody.
func serveUnix(t *testing.T, f func(*net.UnixConn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "transfer-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o777)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c.(*net.UnixConn))
			_ = c.Close()
		}
	}()
	return path
}

func peerUID(c *net.UnixConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return err.Error()
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil || err != nil {
		return "unknown"
	}
	return strconv.Itoa(int(cred.Uid)) + ":" + strconv.Itoa(int(cred.Gid))
}

// What the server at a unix socket sees is the user that was named, never root.
func TestDialAs(t *testing.T) {
	t.Parallel()
	socket := serveUnix(t, func(c *net.UnixConn) { _, _ = io.WriteString(c, peerUID(c)) })
	want := map[string]string{"daemon": "1:1", "nobody": "65534:65534"}
	if !isRoot() {
		self := strconv.Itoa(os.Geteuid()) + ":" + strconv.Itoa(os.Getegid())
		want = map[string]string{"": self, "daemon": self}
	}
	for name, id := range want {
		conn, err := DialAs(t.Context(), name, socket)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != id {
			t.Errorf("dialled as %q the server saw %q, %v", name, got, err)
		}
		_ = conn.Close()
	}
	if isRoot() {
		for _, name := range []string{"", "root", "no-such-user"} {
			if conn, err := DialAs(t.Context(), name, socket); err == nil {
				_ = conn.Close()
				t.Errorf("dialled as %q", name)
			}
		}
	}
	_, err := DialAs(t.Context(), "daemon", socket+".missing")
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing socket: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DialAs(ctx, "daemon", socket); err == nil {
		t.Error("dialled under a dead context")
	}
}

// The child refuses to dial as root, whatever its parent did.
func TestDialAsMainRefusesRoot(t *testing.T) {
	if !isRoot() {
		if _, err := dialForParent([]string{"/nowhere"}); err == nil {
			t.Error("dialled nowhere")
		}
		return
	}
	if _, err := dialForParent([]string{"/nowhere"}); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("as root: %v", err)
	}
}
