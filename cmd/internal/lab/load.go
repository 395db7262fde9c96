package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

const acknowledgedFile = "acknowledged"

// writeDeadline bounds one transaction of the load.
const writeDeadline = 10 * time.Second

// LoadResult is what a load did.
type LoadResult struct {
	Acknowledged int64 // rows whose commit the primary confirmed
	Refused      int64 // tries that ended in an error, or without an answer
	LastError    string
}

// Load writes steadily to whichever node is the primary until it is stopped
// or its context ends. Each row whose commit was confirmed is remembered in
// the lab's directory, for Check.
type Load struct {
	cluster *Cluster
	file    *os.File
	cancel  context.CancelFunc
	done    chan struct{}
	next    uint64
	conn    *sql.Conn // nil: to be opened

	acknowledged, refused atomic.Int64
	lastError             atomic.Pointer[string]
	failed                error // set before done is closed
}

// StartLoad begins to write rate rows a second. Only one load runs in a lab.
func (c *Cluster) StartLoad(ctx context.Context, rate int) (*Load, error) {
	if rate < 1 || rate > 5000 {
		return nil, fmt.Errorf("%d writes a second: want 1 to 5000", rate)
	}
	file, err := os.OpenFile(filepath.Join(c.Dir, acknowledgedFile), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the record of acknowledged rows: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("a load of this lab runs already: %w", err), file.Close())
	}
	next, err := c.nextWrite(ctx)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{cluster: c, file: file, cancel: cancel, done: make(chan struct{}), next: next}
	go func() {
		defer close(l.done)
		l.failed = l.run(ctx, time.Second/time.Duration(rate))
	}()
	return l, nil
}

func (c *Cluster) nextWrite(ctx context.Context) (next uint64, err error) {
	primary, err := c.Primary(ctx)
	if err != nil {
		return 0, err
	}
	text, err := primary.Value(ctx, "SELECT COALESCE(MAX(id), 0) + 1 FROM lab.writes")
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(text, &next); err != nil {
		return 0, fmt.Errorf("read the last row of the load: %w", err)
	}
	return next, nil
}

// Progress is what the load has done so far.
func (l *Load) Progress() LoadResult {
	r := LoadResult{Acknowledged: l.acknowledged.Load(), Refused: l.refused.Load()}
	if last := l.lastError.Load(); last != nil {
		r.LastError = *last
	}
	return r
}

// Done is closed when the load has ended.
func (l *Load) Done() <-chan struct{} { return l.done }

// Stop ends the load and waits for its last write. The error is one of the
// load itself: a refused write is none.
func (l *Load) Stop() (LoadResult, error) {
	l.cancel()
	<-l.done
	return l.Progress(), l.failed
}

func (l *Load) run(ctx context.Context, every time.Duration) (err error) {
	defer func() { err = errors.Join(err, l.disconnect(), l.file.Close()) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sum, err := l.write(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			text := err.Error()
			l.lastError.Store(&text)
			l.refused.Add(1)
			_ = l.disconnect() // it is broken already
			continue
		}
		if _, err := fmt.Fprintf(l.file, "%d %d\n", l.next-1, sum); err != nil {
			return fmt.Errorf("record an acknowledged row: %w", err)
		}
		l.acknowledged.Add(1)
	}
}

// write commits one row, and touches one of the mass of old ones. Its id is
// used up whether or not the answer came.
func (l *Load) write(ctx context.Context) (sum uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeDeadline)
	defer cancel()
	if l.conn == nil {
		primary, err := l.cluster.Primary(ctx)
		if err != nil {
			return 0, err
		}
		if l.conn, err = primary.db.Conn(ctx); err != nil {
			return 0, fmt.Errorf("connect: %w", err)
		}
	}
	id := l.next
	l.next++
	body := fmt.Sprintf("row %d of the load, written at %s", id, time.Now().UTC().Format(time.RFC3339Nano))
	sum = crc32.ChecksumIEEE([]byte(body))
	tx, err := l.conn.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, "INSERT INTO lab.writes (id, sum, body) VALUES (?, ?, ?)", id, sum, body); err != nil {
		return 0, fmt.Errorf("insert: %w", err)
	}
	// A large prime's multiples visit the rows far apart from each other.
	if _, err := tx.ExecContext(ctx, "UPDATE lab.bulk SET touched = touched + 1 WHERE id = ?", id*7919%100_000); err != nil {
		return 0, fmt.Errorf("update: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	return sum, nil
}

func (l *Load) disconnect() error {
	if l.conn == nil {
		return nil
	}
	err := l.conn.Close()
	l.conn = nil
	if err != nil && !errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("close the load's connection: %w", err)
	}
	return nil
}
