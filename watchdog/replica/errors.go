package replica

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"resilver/config/secret"
	"resilver/watchdog"
)

// Errors to branch on.
var (
	// ErrDown means that no server listens, or that the connection broke.
	ErrDown = errors.New("server is down")
	// ErrHung means that a statement did not end by its deadline. What it was
	// to change may or may not have changed.
	ErrHung = errors.New("statement did not end in time")
	// ErrDenied means that the account may not log in, or may not do this.
	ErrDenied = errors.New("account may not do this")
	// ErrVersion means a server whose statements are not known here.
	ErrVersion = errors.New("server version is not supported")
	// ErrNotReplica means that the server has no source configuration.
	ErrNotReplica = errors.New("no source is configured")
	// ErrManySources means more than one replication channel.
	ErrManySources = errors.New("more than one source is configured")
	// ErrNotPrivate means that a method meant for private servers met one
	// that listens on the network.
	ErrNotPrivate = errors.New("server is not private: it listens on the network")
)

// deniedErrnos are the server's refusals of an account: 1044, 1045, 1142,
// 1143, 1227, 1370, 1410 and 3118 (MySQL error reference), 1698 for
// auth_socket, 1862 for an expired password, 3032 for offline_mode without
// CONNECTION_ADMIN, 3879 for partial revokes.
var deniedErrnos = map[uint16]bool{1044: true, 1045: true, 1142: true, 1143: true, 1227: true, 1370: true,
	1410: true, 1698: true, 1862: true, 3032: true, 3118: true, 3630: true, 3879: true}

// classify adds the sentinel that says what kind of failure err is.
func (s *Server) classify(err error) error {
	var own *mysql.MySQLError
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrHung), errors.Is(err, ErrDown), errors.Is(err, ErrDenied):
		return err
	case errors.As(err, &own):
		err = scrub(err, s.o.Password)
		if deniedErrnos[own.Number] {
			return fmt.Errorf("%w: %w", ErrDenied, err)
		}
		if own.Number == 1053 { // ER_SERVER_SHUTDOWN
			return fmt.Errorf("%w: %w", ErrDown, err)
		}
		return err
	case s.life.Err() != nil:
		return fmt.Errorf("%w: disconnected", ErrDown)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ErrHung
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &op):
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("%w: %w", ErrDenied, err)
		}
		if errors.Is(err, syscall.EAGAIN) { // the socket's queue is full: nobody accepts
			return fmt.Errorf("%w: %w", ErrHung, err)
		}
		return fmt.Errorf("%w: %w", ErrDown, err)
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: connection lost", ErrDown)
	}
	return scrub(err, s.o.Password)
}

// wrap names the action once.
func (s *Server) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, s.classify(err))
}

// errno is the server's error number in err, 0 where it is not the server's.
func errno(err error) uint16 {
	var own *mysql.MySQLError
	if errors.As(err, &own) {
		return own.Number
	}
	return 0
}

// troubleOf puts a failed observation into one of the watchdog's words.
func troubleOf(err error) watchdog.Trouble {
	switch {
	case err == nil:
		return watchdog.TroubleNone
	case errors.Is(err, ErrDown):
		return watchdog.TroubleDown
	case errors.Is(err, ErrHung):
		return watchdog.TroubleHung
	case errors.Is(err, ErrDenied):
		return watchdog.TroubleDenied
	}
	return watchdog.TroubleOther
}

// scrub takes a password out of an error: a server quotes the statement it
// could not parse. The server's number stays readable.
func scrub(err error, password secret.Secret) error {
	p := password.Reveal()
	if p == "" || err == nil || !strings.Contains(err.Error(), p) {
		return err
	}
	var own *mysql.MySQLError
	if errors.As(err, &own) {
		return &mysql.MySQLError{Number: own.Number, SQLState: own.SQLState,
			Message: strings.ReplaceAll(own.Message, p, password.String())}
	}
	return errors.New(strings.ReplaceAll(err.Error(), p, password.String()))
}
