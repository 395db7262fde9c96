package method_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"resilver/healing/method"
)

func ignore(int64, int64) {}

func mustStage(t *testing.T, job method.Job) {
	t.Helper()
	copied, err := newClone(t, time.Minute).Stage(t.Context(), job, ignore)
	if err != nil {
		t.Fatal(err)
	}
	if copied.Bytes < 30<<20 || !exists(filepath.Join(job.Staging, "ibdata1")) {
		t.Errorf("copy: %+v", copied)
	}
}

// refused wants Stage to fail soon, with an error of one line that says why.
func refused(t *testing.T, job method.Job, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	_, err := newClone(t, time.Minute).Stage(ctx, job, ignore)
	if err == nil {
		t.Fatal("want an error")
	}
	t.Logf("after %s: %v", time.Since(began).Round(time.Millisecond), err)
	if ctx.Err() != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("want a line with %q, got %q", want, err)
	}
}

// slow is a connection that lets few bytes through, or none once it is shut.
type slow struct {
	net.Conn
	perRead int
	wait    time.Duration
	shut    *atomic.Bool
	closed  chan struct{}
}

func (s *slow) Read(p []byte) (int, error) {
	if s.shut.Load() {
		<-s.closed
		return 0, net.ErrClosed
	}
	n, err := s.Conn.Read(p[:min(len(p), s.perRead)])
	time.Sleep(s.wait)
	return n, err
}

func (s *slow) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return s.Conn.Close()
}

// CloseWrite is what a tunnel must be able to do.
func (s *slow) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return s.Close()
}

func slowed(dial func(context.Context) (net.Conn, error), perRead int, wait time.Duration, shut *atomic.Bool) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &slow{Conn: conn, perRead: perRead, wait: wait, shut: shut, closed: make(chan struct{})}, nil
	}
}

// testStall lets a copy begin and then lets nothing through any more.
func testStall(t *testing.T, job func(func(context.Context) (net.Conn, error)) method.Job, plain func(context.Context) (net.Conn, error)) {
	var shut atomic.Bool
	_, err := newClone(t, 3*time.Second).Stage(t.Context(), job(slowed(plain, 64<<10, time.Millisecond, &shut)),
		func(done, _ int64) {
			if done > 1<<20 {
				shut.Store(true)
			}
		})
	var stall *method.StallError
	if !errors.As(err, &stall) {
		t.Errorf("want a stall, got %v", err)
	}
	t.Log(err)
}

// testGivenUp ends the lease in mid-copy.
func testGivenUp(t *testing.T, job func(func(context.Context) (net.Conn, error)) method.Job, plain func(context.Context) (net.Conn, error)) {
	lost := errors.New("lease lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var at time.Time
	_, err := newClone(t, time.Minute).Stage(ctx, job(slowed(plain, 64<<10, 4*time.Millisecond, &atomic.Bool{})),
		func(done, _ int64) {
			if done > 1<<20 && at.IsZero() {
				at = time.Now()
				cancel(lost)
			}
		})
	if !errors.Is(err, lost) {
		t.Errorf("want %v, got %v", lost, err)
	}
	took := time.Since(at)
	t.Logf("gone after %s: %v", took.Round(time.Millisecond), err)
	if took > 15*time.Second {
		t.Errorf("giving up took %s", took)
	}
	// The donor still waits for that one to come back: a new one goes ahead.
	if err := os.RemoveAll(job(plain).Staging); err != nil {
		t.Fatal(err)
	}
	mustStage(t, job(plain))
}

// testBusy has two nodes copy from one donor at once: it allows one, so the
// second waits and then succeeds.
func testBusy(t *testing.T, job func(func(context.Context) (net.Conn, error)) method.Job, plain func(context.Context) (net.Conn, error)) {
	first := job(slowed(plain, 64<<10, 2*time.Millisecond, &atomic.Bool{}))
	second := job(plain)
	second.Area = place(t)
	second.Staging = filepath.Join(second.Area, "new")
	templates, err := filepath.Glob(filepath.Join(first.Area, "template-*"))
	if err != nil || len(templates) != 1 {
		t.Fatalf("templates: %v, %v", templates, err)
	}
	if out, err := exec.Command("cp", "-a", templates[0], second.Area).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	begun, ended := make(chan struct{}), make(chan error, 1)
	var once atomic.Bool
	go func() {
		_, err := newClone(t, time.Minute).Stage(t.Context(), first, func(done, _ int64) {
			if done > 0 && once.CompareAndSwap(false, true) {
				close(begun)
			}
		})
		ended <- err
	}()
	select {
	case <-begun:
	case err := <-ended:
		t.Fatalf("first clone: %v", err)
	}
	mustStage(t, second)
	if err := <-ended; err != nil {
		t.Errorf("first clone: %v", err)
	}
	if _, err := os.Stat(filepath.Join(first.Staging, "ibdata1")); err != nil {
		t.Error(err)
	}
}
