package transfer_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"resilver/gossip/peer"
	"resilver/healing/transfer"
	"resilver/watchdog"
)

// donorNode is one donor's port, its mysqld played by a unix socket that sends
// what each connection asks for.
type donorNode struct {
	port  *peer.Port
	check func(req peer.TunnelRequest) error
	count atomic.Int64
}

// sidecars are the ports of a recipient and a donor, whose tunnels lead to
// socket.
func sidecars(t *testing.T, socket string) (*peer.Client, *donorNode) {
	t.Helper()
	return sidecarsDialling(t, func(ctx context.Context) (net.Conn, error) {
		return transfer.DialAs(ctx, "daemon", socket)
	})
}

func sidecarsDialling(t *testing.T, dial func(context.Context) (net.Conn, error)) (*peer.Client, *donorNode) {
	t.Helper()
	ca, dir := t.TempDir(), t.TempDir()
	if err := peer.InitCA(ca, "orders"); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]string{}
	open := func(node string) *peer.Port {
		if err := peer.Issue(ca, dir, "orders", node, []string{"127.0.0.1"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		p, err := peer.Listen(peer.Options{Address: "127.0.0.1:0", Cluster: "orders", Node: node,
			CAFile: filepath.Join(dir, peer.CACertFile), CertFile: filepath.Join(dir, node+".crt"),
			KeyFile: filepath.Join(dir, node+".key"), Nodes: func() map[string]string { return nodes },
			Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	recipient, d := open("db1"), &donorNode{port: open("db2")}
	nodes["db1"], nodes["db2"] = recipient.Address(), d.port.Address()
	no := errors.New("not here")
	err := d.port.Handle(peer.Handlers{
		State:        func(context.Context, string) (watchdog.PeerState, error) { return watchdog.PeerState{}, no },
		Objects:      func(context.Context, string) ([]string, error) { return nil, no },
		GTIDSubtract: func(context.Context, string, string, string) (string, error) { return "", no },
		GTIDBeyond:   func(context.Context, string, string, uint32, watchdog.Observation) (string, error) { return "", no },
		Lease:        func(context.Context, string, []byte) ([]byte, error) { return nil, no },
		Tunnel: func(ctx context.Context, req peer.TunnelRequest) (func(context.Context, net.Conn), error) {
			admitted, err := transfer.Admit(ctx, transfer.DonorOptions{
				Check: func() error { return d.check(req) }, Ahead: watchdog.ErrTokenAhead,
				Dial: dial, Count: func(n int64) { d.count.Add(n) }})
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context, conn net.Conn) { _ = admitted.Serve(ctx, conn) }, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return recipient.Client(), d
}

// sendOnConnect is a unix socket, open to all, that writes data to whoever
// connects and reads to the end.
func sendOnConnect(t *testing.T, data []byte) string {
	t.Helper()
	return transfer.ServeUnix(t, func(c *net.UnixConn) {
		_, _ = c.Write(data)
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
}

func openRelay(t *testing.T, client *peer.Client, token uint64) *transfer.Relay {
	t.Helper()
	r, err := transfer.OpenRelay(t.Context(), transfer.RelayOptions{UID: uint32(os.Geteuid()),
		Dial:   func(ctx context.Context) (net.Conn, error) { return client.Tunnel(ctx, "db2", "c1", token) },
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func dialRelay(t *testing.T, r *transfer.Relay) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(r.Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	return conn.(*net.TCPConn)
}

// A hundred megabytes from socket to relay arrive as they were.
func TestTunnelEndToEnd(t *testing.T) {
	data := make([]byte, 100<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	client, donor := sidecars(t, sendOnConnect(t, data))
	donor.check = func(req peer.TunnelRequest) error {
		if req != (peer.TunnelRequest{Caller: "db1", ClusterID: "c1", Token: 7}) {
			return watchdog.ErrTokenStale
		}
		return nil
	}
	r := openRelay(t, client, 7)
	conn := dialRelay(t, r)
	if _, err := io.WriteString(conn, "thanks"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	began := time.Now()
	n, err := io.Copy(sum, conn)
	if err != nil || n != int64(len(data)) || [32]byte(sum.Sum(nil)) != sha256.Sum256(data) {
		t.Fatalf("%d of %d bytes, %v, relay: %v", n, len(data), err, r.Err())
	}
	t.Logf("%d MiB in %s", n>>20, time.Since(began))
	if r.Bytes() != n || donor.count.Load() != n {
		t.Errorf("counted %d and %d bytes of %d", r.Bytes(), donor.count.Load(), n)
	}
}

// Trap R19: a stream is cut in its middle when the token goes stale, and every
// dial after that is refused, for as long as it is tried.
func TestTrapR19StaleTokenIsRefusedForGood(t *testing.T) {
	t.Parallel()
	client, donor := sidecars(t, sendOnConnect(t, make([]byte, 64<<20)))
	var stale atomic.Bool
	donor.check = func(peer.TunnelRequest) error {
		if stale.Load() {
			return watchdog.ErrTokenStale
		}
		return nil
	}
	r := openRelay(t, client, 7)
	conn := dialRelay(t, r)
	if _, err := io.CopyN(io.Discard, conn, 1<<20); err != nil {
		t.Fatal(err)
	}
	stale.Store(true)
	began := time.Now()
	for { // slower than the donor would send, so that the stream still runs at the cut
		if _, err := io.CopyN(io.Discard, conn, 64<<10); err != nil {
			break
		}
		if time.Since(began) < 12*time.Second { // the donor looks every 5 s; then what is on the way is drained
			time.Sleep(20 * time.Millisecond)
		}
	}
	if got := r.Bytes(); got >= 64<<20 {
		t.Errorf("the whole stream of %d bytes came through", got)
	}
	for range 3 {
		again := dialRelay(t, r)
		if _, err := again.Read(make([]byte, 1)); err == nil {
			t.Error("a stale holder reads")
		}
		if !errors.Is(r.Err(), watchdog.ErrTokenStale) {
			t.Errorf("relay: %v", r.Err())
		}
	}
}
