package peer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestRaftLayer(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	from, to := a.Raft(), b.Raft()
	if to.Addr().String() != b.Address() {
		t.Errorf("address %s, want %s", to.Addr(), b.Address())
	}
	address := raft.ServerAddress(b.Address())
	dial := func() (near, far net.Conn) {
		t.Helper()
		near, err := from.Dial(address, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		far, err = to.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return near, far
	}
	near, far := dial()
	if _, err := near.Write([]byte("vote")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(far, buf); err != nil || !bytes.Equal(buf, []byte("vote")) {
		t.Errorf("%q, %v", buf, err)
	}
	ended := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := c.Read(buf)
		return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	next := b.Raft() // takes over from the one before
	if !ended(near) || !ended(far) {
		t.Error("a replaced layer keeps its connections")
	}
	if _, err := to.Accept(); err == nil {
		t.Error("a replaced layer accepts")
	}
	if _, err := to.Dial(address, time.Second); !errors.Is(err, errPortClosed) {
		t.Errorf("a replaced layer dials: %v", err)
	}
	to = next
	near, _ = dial()
	for range 2 {
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}
	if !ended(near) {
		t.Error("a closed layer keeps its connections")
	}
}
