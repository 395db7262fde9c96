package lease

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

const (
	// writeDeadline is how long a write of raft's may take before the node
	// gives up its place in the group: a leader whose disk hangs is otherwise
	// never replaced.
	writeDeadline = 5 * time.Second
	lockTimeout   = time.Second
	// diskRetry is how often a disk that failed is tried again.
	diskRetry    = 5 * time.Second
	ballastBytes = 1 << 20
)

// backend is raft's log and stable store.
type backend interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// openBackend opens the store, and refuses one that another process has open.
func openBackend(dir string) (backend, error) {
	s, err := raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(dir, storeFile),
		BoltOptions: &bbolt.Options{Timeout: lockTimeout},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open raft store: another process has %s open", dir)
	}
	if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) || errors.Is(err, bolterrors.ErrVersionMismatch) {
		return nil, damaged(dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft store: %w", err)
	}
	return s, nil
}

// claim ties a store to an incarnation at its first use.
func claim(s raft.StableStore, dir, inc string) error {
	old, err := s.Get(incarnationKey)
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) && err.Error() != "not found" {
		return damaged(dir, err)
	}
	if len(old) == 0 {
		if err := s.Set(incarnationKey, []byte(inc)); err != nil {
			return fmt.Errorf("write raft store: %w", err)
		}
		return nil
	}
	if string(old) != inc {
		return damaged(dir, fmt.Errorf("the log belongs to incarnation %s, node-id says %s", old, inc))
	}
	return nil
}

// guardedStore puts a deadline on each write of raft's, and never lets raft
// see one fail: raft panics where it cannot save its term, and a leader goes
// on leading while its disk hangs. At the first write that fails or is late
// the fence falls, and the writing goroutine of raft ends there, as it would
// if the process died; raft is then taken down and started again from what the
// disk holds.
type guardedStore struct {
	backend
	dir   string
	fence func(error)

	mu     sync.Mutex
	broken bool
	ops    sync.WaitGroup // writes under way, also the late ones
}

func (s *guardedStore) StoreLog(l *raft.Log) error {
	return s.write(func() error { return s.backend.StoreLog(l) })
}

func (s *guardedStore) StoreLogs(l []*raft.Log) error {
	return s.write(func() error { return s.backend.StoreLogs(l) })
}

func (s *guardedStore) DeleteRange(first, last uint64) error {
	return s.write(func() error { return s.backend.DeleteRange(first, last) })
}

func (s *guardedStore) Set(key, value []byte) error {
	return s.write(func() error { return s.backend.Set(key, value) })
}

func (s *guardedStore) SetUint64(key []byte, value uint64) error {
	return s.write(func() error { return s.backend.SetUint64(key, value) })
}

// write runs one write, and returns only its success.
func (s *guardedStore) write(do func() error) error {
	s.mu.Lock()
	if s.broken {
		s.mu.Unlock()
		runtime.Goexit()
	}
	s.ops.Add(1)
	s.mu.Unlock()

	result := make(chan error, 1)
	go func() {
		defer s.ops.Done()
		err := do()
		if errors.Is(err, syscall.ENOSPC) && s.dropBallast() {
			err = do()
		}
		result <- err
	}()
	timer := time.NewTimer(writeDeadline)
	defer timer.Stop()
	var err error
	select {
	case err = <-result:
	case <-timer.C:
		err = fmt.Errorf("no answer from the disk for %s", writeDeadline)
	}
	if err == nil {
		return nil
	}
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
	s.fence(fmt.Errorf("write raft store: %w", err))
	runtime.Goexit()
	return nil
}

// dropBallast frees a little space on a full disk; true if there was some.
func (s *guardedStore) dropBallast() bool {
	return os.Remove(filepath.Join(s.dir, ballastFile)) == nil
}

// Close waits for late writes, then closes the store. What of raft still
// writes after it ends as after a failure.
func (s *guardedStore) Close() error {
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
	s.ops.Wait()
	return s.backend.Close()
}

// layBallast keeps a little space for the moment the disk is full, and proves
// that the disk can be written.
func layBallast(dir string) error {
	path := filepath.Join(dir, ballastFile)
	if st, err := os.Stat(path); err == nil && st.Size() == ballastBytes {
		return nil
	}
	return writeSynced(path, make([]byte, ballastBytes))
}

// relayBallast lays the ballast again once there is plenty of space.
func relayBallast(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, ballastFile)); err == nil {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if fs.Bavail*uint64(fs.Bsize) < 64*ballastBytes {
		return nil
	}
	return layBallast(dir)
}

// tryDisk proves that the disk takes a write again.
func tryDisk(dir string) error {
	if err := layBallast(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, "probe")
	defer os.Remove(path)
	return writeSynced(path, make([]byte, 4096))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write raft directory: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("write raft directory: %w", err)
	}
	return nil
}
