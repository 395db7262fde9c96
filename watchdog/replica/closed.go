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
	return in(ctx, s, func(ss *session) (Openness, error) { return ss.version.openness(ctx, ss) })
}

func (mySQL) openness(ctx context.Context, ss *session) (Openness, error) {
	r, err := ss.one(ctx, "read read_only and offline_mode", `SELECT @@GLOBAL.read_only AS read_only,
		@@GLOBAL.super_read_only AS super_read_only, @@GLOBAL.offline_mode AS offline_mode`)
	if err != nil {
		return Openness{}, err
	}
	o := Openness{ReadOnly: r.yes("read_only"), SuperReadOnly: r.yes("super_read_only"), OfflineMode: r.yes("offline_mode")}
	if err := r.err(); err != nil {
		return Openness{}, named("read read_only and offline_mode", err)
	}
	o.ReceiverRunning, err = ss.receives(ctx, "Replica_IO_Running")
	return o, err
}

// receives says whether a receiver runs. Connecting is running: it was started
// and will be again.
func (ss *session) receives(ctx context.Context, column string) (bool, error) {
	rows, err := ss.status(ctx)
	if err != nil {
		return false, err
	}
	runs := false
	for _, st := range rows {
		runs = runs || st.text(column) != "No"
		if err := st.err(); err != nil {
			return false, named("read replica status", err)
		}
	}
	return runs, nil
}

// Closed is a server that nobody can write to: its receiver is stopped,
// super_read_only and offline_mode are on, and a session of its own holds the
// global read lock, behind which the write even of a promoter with every
// privilege waits. It ends with Undo, with Release, or with the server.
//
// MariaDB has neither of the two variables. There read_only is on, and the
// sessions of clients were ended; new ones may come, and read. What keeps
// writers out, those whom read_only lets pass included, is the lock.
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
	d := c.lock.version
	if err := c.lock.run(ctx, closeLimit,
		statement{what: "keep the locking session", text: "SET SESSION wait_timeout = 86400, lock_wait_timeout = 60"},
		statement{what: "stop receiver", text: d.words().stopReceiver}); err != nil {
		return err
	}
	if err := d.shut(ctx, c.lock, c.before); err != nil {
		return err
	}
	if err := c.lock.exec(ctx, closeLimit, "take the global read lock", "FLUSH TABLES WITH READ LOCK"); err != nil {
		return err
	}
	return c.Check(ctx)
}

func (mySQL) shut(ctx context.Context, ss *session, _ Openness) error {
	return ss.run(ctx, closeLimit,
		statement{what: "set super_read_only", text: "SET GLOBAL super_read_only = ON"},
		statement{what: "set offline_mode", text: "SET GLOBAL offline_mode = ON"})
}

func (mySQL) shuts(now Openness) bool { return now.SuperReadOnly && now.OfflineMode }

// Check says whether the server is still closed: the lock's session lives and
// nobody has turned a variable back.
func (c *Closed) Check(ctx context.Context) error {
	now, err := c.lock.version.openness(ctx, c.lock)
	if err != nil {
		return fmt.Errorf("check that the server is closed: %w", err)
	}
	if !c.lock.version.shuts(now) || now.ReceiverRunning {
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
	var list []statement
	err := s.retry(ctx, func(ss *session) error { list = ss.version.reopening(before); return nil })
	errs := []error{err}
	for _, st := range list {
		errs = append(errs, s.retry(ctx, func(ss *session) error { return ss.run(ctx, closeLimit, st) }))
	}
	if err != nil || !before.ReceiverRunning {
		return errors.Join(errs...)
	}
	now, err := s.promoted(ctx)
	if err == nil && !now {
		err = s.retry(ctx, func(ss *session) error {
			return ss.exec(ctx, closeLimit, "start receiver", ss.version.words().startReceiver)
		})
	}
	return errors.Join(append(errs, err)...)
}

func (mySQL) reopening(before Openness) []statement {
	var list []statement
	open := func(was bool, what, text string) {
		if !was {
			list = append(list, statement{what: what, text: text})
		}
	}
	open(before.OfflineMode, "restore offline_mode", "SET GLOBAL offline_mode = OFF")
	open(before.SuperReadOnly, "restore super_read_only", "SET GLOBAL super_read_only = OFF")
	open(before.ReadOnly, "restore read_only", "SET GLOBAL read_only = OFF") // super_read_only=OFF leaves it on
	return list
}

// promoted says that the server was made writable, or lost its source.
func (s *Server) promoted(ctx context.Context) (bool, error) {
	return in(ctx, s, func(ss *session) (bool, error) {
		now, err := ss.version.openness(ctx, ss)
		if err != nil {
			return false, err
		}
		rows, err := ss.status(ctx)
		return !now.ReadOnly || len(rows) == 0, err
	})
}

// retry tries what must not be left undone until ctx ends: a statement given
// up a moment ago may still be in its way.
func (s *Server) retry(ctx context.Context, act func(*session) error) error {
	for {
		_, err := in(ctx, s, func(ss *session) (struct{}, error) { return struct{}{}, act(ss) })
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
