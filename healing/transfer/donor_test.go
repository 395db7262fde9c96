package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// serveDonor serves a Donor: mysqld is its server's end, tunnel the
// recipient's end.
func serveDonor(t *testing.T, o DonorOptions) (mysqld, tunnel net.Conn, result chan error) {
	t.Helper()
	near, mysqld := tcpPair(t)
	o.Dial = func(context.Context) (net.Conn, error) { return near, nil }
	o.Ahead = errAhead
	d, err := Admit(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	conn, tunnel := tcpPair(t)
	result = make(chan error, 1)
	go func() { result <- d.Serve(t.Context(), conn) }()
	return mysqld, tunnel, result
}

func wait(t *testing.T, result chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the stream did not end")
		return nil
	}
}

// Both directions flow, and the end of one leaves the other open.
func TestDonorHalfClose(t *testing.T) {
	var counted atomic.Int64
	mysqld, tunnel, result := serveDonor(t, DonorOptions{Check: func() error { return nil },
		Count: func(n int64) { counted.Add(n) }})
	data := make([]byte, 3<<20+17)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(data)
	go func() {
		_, _ = mysqld.Write(data)
		_ = mysqld.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(tunnel)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
	}
	if _, err := io.WriteString(tunnel, "still here"); err != nil {
		t.Fatal(err)
	}
	if err := tunnel.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(mysqld); err != nil || string(got) != "still here" {
		t.Errorf("the other way: %q, %v", got, err)
	}
	if err := wait(t, result); err != nil {
		t.Errorf("ended with %v", err)
	}
	if counted.Load() != int64(len(data)) {
		t.Errorf("counted %d of %d bytes", counted.Load(), len(data))
	}
}

// Invariant 3: a stale holder is cut off in mid-stream, busy or idle.
func TestInvariant3StaleTokenCutsStream(t *testing.T) {
	for name, busy := range map[string]bool{"busy": true, "idle": false} {
		t.Run(name, func(t *testing.T) {
			var stale atomic.Bool
			mysqld, tunnel, result := serveDonor(t, DonorOptions{every: 30 * time.Millisecond,
				Check: func() error {
					if stale.Load() {
						return errStale
					}
					return nil
				}})
			if busy {
				go func() {
					for {
						if _, err := mysqld.Write(make([]byte, 64<<10)); err != nil {
							return
						}
					}
				}()
				if _, err := io.CopyN(io.Discard, tunnel, 4<<20); err != nil {
					t.Fatal(err)
				}
			}
			stale.Store(true)
			if _, err := io.Copy(io.Discard, tunnel); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the recipient's end: %v", err)
			}
			if err := wait(t, result); !errors.Is(err, errStale) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// A frozen donor sends nothing on an old answer: the token is checked before
// the write, not only by the ticker.
func TestDonorChecksBeforeWriteWhenOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		d := &Fence{o: FenceOptions{Check: func() error { calls++; return nil }, every: 5 * time.Second}}
		for range 3 {
			if err := d.Pace(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(6 * time.Second)
		if err := d.Pace(t.Context(), 1); err != nil || calls != 2 {
			t.Errorf("%d checks, %v", calls, err)
		}
	})
}

// A donor waits for its raft to apply the token, but not for ever.
func TestDonorWaitsForToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		dials := 0
		o := DonorOptions{Ahead: errAhead,
			Dial: func(context.Context) (net.Conn, error) { dials++; return &net.TCPConn{}, nil },
			Check: func() error {
				if time.Since(began) < 3*time.Second {
					return errAhead
				}
				return nil
			}}
		if _, err := Admit(t.Context(), o); err != nil || dials != 1 {
			t.Errorf("after 3 s: %v, %d dials", err, dials)
		}
		began = time.Now()
		o.Check = func() error { return errAhead }
		if _, err := Admit(t.Context(), o); !errors.Is(err, errAhead) || dials != 1 {
			t.Errorf("never applied: %v, %d dials", err, dials)
		}
		if d := time.Since(began); d < aheadWait || d > aheadWait+time.Second {
			t.Errorf("waited %s", d)
		}
		o.Check = func() error { return errStale }
		began = time.Now()
		if _, err := Admit(t.Context(), o); !errors.Is(err, errStale) || time.Since(began) > 0 {
			t.Errorf("stale: %v after %s", err, time.Since(began))
		}
	})
}

// Throttled by slow flow, never by silence.
func TestDonorThrottle(t *testing.T) {
	limit := rate.NewLimiter(4<<20, 64<<10)
	mysqld, tunnel, result := serveDonor(t, DonorOptions{Check: func() error { return nil }, Limit: limit})
	data := bytes.Repeat([]byte("x"), 2<<20)
	began := time.Now()
	go func() {
		_, _ = mysqld.Write(data)
		_ = mysqld.Close()
	}()
	n, err := io.Copy(io.Discard, tunnel)
	took := time.Since(began)
	if err != nil || n != int64(len(data)) || took < 400*time.Millisecond {
		t.Errorf("%d bytes in %s, %v", n, took, err)
	}
	_ = tunnel.Close()
	if err := wait(t, result); err != nil {
		t.Errorf("ended with %v", err)
	}
	for bytesPerSecond, want := range map[rate.Limit]int{10: 4 << 10, 1 << 20: 104857, 1 << 30: bufferSize, rate.Inf: 0} {
		if got := chunkOf(rate.NewLimiter(bytesPerSecond, 1)); got != want {
			t.Errorf("%v bytes a second: chunks of %d, want %d", bytesPerSecond, got, want)
		}
	}
}
