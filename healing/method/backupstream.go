package method

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"resilver/healing/transfer"
)

const (
	// endTimeout is how long a tool may take to end after its last byte.
	endTimeout = 2 * time.Minute
	// leaveTimeout is how long a recipient gets to close a stream that ended.
	leaveTimeout = 30 * time.Second
	// restoreTimeout bounds one try to give the server back what was changed.
	restoreTimeout = time.Minute
)

var errRecipientGone = errors.New("the recipient closed the stream")

// BackupStream is an admitted backup.
type BackupStream struct {
	b     *Backups
	kind  *kind
	fence *transfer.Fence
	live  LiveServer
	argv  []string
}

// Serve runs the tool and streams what it writes, with a proof of the end that
// is sent only where it ended with status 0 and its word of success. It ends
// at once when the token is no longer in force, when the recipient is gone or
// takes nothing, or when ctx ends. When it returns, conn is closed, the tool is
// gone, and what it had changed at the server is restored; where that failed,
// the record stays for RestoreAfterCrash.
func (s *BackupStream) Serve(ctx context.Context, conn net.Conn) error {
	defer func() { <-s.b.slot }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	left := make(chan struct{})
	wg.Go(func() {
		// Nothing ever comes from a recipient but its end.
		_, _ = conn.Read(make([]byte, 1))
		close(left)
		cancel(errRecipientGone)
	})
	wg.Go(func() {
		if err := s.fence.Watch(ctx); err != nil {
			cancel(err)
		}
	})
	err := s.stream(ctx, conn)
	if err == nil {
		err = endStream(conn, left)
	}
	cancel(nil)
	_ = conn.Close()
	wg.Wait()
	return err
}

// endStream lets the recipient read to the end and leave.
func endStream(conn net.Conn, left <-chan struct{}) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return fmt.Errorf("end the stream: %w", err)
		}
	}
	select {
	case <-left:
	case <-time.After(leaveTimeout):
	}
	return nil
}

// stream runs the tool between its record and the restoring. Whatever goes
// wrong is said to the recipient too.
func (s *BackupStream) stream(ctx context.Context, conn net.Conn) error {
	rec := record{Tool: s.kind.tool, Restore: stopsApplier(s.argv) && s.live.Applying}
	if err := s.b.begin(ctx, rec); err != nil {
		return s.refuse(ctx, conn, err)
	}
	target, err := s.targetDir()
	if err != nil {
		return errors.Join(s.refuse(ctx, conn, err), s.b.settle(context.WithoutCancel(ctx), rec))
	}
	defer func() { _ = os.RemoveAll(target) }()
	r, c, err := s.start()
	if err != nil {
		return errors.Join(s.refuse(ctx, conn, err), s.b.settle(context.WithoutCancel(ctx), rec))
	}
	defer func() { _ = r.Close() }()
	stop := context.AfterFunc(ctx, c.kill)
	rec.Process = c.born
	if err = s.b.note(rec); err == nil {
		s.b.o.Logger.Info("backup tool started", "tool", s.kind.tool, "pid", c.pid)
		err = s.send(ctx, conn, r, c)
	} else {
		err = s.refuse(ctx, conn, err)
	}
	stop()
	if gone := c.end(); gone != nil {
		return errors.Join(err, gone) // the record stays
	}
	return errors.Join(err, s.b.settle(context.WithoutCancel(ctx), rec))
}

// targetDir makes the directory for the tool's temporary files, where it wants
// one; empty: none.
func (s *BackupStream) targetDir() (string, error) {
	if !s.kind.target {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "resilver-backup-")
	if err == nil && os.Geteuid() == 0 {
		err = os.Lchown(dir, int(s.live.UID), int(s.live.GID))
	}
	if err != nil {
		return dir, fmt.Errorf("make a directory for temporary files: %w", err)
	}
	s.argv = append(s.argv, "--target-dir="+dir)
	return dir, nil
}

// start runs the tool with its output in a pipe.
func (s *BackupStream) start() (*os.File, *child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = w.Close() }()
	widen(r)
	c, err := startChild(childOptions{argv: s.argv, uid: s.live.UID, gid: s.live.GID, stdout: w})
	if err != nil {
		_ = r.Close()
		return nil, nil, err
	}
	return r, c, nil
}

func (s *BackupStream) send(ctx context.Context, conn net.Conn, from *os.File, c *child) error {
	return transfer.Send(ctx, conn, transfer.SendOptions{
		From: from, Pace: s.fence.Pace, Count: s.b.o.Count, Total: s.live.Bytes, Stall: s.b.o.Stall,
		Finish: func() error {
			ctx, cancel := context.WithTimeoutCause(ctx, endTimeout, fmt.Errorf("%s did not end within %s of its last byte", s.kind.tool, endTimeout))
			defer cancel()
			return c.succeeded(ctx)
		},
	})
}

// refuse says why there is no backup, to the recipient too.
func (s *BackupStream) refuse(ctx context.Context, conn net.Conn, why error) error {
	return transfer.Send(ctx, conn, transfer.SendOptions{From: strings.NewReader(""), Finish: func() error { return why }, Stall: s.b.o.Stall})
}
