package transfer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestSocketOwner(t *testing.T) {
	near, far := tcpPair(t)
	client, server := addrPort(far.RemoteAddr()), addrPort(far.LocalAddr())
	me := uint32(os.Geteuid())
	for name, f := range map[string]func(a, b netip.AddrPort) (uint32, error){
		"sock_diag": ownerByDiag, "proc": ownerByProc, "both": socketOwner} {
		if uid, err := f(client, server); err != nil || uid != me {
			t.Errorf("%s: uid %d, %v", name, uid, err)
		}
		if _, err := f(netip.AddrPortFrom(client.Addr(), 1), server); !errors.Is(err, errNoSocket) {
			t.Errorf("%s: a socket that is not there: %v", name, err)
		}
	}
	// One that was half-closed is still its owner's.
	if err := near.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if uid, err := socketOwner(client, server); err != nil || uid != me {
		t.Errorf("half-closed: uid %d, %v", uid, err)
	}
	// A socket that its process let go of belongs to nobody, not to root.
	_ = near.Close()
	for name, f := range map[string]func(a, b netip.AddrPort) (uint32, error){
		"sock_diag": ownerByDiag, "proc": ownerByProc} {
		if uid, err := f(client, server); !errors.Is(err, errNoSocket) {
			t.Errorf("%s: a closed socket: uid %d, %v", name, uid, err)
		}
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// connectAs runs a client as another user and returns what it read.
func connectAs(t *testing.T, uid uint32, port int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, selfExe, connectCommand, "127.0.0.1:"+strconv.Itoa(port))
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if isRoot() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

// pongDial dials a connection whose other end answers the first four bytes.
func pongDial(context.Context) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, err
	}
	go func() {
		defer func() { _ = far.Close() }()
		b := make([]byte, 4)
		if _, err := io.ReadFull(far, b); err == nil {
			_, _ = io.WriteString(far, "pong to "+string(b))
		}
	}()
	return conn, nil
}

// Only the user of the cloning mysqld gets through the relay; root neither.
func TestRelayTakesOneUserOnly(t *testing.T) {
	t.Parallel()
	var dialled atomic.Int32
	allowed := uint32(1)
	if !isRoot() {
		allowed = uint32(os.Geteuid())
	}
	open := func(uid uint32) *Relay {
		r, err := OpenRelay(t.Context(), RelayOptions{UID: uid, Logger: quietLog,
			Dial: func(ctx context.Context) (net.Conn, error) { dialled.Add(1); return pongDial(ctx) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	r := open(allowed)
	if got := connectAs(t, allowed, r.Port()); got != "pong to ping" {
		t.Errorf("the right user read %q", got)
	}
	if r.Bytes() != int64(len("pong to ping")) || r.Err() != nil {
		t.Errorf("bytes %d, err %v", r.Bytes(), r.Err())
	}
	before := dialled.Load()
	if isRoot() {
		for _, uid := range []uint32{65534, 0} {
			if got := connectAs(t, uid, r.Port()); got != "" {
				t.Errorf("uid %d read %q", uid, got)
			}
		}
	} else if got := connectAs(t, allowed, open(allowed+1).Port()); got != "" {
		t.Errorf("the wrong user read %q", got)
	}
	if dialled.Load() != before {
		t.Error("a refused connection reached the donor")
	}
}

// CLONE dials again and again: one after the other, and several at once.
func TestRelayTakesManyAndEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fars := make(chan net.Conn, 64)
	r, err := OpenRelay(ctx, RelayOptions{UID: uint32(os.Geteuid()), Logger: quietLog,
		Dial: func(context.Context) (net.Conn, error) {
			near, far := tcpPair(t)
			fars <- far
			return near, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	address := "127.0.0.1:" + strconv.Itoa(r.Port())
	var open []net.Conn
	for i := range maxConns + 1 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if i < maxConns {
			<-fars
			open = append(open, c)
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("one more than the limit: %v", err)
		}
	}
	cancel()
	r.Close()
	r.Close()
	for _, c := range open {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection outlived the relay: %v", err)
		}
	}
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		t.Error("the port outlived the relay")
	}
	if r.Err() != nil {
		t.Errorf("the end of the relay is no error: %v", r.Err())
	}
}

// Trap R19: the recipient learns why its line was cut, as CLONE only redials.
func TestRelayTellsWhyTheDonorRefused(t *testing.T) {
	r, err := OpenRelay(t.Context(), RelayOptions{UID: uint32(os.Geteuid()), Logger: quietLog,
		Dial: func(context.Context) (net.Conn, error) { return nil, errStale }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(r.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read something")
	}
	if !errors.Is(r.Err(), errStale) {
		t.Errorf("err %v", r.Err())
	}
}
