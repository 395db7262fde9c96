package replica

import (
	"context"
	"errors"
	"fmt"

	"resilver/watchdog"
)

// two reads two sets and gives them to count.
func two(a, b string, count func(a, b gtids) gtids) (string, error) {
	left, err := parseGTIDs(a)
	if err != nil {
		return "", err
	}
	right, err := parseGTIDs(b)
	if err != nil {
		return "", err
	}
	return count(left, right).String(), nil
}

func (mariaDB) wholeSet(set string) error {
	_, err := parseGTIDs(set)
	return err
}

func (mariaDB) subtract(_ context.Context, _ *session, a, b string) (string, error) {
	return two(a, b, gtids.minus)
}

func (mariaDB) unite(_ context.Context, _ *session, a, b string) (string, error) {
	return two(a, b, gtids.plus)
}

func (mariaDB) subset(_ context.Context, _ *session, a, b string) (bool, error) {
	rest, err := two(a, b, gtids.minus)
	return rest == "", err
}

func (mariaDB) past(position, history string) (string, error) {
	return two(position, history, gtids.past)
}

func (mariaDB) beyond(_ context.Context, _ *session, set string, id uint32, primary watchdog.Observation) (string, error) {
	replicated, err := parseGTIDs(primary.Replicated)
	if err != nil {
		return "", err
	}
	return two(set, primary.Executed, func(a, b gtids) gtids { return a.beyond(id, b, replicated) })
}

// executed: both variables hold a part of it.
func (mariaDB) executed(ctx context.Context, ss *session) (string, error) {
	const what = "read gtid_binlog_state and gtid_slave_pos"
	r, err := ss.one(ctx, what, "SELECT @@GLOBAL.gtid_binlog_state AS state, @@GLOBAL.gtid_slave_pos AS pos")
	if err != nil {
		return "", err
	}
	g, err := readGTIDs(r.gtids("state"), r.gtids("pos"))
	if err = named(what, errors.Join(r.err(), err)); err != nil {
		return "", err
	}
	return g.String(), nil
}

// purged is the position at the head of the oldest binary log, and what was
// replicated and never logged here.
func (d mariaDB) purged(ctx context.Context, ss *session, state, pos string, logs bool) (string, error) {
	const what = "read the position before the first binary log"
	logged, err := readGTIDs(state)
	if err != nil {
		return "", named(what, err)
	}
	replicated, err := readGTIDs(pos)
	if err != nil {
		return "", named(what, err)
	}
	head := ""
	if logs {
		if head, err = d.head(ctx, ss); err != nil {
			return "", err
		}
	}
	purged, err := readGTIDs(head)
	if err != nil {
		return "", named(what, err)
	}
	return purged.plus(replicated.minus(logged)).String(), nil
}

// head asks again where the log was purged between two statements.
func (mariaDB) head(ctx context.Context, ss *session) (string, error) {
	const what = "read the position before the first binary log"
	for range 3 {
		rows, err := ss.query(ctx, "list binary logs", "SHOW BINARY LOGS")
		if err != nil {
			return "", err
		}
		if len(rows) == 0 {
			return "", nil
		}
		r, err := ss.one(ctx, what, "SELECT BINLOG_GTID_POS(?, 4) AS pos", rows[0].text("Log_name"))
		if err = errors.Join(err, rows[0].err()); err != nil {
			return "", err
		}
		if !r.null("pos") {
			return r.gtids("pos"), named(what, r.err())
		}
	}
	return "", fmt.Errorf("%s: the server answered NULL", what)
}

// restore sets both halves of the set. With gtid_slave_pos alone a replica
// below this server, exactly at the position, is refused later (tried). A
// server without a binary log has no other half: there it is the position.
func (mariaDB) restore(ctx context.Context, ss *session, set string) (string, error) {
	g, err := parseGTIDs(set)
	if err != nil {
		return "", err
	}
	r, err := ss.one(ctx, "read log_bin", "SELECT @@GLOBAL.log_bin AS log_bin")
	if err != nil {
		return "", err
	}
	if r.yes("log_bin") {
		if err := ss.run(ctx, slowLimit, statement{what: "reset binary logs", text: "RESET MASTER"},
			statement{"set gtid_binlog_state", "SET GLOBAL gtid_binlog_state = ?", []any{g.state()}}); err != nil {
			return "", err
		}
	} else {
		g = g.position()
	}
	return g.String(), ss.run(ctx, slowLimit, statement{"set gtid_slave_pos", "SET GLOBAL gtid_slave_pos = ?", []any{g.position().String()}})
}
