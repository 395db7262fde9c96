package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// A tunnel carries both directions, the server speaking first, and each end
// can end its own direction.
func TestTunnel(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	h := refuse()
	h.Tunnel = func(_ context.Context, req TunnelRequest) (func(context.Context, net.Conn), error) {
		return func(_ context.Context, conn net.Conn) {
			fmt.Fprintf(conn, "hello %s %s %d\n", req.Caller, req.ClusterID, req.Token)
			got, err := io.ReadAll(conn)
			fmt.Fprintf(conn, "%d bytes, %v\n", len(got), err)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}, nil
	}
	handle(t, b, h)
	conn, err := a.Client().Tunnel(within(t), "db2", "c1", 42)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	lines := bufio.NewReader(conn)
	if line, err := lines.ReadString('\n'); line != "hello db1 c1 42\n" {
		t.Errorf("greeting %q, %v", line, err)
	}
	if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "1048576 bytes, <nil>\n" {
		t.Errorf("rest %q, %v", rest, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err == nil {
		t.Error("a second close says nothing")
	}
}

// Closing a port ends its tunnels at both ends, whatever they are doing.
func TestCloseEndsTunnels(t *testing.T) {
	for _, end := range []string{"donor", "recipient"} {
		t.Run(end, func(t *testing.T) {
			c := newCluster(t, "orders")
			a, b := c.port("db1"), c.port("db2")
			over := make(chan error, 1)
			h := refuse()
			h.Tunnel = func(context.Context, TunnelRequest) (func(context.Context, net.Conn), error) {
				return func(_ context.Context, conn net.Conn) {
					_, err := io.Copy(io.Discard, conn)
					over <- err
				}, nil
			}
			handle(t, b, h)
			conn, err := a.Client().Tunnel(within(t), "db2", "c1", 1)
			if err != nil {
				t.Fatal(err)
			}
			closing := map[string]*Port{"donor": b, "recipient": a}[end]
			if err := closing.Close(); err != nil {
				t.Error(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the recipient's end: %v", err)
			}
			select {
			case <-over: //nolint:errcheck // only that it is over counts
			case <-time.After(5 * time.Second):
				t.Error("the donor's end goes on")
			}
			if _, err := closing.Client().Tunnel(within(t), "db1", "c1", 1); err == nil {
				t.Error("a closed port opens tunnels")
			}
		})
	}
}
