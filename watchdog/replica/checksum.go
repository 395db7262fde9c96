package replica

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"resilver/watchdog"
)

// A node is asked for chunks as of one position: it opens a snapshot that it
// knows the executed set of, and reads in it for a while only, so that the
// server need not keep old rows for long.
const (
	walkFor     = 5 * time.Second // no chunk is begun later in a snapshot
	chunkLimit  = 8 * time.Second // of one chunk at the primary
	copyLimit   = 2 * time.Minute // of one chunk in a copy, whose server is small
	snapshotFor = 4 * time.Second // how long a snapshot with a known set is tried for
	packetLeast = 1 << 20         // of max_allowed_packet: a row's columns, the long ones hashed, are put together
)

// errNoTable is a table that is not there, or no base table.
var errNoTable = errors.New("there is no such table")

// errBusy means that no snapshot could be taken whose set is known.
var errBusy = errors.New("transactions end too fast to know the executed set of a snapshot")

// ComparableTables lists the tables of people's schemas that can be compared,
// with about how many bytes each holds, and those that cannot. Needs SELECT and
// REFERENCES on *.*.
func (s *Server) ComparableTables(ctx context.Context) (tables []watchdog.TableSize, out []watchdog.LeftOut, err error) {
	ss, err := s.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer ss.close()
	if err := ss.mayCompare(ctx); err != nil {
		return nil, nil, err
	}
	const what = "list tables to compare"
	rows, err := ss.queryWithin(ctx, slowLimit, what, `SELECT TABLE_SCHEMA AS db, TABLE_NAME AS name, TABLE_TYPE AS type,
		COALESCE(ENGINE, '') AS engine, COALESCE(DATA_LENGTH, 0) AS bytes FROM information_schema.TABLES
		WHERE TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW', 'SEQUENCE', 'TEMPORARY')
		AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1, 2`)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range rows {
		t := watchdog.TableSize{TableName: watchdog.TableName{Schema: r.text("db"), Table: r.text("name")}, Bytes: int64(r.int("bytes"))}
		switch kind, engine := r.text("type"), r.text("engine"); {
		case kind != "BASE TABLE":
			out = append(out, watchdog.LeftOut{Table: t.String(), Reason: "it is a " + strings.ToLower(kind) + " table"})
		case engine != "InnoDB":
			out = append(out, watchdog.LeftOut{Table: t.String(), Reason: "engine " + engine + " has no snapshots"})
		default:
			tables = append(tables, t)
		}
		if err := r.err(); err != nil {
			return nil, nil, named(what, err)
		}
	}
	return tables, out, nil
}

// mayCompare refuses a session that would not see everything, or not in full.
func (ss *session) mayCompare(ctx context.Context) error {
	for _, right := range []string{"SELECT", "REFERENCES"} {
		if err := ss.mustHold(ctx, right); err != nil {
			return fmt.Errorf("compare tables: %w: see resilver grants, with verify.checksum set", err)
		}
	}
	const what = "read max_allowed_packet"
	r, err := ss.one(ctx, what, "SELECT @@SESSION.max_allowed_packet AS n")
	if err == nil {
		err = r.err()
	}
	if err == nil && r.int("n") < packetLeast {
		err = fmt.Errorf("compare tables: max_allowed_packet is %d, too small for the rows: set it to %d at least", r.int("n"), packetLeast)
	}
	return err
}

// Checksums walks as it is told, in one snapshot, and says what executed set
// that is as of. A chunk has at most rows rows, 0: as many as take a short
// while. It needs no lock. On MySQL a transaction that ends while the snapshot
// is taken may be in it and not yet in the set (2 batches of 40 under 150
// commits a second, 9.7.4): a difference counts only when it is found again
// and again. Where the very first chunk takes too long the error is
// watchdog.ErrTooSlow.
func (s *Server) Checksums(ctx context.Context, walks []watchdog.Walk, rows int) (watchdog.Checksums, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return watchdog.Checksums{}, err
	}
	defer ss.drop() // whatever happens, the snapshot goes with the session
	var out watchdog.Checksums
	if err := ss.mayCompare(ctx); err != nil {
		return out, err
	}
	if out.Position, err = ss.snapshot(ctx); err != nil {
		return out, err
	}
	until := time.Now().Add(walkFor)
	for i, w := range walks {
		through, err := ss.walk(ctx, w, rows, until, &out)
		if (changed(err) || errors.Is(err, watchdog.ErrTooSlow)) && (i > 0 || len(out.Chunks) > 0) {
			return out, nil // of the rest a later snapshot will tell
		}
		if err != nil || !through {
			return out, err
		}
		out.Ended = i + 1
	}
	return out, nil
}

// changed says that a table was defined anew since the snapshot was taken
// (ER_TABLE_DEF_CHANGED).
func changed(err error) bool { return errno(err) == 1412 }

// missing says that a table has gone (ER_NO_SUCH_TABLE).
func missing(err error) bool { return errors.Is(err, errNoTable) || errno(err) == 1146 }

// snapshot begins a transaction and returns the executed set that it sees.
func (ss *session) snapshot(ctx context.Context) (string, error) {
	deadline := time.Now().Add(snapshotFor)
	for {
		set, err := ss.version.snapshot(ctx, ss)
		if !errors.Is(err, errBusy) || time.Now().After(deadline) {
			return set, named("take a snapshot", err)
		}
		if err := ss.exec(ctx, closeLimit, "end a snapshot", "ROLLBACK"); err != nil {
			return "", err
		}
	}
}

// begin starts a transaction that sees what is committed now, whatever the
// server's isolation level is.
func (ss *session) beginSnapshot(ctx context.Context) error {
	return ss.run(ctx, closeLimit, statement{what: "set the isolation level", text: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"},
		statement{what: "begin a snapshot", text: "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"})
}

// snapshot: nothing tells the set of a snapshot. It is known where the set was
// the same before and after; but for a transaction that is just being added to
// the set, and is in the snapshot already.
func (d mySQL) snapshot(ctx context.Context, ss *session) (string, error) {
	before, err := d.executed(ctx, ss)
	if err != nil {
		return "", err
	}
	if err := ss.beginSnapshot(ctx); err != nil {
		return "", err
	}
	after, err := d.executed(ctx, ss)
	if err == nil && before != after {
		err = errBusy
	}
	return after, err
}

// snapshot: the server keeps the place in its binary log that belongs to a
// snapshot (Binlog_snapshot_file, Binlog_snapshot_position), which is in step
// with it, where gtid_binlog_pos was not in 1211 of 1471 (10.11).
func (mariaDB) snapshot(ctx context.Context, ss *session) (string, error) {
	if err := ss.beginSnapshot(ctx); err != nil {
		return "", err
	}
	const what = "read the place of a snapshot"
	rows, err := ss.query(ctx, what, "SHOW STATUS LIKE 'Binlog_snapshot_%'")
	if err != nil {
		return "", err
	}
	place := map[string]string{}
	for _, r := range rows {
		place[r.text("Variable_name")] = r.text("Value")
	}
	file, at := place["Binlog_snapshot_file"], place["Binlog_snapshot_position"]
	if _, err := strconv.ParseUint(at, 10, 64); err != nil || file == "" {
		return "", errors.New("the server has no place in its binary log for it: log_bin must be on")
	}
	return ss.scalar(ctx, what, "SELECT BINLOG_GTID_POS(?, "+at+") AS answer", file)
}

// walk goes on along one table until its end or until, and says whether it is
// through.
func (ss *session) walk(ctx context.Context, w watchdog.Walk, rows int, until time.Time, out *watchdog.Checksums) (through bool, err error) {
	l, err := ss.layoutOf(ctx, w.TableName)
	if missing(err) {
		return true, nil // dropped since
	}
	if err != nil {
		return false, err
	}
	if rows > 0 {
		l.rows = min(l.rows, rows)
	}
	if len(l.key) == 0 {
		if w.After != nil || w.Upto != nil {
			return false, fmt.Errorf("%s has no key to walk along", w.TableName)
		}
		large, err := ss.largerThan(ctx, l, wholeBytes)
		if err == nil && large {
			out.LeftOut = append(out.LeftOut, watchdog.LeftOut{Table: w.String(), Reason: noKey})
		}
		if err != nil || large {
			return err == nil, err
		}
		w.Single = true
	}
	after := w.After
	if w.Random {
		if after, err = ss.somewhere(ctx, l); err != nil {
			return missing(err), notMissing(err)
		}
	}
	for {
		if time.Now().After(until) {
			return false, nil
		}
		upto := w.Upto
		if !w.Single {
			if upto, err = ss.nth(ctx, l, after); err != nil {
				return missing(err), notMissing(err)
			}
		}
		c, err := ss.sum(ctx, chunkLimit, l, after, upto)
		if err != nil {
			return missing(err), notMissing(err)
		}
		out.Chunks = append(out.Chunks, c)
		if upto == nil || w.Single || w.Random {
			return true, nil
		}
		after = upto
	}
}

func notMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}

func (ss *session) largerThan(ctx context.Context, l *layout, bytes int64) (bool, error) {
	n, err := ss.scalar(ctx, "read the size of a table",
		"SELECT COALESCE(MAX(DATA_LENGTH), 0) AS answer FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?", l.Schema, l.Table)
	if err != nil {
		return false, err
	}
	size, err := strconv.ParseInt(n, 10, 64)
	return size > bytes, err
}

// within runs a statement of a snapshot and lets go of the table's metadata
// lock, which it would otherwise keep until the snapshot ends, with every ALTER
// TABLE and all that comes after one waiting for it.
func (ss *session) within(ctx context.Context, limit time.Duration, what, text string) ([]*row, error) {
	if err := ss.exec(ctx, closeLimit, "set a savepoint", "SAVEPOINT chunk"); err != nil {
		return nil, err
	}
	rows, err := ss.queryWithin(ctx, limit, what, text)
	if errors.Is(err, ErrHung) {
		err = fmt.Errorf("%w: %w", watchdog.ErrTooSlow, err)
	}
	if err != nil {
		return nil, err
	}
	return rows, ss.exec(ctx, closeLimit, "go back to a savepoint", "ROLLBACK TO SAVEPOINT chunk")
}

// nth is the key of the last row of the chunk after a key, nil where there are
// not so many rows.
func (ss *session) nth(ctx context.Context, l *layout, after watchdog.Key) (watchdog.Key, error) {
	from, err := l.where(after, nil)
	if err != nil {
		return nil, err
	}
	rows, err := ss.within(ctx, chunkLimit, "find the end of a chunk of "+l.String(),
		fmt.Sprintf("SELECT %s%s ORDER BY %s LIMIT %d, 1", l.keys(), from, l.ascending(), l.rows-1))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return l.keyOf(rows[0])
}

// sum reads one chunk. A sum of hashes is one of rows in any order, and two
// changes of the same kind do not cancel each other as they would in an XOR.
func (ss *session) sum(ctx context.Context, limit time.Duration, l *layout, after, upto watchdog.Key) (watchdog.Chunk, error) {
	c := watchdog.Chunk{TableName: l.TableName, After: after, Upto: upto, Shape: l.shape}
	from, err := l.where(after, upto)
	if err != nil {
		return c, err
	}
	rows, err := ss.within(ctx, limit, "read a chunk of "+l.String(), "SELECT COUNT(*) AS n, COALESCE(SUM("+l.hash+"), 0) AS total"+from)
	if err != nil {
		return c, err
	}
	c.Rows, c.Sum = int64(rows[0].int("n")), rows[0].text("total")
	return c, rows[0].err()
}

// somewhere is a key, or the first part of one, to begin a random chunk after:
// of numbers any between the first and the last; of other keys that of one of
// the first rows or of the last ones. Nil: the beginning.
func (ss *session) somewhere(ctx context.Context, l *layout) (watchdog.Key, error) {
	if len(l.key) == 0 {
		return nil, nil
	}
	first := identifier(l.key[0].name)
	if l.key[0].kind != keyNumber {
		return ss.end(ctx, l)
	}
	rows, err := ss.within(ctx, chunkLimit, "find the ends of "+l.String(),
		fmt.Sprintf("SELECT CAST(MIN(%s) AS CHAR) AS low, CAST(MAX(%s) AS CHAR) AS high%s", first, first, l.from()))
	if err != nil {
		return nil, err
	}
	low, ok := new(big.Int).SetString(whole(rows[0].text("low")), 10)
	high, also := new(big.Int).SetString(whole(rows[0].text("high")), 10)
	if !ok || !also || rows[0].err() != nil {
		return nil, rows[0].err()
	}
	// From below the first on, or its row could never be the first of a chunk.
	span := new(big.Int).Sub(high, low)
	at := new(big.Int).Mul(span, big.NewInt(rand.Int64N(1<<53))) //nolint:gosec // a sample, no secret
	return watchdog.Key{at.Rsh(at, 53).Add(at, low).Sub(at, big.NewInt(1)).String()}, nil
}

// whole is a decimal without its fraction.
func whole(text string) string {
	before, _, _ := strings.Cut(text, ".")
	return before
}

// end begins at the first rows or, as often, at the last.
func (ss *session) end(ctx context.Context, l *layout) (watchdog.Key, error) {
	if rand.IntN(2) == 0 { //nolint:gosec // a sample, no secret
		return nil, nil
	}
	descending := l.list(func(_ int, k keyColumn) string { return identifier(k.name) + " DESC" })
	rows, err := ss.within(ctx, chunkLimit, "find the last rows of "+l.String(),
		fmt.Sprintf("SELECT %s%s ORDER BY %s LIMIT %d, 1", l.keys(), l.from(), descending, l.rows))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return l.keyOf(rows[0])
}

// Sums reads the same chunks in a copy that nobody writes to.
func (s *Server) Sums(ctx context.Context, chunks []watchdog.Chunk) ([]watchdog.Chunk, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	defer ss.drop()
	if err := ss.mayCompare(ctx); err != nil {
		return nil, err
	}
	if err := ss.beginSnapshot(ctx); err != nil {
		return nil, err
	}
	var out []watchdog.Chunk
	var l *layout
	for _, c := range chunks {
		if l == nil || l.TableName != c.TableName {
			if l, err = ss.layoutOf(ctx, c.TableName); err != nil && !missing(err) {
				return nil, err
			}
		}
		own := watchdog.Chunk{TableName: c.TableName, After: c.After, Upto: c.Upto, Rows: -1}
		switch {
		case l == nil: // no such table
		case l.shape != c.Shape:
			own.Rows, own.Shape = 0, l.shape // another table altogether, and perhaps without that key
		default:
			if own, err = ss.sum(ctx, copyLimit, l, c.After, c.Upto); err != nil {
				return nil, err
			}
		}
		out = append(out, own)
	}
	return out, nil
}
