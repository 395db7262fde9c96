package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"resilver/cmd/internal/lab"
)

const (
	// pageBytes is InnoDB's default page size, the labs' own.
	pageBytes = 16 << 10
	// rowsAtOnce are changed by one transaction.
	rowsAtOnce = 1000
	// written is how long the other servers get to write out what was changed.
	written = 2 * time.Minute
)

// used measures a replica in use: one that has just started, or has not been
// written to, has nothing to write when it ends, which no server in service
// can say. Rows spread over the whole table are changed at the primary, one in
// each of as many pages as half of the buffer pool holds; the replica has
// applied them, and how many pages it had not written is noted. Afterwards the
// other two write theirs, so that nobody's later copy competes with it.
func (s *site) used(dirty string, m measure) measure {
	return measure{m.name, func(ctx context.Context) error {
		if err := s.change(ctx); err != nil {
			return err
		}
		if err := s.settled(ctx); err != nil {
			return err
		}
		pages, err := s.dirtyPages(ctx, s.replica)
		if err != nil {
			return err
		}
		s.note(dirty, pages)
		if err := m.run(ctx); err != nil {
			return err
		}
		for _, n := range []*lab.Node{s.primary, s.donor} {
			if err := s.writeOut(ctx, n); err != nil {
				return err
			}
		}
		return nil
	}}
}

// changedPages is how many pages are changed where the table has them.
func (s *site) changedPages() int { return s.PoolMB * 1_000_000 / 2 / pageBytes }

// change updates rows at equal distances, over the whole table.
func (s *site) change(ctx context.Context) error {
	text, err := s.primary.Value(ctx, "SELECT MAX(id) FROM lab.bulk")
	if err != nil {
		return err
	}
	rows, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("count the rows: %w", err)
	}
	apart := max(1, rows/max(1, s.changedPages()))
	var statements []string
	for first := 1; first <= rows; first += apart * rowsAtOnce {
		var ids []string
		for id := first; id <= rows && len(ids) < rowsAtOnce; id += apart {
			ids = append(ids, strconv.Itoa(id))
		}
		statements = append(statements, "UPDATE lab.bulk SET touched = touched + 1 WHERE id IN ("+strings.Join(ids, ",")+")")
	}
	return s.primary.SQL(ctx, statements...)
}

// dirtyPages is how many pages of a server's buffer pool differ from its
// files: a graceful end writes them, a rebuild leaves them to the datadir that
// is set aside.
func (s *site) dirtyPages(ctx context.Context, n *lab.Node) (float64, error) {
	schema := "performance_schema.global_status"
	if s.Engine == lab.MariaDB {
		schema = "information_schema.GLOBAL_STATUS"
	}
	text, err := n.Value(ctx, "SELECT VARIABLE_VALUE FROM "+schema+" WHERE VARIABLE_NAME = 'Innodb_buffer_pool_pages_dirty'")
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("count the changed pages of %s: %w", n.Name, err)
	}
	return pages, nil
}

// eager are settings by which a server writes its changed pages at once, in
// the order in which they can be set: each bounds the next. MariaDB's pace is
// 200 pages a second by default.
var eager = [][2]string{
	{"innodb_max_dirty_pages_pct_lwm", "0"}, {"innodb_max_dirty_pages_pct", "0"},
	{"innodb_io_capacity_max", "20000"}, {"innodb_io_capacity", "20000"},
}

// writeOut has a server write most of its changed pages now.
func (s *site) writeOut(ctx context.Context, n *lab.Node) error {
	var set, restore []string
	for _, v := range eager {
		before, err := n.Value(ctx, "SELECT @@GLOBAL."+v[0])
		if err != nil {
			return err
		}
		set = append(set, "SET GLOBAL "+v[0]+" = "+v[1])
		restore = append([]string{"SET GLOBAL " + v[0] + " = " + before}, restore...)
	}
	if err := n.SQL(ctx, set...); err != nil {
		return err
	}
	err := poll(ctx, written, glance, n.Name+" to write its pages", func(ctx context.Context) (bool, string) {
		pages, err := s.dirtyPages(ctx, n)
		return err == nil && pages <= float64(max(1, s.changedPages()/8)), fmt.Sprint(pages, " ", err)
	})
	if err != nil {
		return err
	}
	return n.SQL(ctx, restore...)
}
