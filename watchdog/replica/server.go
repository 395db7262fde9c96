package replica

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"resilver/config/secret"
)

// maxSessions bounds the sessions in the server: one observes, one acts, one
// may hold the global read lock, and one is spare. Statements that hang keep
// theirs. One more is opened, and closed at once, to kill such a statement.
const maxSessions = 4

// idleSessions are kept open between probes.
const idleSessions = 2

// Options says how to reach a server.
type Options struct {
	Socket   string        // path of its unix socket
	User     string        // an account of Grants, or root on a scratch server
	Password secret.Secret // empty for auth_socket
	Timeout  time.Duration // of one ordinary statement; those known to be slow have their own
	Logger   *slog.Logger
}

// Server is one mysqld. It may be used by several goroutines at once.
type Server struct {
	o     Options
	db    *sql.DB // sessions that work
	kills *sql.DB // one short session at a time that kills

	life context.Context // ends with Disconnect
	end  context.CancelFunc
	late sync.WaitGroup // statements under way, given up or not

	proven proof // who the source is, on MariaDB

	mu         sync.Mutex
	opening    int // attempts at a session under way
	gone       bool
	identified map[any]identified // by the driver's connection
}

// Open prepares a Server. It does not connect: each method does when called,
// and says so if it cannot.
func Open(o Options) (*Server, error) {
	switch {
	case o.Socket == "":
		return nil, errors.New("open server: no socket")
	case o.User == "":
		return nil, errors.New("open server: no user")
	case o.Timeout <= 0:
		return nil, errors.New("open server: timeout must be positive")
	case o.Logger == nil:
		return nil, errors.New("open server: no logger")
	}
	s := &Server{o: o, identified: map[any]identified{}}
	conf := driverConfig(o)
	conf.DialFunc = s.dial
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, fmt.Errorf("open server: %w", scrub(err, o.Password))
	}
	s.db, s.kills = sql.OpenDB(connector), sql.OpenDB(connector)
	s.db.SetMaxOpenConns(maxSessions)
	s.db.SetMaxIdleConns(idleSessions)
	s.db.SetConnMaxIdleTime(time.Minute)
	s.db.SetConnMaxLifetime(time.Minute) // a session keeps the rights it had when it began
	s.kills.SetMaxOpenConns(1)
	s.kills.SetMaxIdleConns(-1)
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// driverConfig makes sessions that write no binary log, speak English and
// UTC, and quote in one known way whatever the server's sql_mode is.
func driverConfig(o Options) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr = "unix", o.Socket
	c.User, c.Passwd = o.User, o.Password.Reveal()
	c.InterpolateParams = true // CHANGE REPLICATION SOURCE cannot be prepared
	c.Logger = &mysql.NopLogger{}
	c.ConnectionAttributes = "program_name:resilver"
	c.Params = map[string]string{
		"sql_log_bin":       "0",
		"sql_mode":          "''",
		"time_zone":         "'+00:00'",
		"lc_messages":       "'en_US'",
		"autocommit":        "1",
		"lock_wait_timeout": "60",
	}
	return c
}

// begin counts a statement, or an attempt at a session, as under way.
func (s *Server) begin(session bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return fmt.Errorf("%w: disconnected", ErrDown)
	case session && s.opening >= maxSessions:
		return fmt.Errorf("%w: earlier attempts still hang", ErrHung)
	case session:
		s.opening++
	}
	s.late.Add(1)
	return nil
}

// Disconnect ends all sessions, and with them their statements and locks.
func (s *Server) Disconnect() error {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.end()
	// Sessions of a server that went first end with an error that says nothing.
	if err := errors.Join(s.db.Close(), s.kills.Close()); err != nil {
		s.o.Logger.Debug("disconnect", "error", err)
	}
	s.late.Wait()
	return nil
}

// renew closes the idle sessions, so that the next one begins anew: a session
// keeps the rights that its account had when it began.
func (s *Server) renew() {
	s.db.SetMaxIdleConns(0)
	s.db.SetMaxIdleConns(idleSessions)
}
