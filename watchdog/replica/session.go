package replica

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// killGrace is how long a killed statement gets to end.
const killGrace = 3 * time.Second

// session is one connection, checked out, of a server whose version is known.
type session struct {
	s       *Server
	conn    *sql.Conn
	id      uint64 // CONNECTION_ID()
	version version
	// lost: a statement did not end; the connection must not be used again,
	// and whoever waits for that statement closes it.
	lost bool
	// denied: a right was missing, which may be granted any time, but never to
	// a session that has begun.
	denied bool
}

// session checks a connection out and asks a new one who is there. An
// attempt that hangs goes on behind our back and its session is kept for
// later; while as many attempts as there are places hang, no other is made.
func (s *Server) session(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if err := s.begin(true); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.o.Socket, err)
	}
	type opened struct {
		ss  *session
		err error
	}
	done, left := make(chan opened), make(chan struct{})
	go func() {
		defer s.late.Done()
		ss, err := s.connect()
		s.mu.Lock()
		s.opening--
		s.mu.Unlock()
		select {
		case done <- opened{ss, err}:
		case <-left:
			if ss != nil {
				ss.close()
			}
		}
	}()
	select {
	case o := <-done:
		return o.ss, o.err
	case <-ctx.Done():
		close(left)
		return nil, fmt.Errorf("connect to %s: %w", s.o.Socket, s.classify(context.Cause(ctx)))
	}
}

// connect has no context: Disconnect ends the connection beneath it.
func (s *Server) connect() (*session, error) {
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.o.Socket, s.classify(err))
	}
	known, err := s.identify(context.Background(), conn)
	switch {
	case errors.Is(err, ErrVersion):
		_ = conn.Close()
		return nil, err
	case err != nil:
		discard(conn)
		return nil, fmt.Errorf("ask for the version: %w", s.classify(err))
	}
	return &session{s: s, conn: conn, id: known.id, version: known.version}, nil
}

// close gives the connection back for others to use.
func (ss *session) close() {
	switch {
	case ss.denied:
		ss.drop()
	case !ss.lost:
		_ = ss.conn.Close()
	}
}

// drop ends the connection, and with it whatever locks it holds.
func (ss *session) drop() {
	if !ss.lost {
		discard(ss.conn)
	}
}

func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// query reads all rows of a statement that changes nothing, within the
// server's ordinary timeout. A statement that hangs is given up at once.
func (ss *session) query(ctx context.Context, what, text string, args ...any) ([]*row, error) {
	return ss.queryWithin(ctx, ss.s.o.Timeout, what, text, args...)
}

// queryWithin is query for an answer that takes the server long to find.
func (ss *session) queryWithin(ctx context.Context, limit time.Duration, what, text string, args ...any) ([]*row, error) {
	// Written by the statement, which may end after it was given up: read
	// only where do says that it has ended.
	var rows []*row
	err := ss.do(ctx, limit, 0, what, func(ctx context.Context) error {
		var err error
		rows, err = readRows(ctx, ss.conn, text, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// one is query for a statement that must yield exactly one row.
func (ss *session) one(ctx context.Context, what, text string, args ...any) (*row, error) {
	rows, err := ss.query(ctx, what, text, args...)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("%s: %d rows instead of one", what, len(rows))
	}
	return rows[0], nil
}

// exec runs a statement that changes something. If it does not end within
// limit it is killed and its end awaited a little, so that it does not take
// effect behind our back; limit 0 leaves only ctx.
func (ss *session) exec(ctx context.Context, limit time.Duration, what, text string, args ...any) error {
	return ss.do(ctx, limit, killGrace, what, func(ctx context.Context) error {
		_, err := ss.conn.ExecContext(ctx, text, args...)
		return err
	})
}

// do runs one statement with a deadline. The statement itself does not run
// under ctx: the driver would answer the end of ctx by closing the connection,
// and leave the statement running in the server. Only Disconnect does that.
// A statement that ends after its deadline counts as hung even if it succeeds:
// whoever waited for it has gone on, or is undoing.
func (ss *session) do(ctx context.Context, limit, grace time.Duration, what string, run func(context.Context) error) error {
	if ss.lost {
		return fmt.Errorf("%s: %w: an earlier statement of this session did not end", what, ErrHung)
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ss.s.classify(context.Cause(ctx)))
	}
	if err := ss.s.begin(false); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	done := make(chan error, 1)
	go func() { done <- run(context.Background()) }()
	select {
	case err := <-done:
		ss.s.late.Done()
		err = ss.s.wrap(what, err)
		ss.denied = ss.denied || errors.Is(err, ErrDenied)
		return err
	case <-ctx.Done():
	}
	ss.lost = true
	ended := make(chan struct{})
	go func() {
		defer ss.s.late.Done()
		defer close(ended)
		ss.giveUp(what, done)
	}()
	if grace > 0 {
		select {
		case <-ended:
		case <-time.After(grace):
			ss.s.o.Logger.Warn("statement cannot be killed", "statement", what)
		}
	}
	return fmt.Errorf("%s: %w", what, ss.s.classify(context.Cause(ctx)))
}

// giveUp kills the session's statement and ends the session once the
// statement has ended. Until then the session keeps its place in the pool.
func (ss *session) giveUp(what string, done <-chan error) {
	ctx, cancel := context.WithTimeout(ss.s.life, killGrace)
	defer cancel()
	// An id is a number of the server's own making; KILL takes no placeholder
	// in a prepared statement, and needs none.
	if _, err := ss.s.kills.ExecContext(ctx, fmt.Sprintf("KILL QUERY %d", ss.id)); err != nil {
		ss.s.o.Logger.Debug("kill statement", "statement", what, "error", ss.s.classify(err))
	}
	err := <-done
	ss.s.o.Logger.Debug("late statement ended", "statement", what, "error", ss.s.classify(err))
	discard(ss.conn)
}
