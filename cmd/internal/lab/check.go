package lab

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// CheckResult is what Check found.
type CheckResult struct {
	Nodes        int
	Tables       int
	Acknowledged int // rows looked for on every node
	Differences  []string
}

// OK says that all nodes are equal and no acknowledged row is missing.
func (r *CheckResult) OK() bool { return len(r.Differences) == 0 }

func (r *CheckResult) String() string {
	if r.OK() {
		return fmt.Sprintf("all %d nodes equal in %d tables, %d acknowledged rows on each, none missing",
			r.Nodes, r.Tables, r.Acknowledged)
	}
	return fmt.Sprintf("the nodes differ:\n  %s", strings.Join(r.Differences, "\n  "))
}

// Check waits for the replicas to catch up, stops writes at the primary for a
// moment, compares every table on every node with the primary's by checksum
// and definition, and looks for every acknowledged row on every node. A
// replica that does not catch up within the time is a difference.
func (c *Cluster) Check(ctx context.Context, within time.Duration) (_ *CheckResult, err error) {
	primary, err := c.Primary(ctx)
	if err != nil {
		return nil, err
	}
	r := &CheckResult{Nodes: len(c.Nodes)}
	// Most of the way while the primary still takes writes.
	if r.Differences, err = c.catchUp(ctx, primary, within); err != nil || !r.OK() {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	err = primary.Session(ctx, func(ctx context.Context, lock *sql.Conn) error {
		if err := runAll(ctx, lock, "FLUSH TABLES WITH READ LOCK"); err != nil {
			return err
		}
		return c.compare(ctx, primary, within, r)
	})
	return r, err
}

// catchUp waits until every replica has what the primary has now.
func (c *Cluster) catchUp(ctx context.Context, primary *Node, within time.Duration) (behind []string, err error) {
	gtids, err := primary.Executed(ctx)
	if err != nil {
		return nil, err
	}
	waits := make([]error, len(c.Nodes))
	var group errgroup.Group
	for i, n := range c.Nodes {
		if n != primary {
			group.Go(func() error { waits[i] = n.WaitExecuted(ctx, gtids, within); return nil })
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, err := range waits {
		if err != nil {
			behind = append(behind, err.Error())
		}
	}
	return behind, context.Cause(ctx)
}

// compare reads all nodes while the primary stands still.
func (c *Cluster) compare(ctx context.Context, primary *Node, within time.Duration, r *CheckResult) (err error) {
	if r.Differences, err = c.catchUp(ctx, primary, within); err != nil || !r.OK() {
		return err
	}
	rows, err := c.acknowledged()
	if err != nil {
		return err
	}
	r.Acknowledged = len(rows)
	prints := make([]map[string]string, len(c.Nodes))
	missing := make([][]string, len(c.Nodes))
	group, gctx := errgroup.WithContext(ctx)
	for i, n := range c.Nodes {
		group.Go(func() (err error) {
			if prints[i], err = n.fingerprints(gctx); err != nil {
				return err
			}
			missing[i], err = n.missing(gctx, rows)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	want := prints[slices.Index(c.Nodes, primary)]
	r.Tables = len(want)
	for i, n := range c.Nodes {
		r.Differences = append(r.Differences, differences(n.Name, primary.Name, prints[i], want)...)
		r.Differences = append(r.Differences, missing[i]...)
	}
	return nil
}

// differences compares the tables of one node with those of the primary.
func differences(node, primary string, have, want map[string]string) []string {
	var out []string
	for table, print := range want {
		switch got, ok := have[table]; {
		case !ok:
			out = append(out, fmt.Sprintf("%s lacks table %s", node, table))
		case got != print:
			out = append(out, fmt.Sprintf("%s differs from %s in table %s", node, primary, table))
		}
	}
	for table := range have {
		if _, ok := want[table]; !ok {
			out = append(out, fmt.Sprintf("%s has table %s, which %s lacks", node, table, primary))
		}
	}
	slices.Sort(out)
	return out
}

// autoIncrement is the part of a definition that may differ: a counter in
// memory, not data.
var autoIncrement = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

// lastSlash is what a restart of MySQL 9.7 takes off the directory of a
// partition in a definition.
var lastSlash = regexp.MustCompile(`(DATA DIRECTORY = '[^']*)/'`)

// fingerprints are definition and checksum of every table; of schema mysql
// only of those that hold the accounts: the rest is each node's own.
func (n *Node) fingerprints(ctx context.Context) (map[string]string, error) {
	prints := map[string]string{}
	err := n.Session(ctx, func(ctx context.Context, conn *sql.Conn) error {
		rows, err := queryAll(ctx, conn, "SELECT table_schema AS s, table_name AS t FROM information_schema.tables WHERE table_type = 'BASE TABLE'"+
			" AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')")
		if err != nil {
			return err
		}
		tables := slices.Clone(n.cluster.engine.accountTables)
		for _, row := range rows {
			tables = append(tables, fmt.Sprintf("`%s`.`%s`", row["s"], row["t"]))
		}
		for _, table := range tables {
			sums, err := queryAll(ctx, conn, "CHECKSUM TABLE "+table+" EXTENDED")
			if err != nil {
				return err
			}
			made, err := queryAll(ctx, conn, "SHOW CREATE TABLE "+table)
			if err != nil {
				return err
			}
			definition := autoIncrement.ReplaceAllString(made[0]["Create Table"], "")
			prints[table] = sums[0]["Checksum"] + " " + lastSlash.ReplaceAllString(definition, "$1'")
		}
		return nil
	})
	return prints, err
}

// acknowledged reads the load's record: id and checksum of each row.
func (c *Cluster) acknowledged() (_ map[uint64]uint32, err error) {
	rows := map[uint64]uint32{}
	file, err := os.Open(filepath.Join(c.Dir, acknowledgedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return rows, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of acknowledged rows: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var id uint64
		var sum uint32
		if _, err := fmt.Sscanf(lines.Text(), "%d %d", &id, &sum); err != nil {
			return nil, fmt.Errorf("read the record of acknowledged rows: line %q: %w", lines.Text(), err)
		}
		rows[id] = sum
	}
	return rows, lines.Err()
}

// missing names the acknowledged rows that the node lacks or has otherwise.
func (n *Node) missing(ctx context.Context, want map[uint64]uint32) (out []string, err error) {
	found := 0
	err = n.Session(ctx, func(ctx context.Context, conn *sql.Conn) (err error) {
		rows, err := conn.QueryContext(ctx, "SELECT id, CRC32(body) FROM lab.writes")
		if err != nil {
			return wrapSQL("SELECT lab.writes", err)
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var id uint64
			var sum uint32
			if err := rows.Scan(&id, &sum); err != nil {
				return wrapSQL("SELECT lab.writes", err)
			}
			switch known, ok := want[id]; {
			case ok && known == sum:
				found++
			case ok:
				found++
				out = append(out, fmt.Sprintf("%s has acknowledged row %d with other contents", n.Name, id))
			}
		}
		return wrapSQL("SELECT lab.writes", rows.Err())
	})
	if found < len(want) {
		out = append(out, fmt.Sprintf("%s lacks %d of %d acknowledged rows", n.Name, len(want)-found, len(want)))
	}
	return out, err
}
