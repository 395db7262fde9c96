package peer

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"testing"
)

// counted counts the calls that reach the connection.
type counted struct {
	net.Conn
	reads, writes int
}

func (c *counted) Read(b []byte) (int, error)  { c.reads++; return c.Conn.Read(b) }
func (c *counted) Write(b []byte) (int, error) { c.writes++; return c.Conn.Write(b) }

// A widened wire writes the records of one write in one call, and reads many
// in one; what comes out is what went in.
func TestWireGathers(t *testing.T) {
	a, b := net.Pipe()
	from, to := &counted{Conn: a}, &counted{Conn: b}
	sender, receiver := &wire{Conn: from}, &wire{Conn: to}
	receiver.widen()
	sent := make([]byte, 5*maxRecord)
	_, _ = rand.Read(sent)
	failed := make(chan error, 1)
	go func() {
		_, err := sender.gather(func() (int, error) {
			for i := 0; i < len(sent); i += maxRecord {
				if n, err := sender.Write(sent[i : i+maxRecord]); n != maxRecord || err != nil {
					return n, err
				}
			}
			return len(sent), nil
		})
		failed <- err
	}()
	got := make([]byte, len(sent))
	for n, left := 0, 5; n < len(got); n += maxRecord {
		if _, err := io.ReadFull(receiver, got[n:n+maxRecord]); err != nil {
			t.Fatal(err)
		}
		if left--; receiver.ready() != (left > 0) {
			t.Errorf("ready is %v with %d records left", receiver.ready(), left)
		}
	}
	if err := <-failed; err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("it came changed, %v", err)
	}
	if from.writes != 1 || to.reads != 1 {
		t.Errorf("%d writes and %d reads, want one of each", from.writes, to.reads)
	}
	_ = b.Close()
	if _, err := sender.gather(func() (int, error) { return sender.Write([]byte("x")) }); err == nil {
		t.Error("a gather into a closed connection says nothing")
	}
}
