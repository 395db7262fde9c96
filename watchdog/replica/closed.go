package replica

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Openness is how open a server is to writers, clients and its source: what
// CloseToClients changes, and Reopen restores.
type Openness struct {
	ReadOnly        bool `json:"read_only"`
	SuperReadOnly   bool `json:"super_read_only"`
	OfflineMode     bool `json:"offline_mode"`
	ReceiverRunning bool `json:"receiver_running"`
}

// Openness reads how open the server is. Read it, and write it down, before
// CloseToClients: a process that dies in between leaves a closed server.
func (s *Server) Openness(ctx context.Context) (Openness, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return Openness{}, err
	}
	defer ss.close()
	return ss.openness(ctx)
}

func (ss *session) openness(ctx context.Context) (Openness, error) {
	r, err := ss.one(ctx, "read read_only and offline_mode", `SELECT @@GLOBAL.read_only AS read_only,
		@@GLOBAL.super_read_only AS super_read_only, @@GLOBAL.offline_mode AS offline_mode`)
	if err != nil {
		return Openness{}, err
	}
	o := Openness{ReadOnly: r.yes("read_only"), SuperReadOnly: r.yes("super_read_only"), OfflineMode: r.yes("offline_mode")}
	rows, err := ss.query(ctx, "read replica status", "SHOW REPLICA STATUS")
	if err != nil {
		return Openness{}, err
	}
	for _, st := range rows {
		// Connecting is running: it was started and will be again.
		o.ReceiverRunning = o.ReceiverRunning || st.text("Replica_IO_Running") != "No"
		r.fail(st.err())
	}
	return o, named("read read_only and offline_mode", r.err())
}

// Closed is a server that nobody can write to: its receiver is stopped,
// super_read_only and offline_mode are on, and a session of its own holds the
// global read lock, behind which the write even of a promoter with every
// privilege waits. It ends with Undo, with Release, or with the server.
type Closed struct {
	server *Server
	lock   *session
	before Openness
}

// CloseToClients closes the server. Every statement has its deadline; if one
// fails or hangs, everything is undone again and the error says which.
func (s *Server) CloseToClients(ctx context.Context, before Openness) (*Closed, error) {
	// The session that stays must have the rights of now: offline_mode ends
	// those that began before CONNECTION_ADMIN was granted.
	s.renew()
	lock, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	c := &Closed{server: s, lock: lock, before: before}
	if err := c.close(ctx); err != nil {
		// The caller's context may be the reason; undoing has deadlines of its own.
		return nil, errors.Join(err, c.Undo(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *Closed) close(ctx context.Context) error {
	for _, step := range []struct{ what, text string }{
		{"keep the locking session", "SET SESSION wait_timeout = 86400, lock_wait_timeout = 60"},
		{"stop receiver", "STOP REPLICA IO_THREAD"},
		{"set super_read_only", "SET GLOBAL super_read_only = ON"},
		{"set offline_mode", "SET GLOBAL offline_mode = ON"},
		{"take the global read lock", "FLUSH TABLES WITH READ LOCK"},
	} {
		if err := c.lock.exec(ctx, closeLimit, step.what, step.text); err != nil {
			return err
		}
	}
	return c.Check(ctx)
}

// Check says whether the server is still closed: the lock's session lives and
// nobody has turned a variable back.
func (c *Closed) Check(ctx context.Context) error {
	now, err := c.lock.openness(ctx)
	if err != nil {
		return fmt.Errorf("check that the server is closed: %w", err)
	}
	if !now.SuperReadOnly || !now.OfflineMode || now.ReceiverRunning {
		return errors.New("check that the server is closed: somebody opened it again")
	}
	return nil
}

// Undo gives the lock back and opens the server as far as it was open before.
func (c *Closed) Undo(ctx context.Context) error {
	c.Release()
	return c.server.Reopen(ctx, c.before)
}

// Release ends the session that holds the lock, and changes nothing else.
func (c *Closed) Release() { c.lock.drop() }

// Reopen makes the server as open as before says, in the reverse order of
// closing; what fails does not keep the rest from being tried. It never closes
// anything: what somebody else has opened in the meantime stays open, and the
// receiver of a server that was made writable, or has no source any more, is
// left alone. That server has been promoted.
func (s *Server) Reopen(ctx context.Context, before Openness) error {
	ctx, cancel := context.WithTimeout(ctx, 5*closeLimit)
	defer cancel()
	var errs []error
	open := func(was bool, what, text string) {
		if !was {
			errs = append(errs, s.actRetry(ctx, what, text))
		}
	}
	open(before.OfflineMode, "restore offline_mode", "SET GLOBAL offline_mode = OFF")
	open(before.SuperReadOnly, "restore super_read_only", "SET GLOBAL super_read_only = OFF")
	open(before.ReadOnly, "restore read_only", "SET GLOBAL read_only = OFF") // super_read_only=OFF leaves it on
	if !before.ReceiverRunning {
		return errors.Join(errs...)
	}
	now, err := s.promoted(ctx)
	if err == nil && !now {
		err = s.actRetry(ctx, "start receiver", "START REPLICA IO_THREAD")
	}
	return errors.Join(append(errs, err)...)
}

// promoted says that the server was made writable, or lost its source.
func (s *Server) promoted(ctx context.Context) (bool, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return false, err
	}
	defer ss.close()
	now, err := ss.openness(ctx)
	if err != nil {
		return false, err
	}
	rows, err := ss.query(ctx, "read replica status", "SHOW REPLICA STATUS")
	return !now.ReadOnly || len(rows) == 0, err
}

// actRetry tries a statement that must not be left undone until ctx ends: a
// statement given up a moment ago may still be in its way.
func (s *Server) actRetry(ctx context.Context, what, text string) error {
	for {
		err := s.act(ctx, closeLimit, what, text)
		if err == nil || !errors.Is(err, ErrHung) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}
