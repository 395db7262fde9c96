package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// statementDeadline bounds a statement whose caller set no deadline.
const statementDeadline = time.Minute

// openSocket prepares connections through a server's socket, for an account
// that needs no password there. None is kept after use: what a session sets
// ends with it.
func openSocket(socket, user string) (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.User, conf.Net, conf.Addr = user, "unix", socket
	conf.Timeout, conf.InterpolateParams = 5*time.Second, true
	conf.Logger = &mysql.NopLogger{} // what it would log comes as an error too
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, fmt.Errorf("prepare connections to %s: %w", socket, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(0)
	return db, nil
}

// Session gives f one connection as root; session variables end with it.
func (n *Node) Session(ctx context.Context, f func(context.Context, *sql.Conn) error) (err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, statementDeadline)
		defer cancel()
	}
	conn, err := n.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("%s: connect: %w", n.Name, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := f(ctx, conn); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// SQL runs statements as root, one after the other in one session.
func (n *Node) SQL(ctx context.Context, statements ...string) error {
	return n.Session(ctx, func(ctx context.Context, conn *sql.Conn) error {
		return runAll(ctx, conn, statements...)
	})
}

// Value runs a query as root and returns the first column of its first row;
// NULL is the empty string.
func (n *Node) Value(ctx context.Context, query string, args ...any) (string, error) {
	var value sql.NullString
	err := n.Session(ctx, func(ctx context.Context, conn *sql.Conn) error {
		return wrapSQL(query, conn.QueryRowContext(ctx, query, args...).Scan(&value))
	})
	return value.String, err
}

// Rows runs a query as root and returns its rows by column name; NULL is the
// empty string.
func (n *Node) Rows(ctx context.Context, query string, args ...any) ([]map[string]string, error) {
	var rows []map[string]string
	err := n.Session(ctx, func(ctx context.Context, conn *sql.Conn) (err error) {
		rows, err = queryAll(ctx, conn, query, args...)
		return err
	})
	return rows, err
}

// runner is a connection or a pool of them.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func runAll(ctx context.Context, r runner, statements ...string) error {
	for _, statement := range statements {
		if _, err := r.ExecContext(ctx, statement); err != nil {
			return wrapSQL(statement, err)
		}
	}
	return nil
}

func queryAll(ctx context.Context, conn *sql.Conn, query string, args ...any) (_ []map[string]string, err error) {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, wrapSQL(query, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, wrapSQL(query, err)
	}
	var all []map[string]string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		targets := make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, wrapSQL(query, err)
		}
		row := make(map[string]string, len(columns))
		for i, column := range columns {
			row[column] = values[i].String
		}
		all = append(all, row)
	}
	return all, wrapSQL(query, rows.Err())
}

// wrapSQL names a statement by its first words: the rest may be long, or
// hold a password.
func wrapSQL(statement string, err error) error {
	if err == nil {
		return nil
	}
	words := strings.Fields(statement)
	return fmt.Errorf("%s: %w", strings.Join(words[:min(4, len(words))], " "), err)
}
