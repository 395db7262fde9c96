package peer

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// Both ends are told when a stream begins and, once each, when it ends.
func TestStreamingIsTold(t *testing.T) {
	c := newCluster(t, "orders")
	var begun, ended atomic.Int32
	ports := map[string]*Port{}
	for _, node := range []string{"db1", "db2"} {
		c.issue(node)
		o := c.options(node)
		o.Streaming = func() func() {
			begun.Add(1)
			return func() { ended.Add(1) }
		}
		p, err := Listen(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		c.call(node, p.Address())
		ports[node] = p
	}
	h := refuse()
	h.Tunnel = func(context.Context, TunnelRequest) (func(context.Context, net.Conn), error) {
		return func(_ context.Context, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, nil
	}
	handle(t, ports["db2"], h)
	conn, err := ports["db1"].Client().Tunnel(within(t), "db2", "c1", 42)
	if err != nil {
		t.Fatal(err)
	}
	wait := func(what string, n *atomic.Int32) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); n.Load() != 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d ends have %s", n.Load(), what)
			}
		}
	}
	wait("begun", &begun)
	if n := ended.Load(); n != 0 {
		t.Errorf("%d ends are told of an end while it flows", n)
	}
	_ = conn.Close()
	_ = conn.Close()
	wait("ended", &ended)
	if begun.Load() != 2 {
		t.Errorf("%d began, want 2", begun.Load())
	}
}
