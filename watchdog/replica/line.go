package replica

import (
	"context"
	"database/sql"
	"net"
)

// line is a connection to the server that ends with Disconnect, whatever runs
// over it. A context given to each statement would do the same, but wake the
// driver and database/sql for every one: three times as much as a probe of an
// idle cluster costs otherwise.
type line struct {
	*net.UnixConn
	untie func() bool
}

func (l line) Close() error {
	l.untie()
	return l.UnixConn.Close()
}

// dial connects to the socket for as long as the Server lives.
func (s *Server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", s.o.Socket)
	if err != nil {
		return nil, err
	}
	unix := conn.(*net.UnixConn) // a dialler of unix sockets makes no other
	return line{unix, context.AfterFunc(s.life, func() { _ = unix.Close() })}, nil
}

// identified is what never changes in the life of a connection.
type identified struct {
	id      uint64 // CONNECTION_ID()
	version version
}

// maxIdentified is how many connections are remembered, those that have ended
// among them.
const maxIdentified = 4 * maxSessions

// identify asks a connection which one it is, and of what server: once, for as
// long as it lives.
func (s *Server) identify(ctx context.Context, conn *sql.Conn) (identified, error) {
	var key any // the driver's own connection, by address
	if err := conn.Raw(func(c any) error { key = c; return nil }); err != nil {
		return identified{}, err
	}
	s.mu.Lock()
	known, ok := s.identified[key]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	var text, comment string
	row := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID(), VERSION(), @@version_comment")
	if err := row.Scan(&known.id, &text, &comment); err != nil {
		return identified{}, err
	}
	var err error
	if known.version, err = parseVersion(text, comment); err != nil {
		return identified{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.identified) >= maxIdentified {
		clear(s.identified)
	}
	s.identified[key] = known
	return known, nil
}
