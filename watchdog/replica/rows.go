package replica

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// row is one row of an answer. Its readers remember the first column that
// was missing or unreadable, so that a column which a version has renamed is
// never taken for an empty one; err tells.
type row struct {
	cells map[string]sql.NullString
	bad   error
}

func readRows(ctx context.Context, conn *sql.Conn, text string, args []any) ([]*row, error) {
	rows, err := conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	cells := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	var out []*row
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		r := &row{cells: make(map[string]sql.NullString, len(names))}
		for i, c := range cells {
			r.cells[names[i]] = c
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func (r *row) fail(err error) { r.bad = errors.Join(r.bad, err) }

// null says that the column is NULL.
func (r *row) null(name string) bool { return !r.cells[name].Valid }

// text is the column as text, "" for NULL.
func (r *row) text(name string) string {
	c, ok := r.cells[name]
	if !ok {
		r.fail(fmt.Errorf("no column %s in the answer", name))
	}
	return c.String
}

// int is the column as an integer, 0 for NULL.
func (r *row) int(name string) int {
	v := r.text(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		r.fail(fmt.Errorf("column %s: %q is not a number", name, v))
	}
	return n
}

// unsigned is the column as a number without a sign, 0 for NULL.
func (r *row) unsigned(name string) uint64 {
	v := r.text(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		r.fail(fmt.Errorf("column %s: %q is not a number", name, v))
	}
	return n
}

// yes is the column as a truth value.
func (r *row) yes(name string) bool { return isYes(r.text(name)) }

// gtids is the column as a GTID set on one line: the server breaks long ones.
func (r *row) gtids(name string) string { return oneLine(r.text(name)) }

// stamp is the column as an instant; sessions here speak UTC.
func (r *row) stamp(name string) time.Time {
	v := r.text(name)
	if v == "" || strings.HasPrefix(v, "0000-00-00") {
		return time.Time{}
	}
	t, err := time.ParseInLocation("2006-01-02 15:04:05.999999", v, time.UTC)
	if err != nil {
		r.fail(fmt.Errorf("column %s: %q is not a time", name, v))
	}
	return t
}

// err is what was wrong with the columns read so far.
func (r *row) err() error { return r.bad }

// isYes reads a truth value as the server prints it.
func isYes(v string) bool {
	switch strings.ToUpper(v) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// oneLine takes the line breaks and blanks out of a GTID set.
func oneLine(set string) string { return strings.Join(strings.Fields(set), "") }
