package replica

import (
	"context"
	"errors"
	"fmt"

	"resilver/watchdog"
)

// GTID sets are opaque outside this package, and of the flavour of the server
// that wrote them. MySQL's are counted by a server; MariaDB has no functions
// for it, so its are counted here (mariadb_gtid.go).

// GTIDSubtract returns what is in a and not in b.
func (s *Server) GTIDSubtract(ctx context.Context, a, b string) (string, error) {
	return in(ctx, s, func(ss *session) (string, error) { return ss.subtract(ctx, a, b) })
}

// subtract refuses what is not a whole set before it is counted.
func (ss *session) subtract(ctx context.Context, a, b string) (string, error) {
	a, b, err := ss.sets("subtract gtid sets", a, b)
	if err != nil {
		return "", err
	}
	return ss.version.subtract(ctx, ss, a, b)
}

// GTIDUnion returns what is in a or in b.
func (s *Server) GTIDUnion(ctx context.Context, a, b string) (string, error) {
	return in(ctx, s, func(ss *session) (string, error) {
		a, b, err := ss.sets("unite gtid sets", a, b)
		if err != nil {
			return "", err
		}
		return ss.version.unite(ctx, ss, a, b)
	})
}

// GTIDSubset says that all of a is in b.
func (s *Server) GTIDSubset(ctx context.Context, a, b string) (bool, error) {
	return in(ctx, s, func(ss *session) (bool, error) { return ss.subset(ctx, a, b) })
}

func (ss *session) subset(ctx context.Context, a, b string) (bool, error) {
	a, b, err := ss.sets("compare gtid sets", a, b)
	if err != nil {
		return false, err
	}
	return ss.version.subset(ctx, ss, a, b)
}

func (ss *session) sets(what, a, b string) (string, string, error) {
	a, b = oneLine(a), oneLine(b)
	for _, set := range []string{a, b} {
		if err := ss.version.wholeSet(set); err != nil {
			return "", "", named(what, err)
		}
	}
	return a, b, nil
}

// GTIDBeyond is the errant rule: what of set, held by the server with that
// server_id, is not in what primary has. On MySQL it is GTIDSubtract. On
// MariaDB a primary that was itself set up from a copy has nothing of servers
// that wrote only before that, other than the position it started from; see
// gtids.beyond.
func (s *Server) GTIDBeyond(ctx context.Context, set string, id uint32, primary watchdog.Observation) (string, error) {
	const what = "compare with the primary's gtid set"
	return in(ctx, s, func(ss *session) (string, error) {
		set, known, err := ss.sets(what, set, primary.Executed)
		if err == nil {
			primary.Executed = known
			err = ss.version.wholeSet(primary.Replicated)
		}
		if err != nil {
			return "", named(what, err)
		}
		return ss.version.beyond(ctx, ss, set, id, primary)
	})
}

// GTIDPast is the set of a copy that was taken at position from a server with
// that history (its executed set, read after the copy). MySQL's backups report
// all of it, and position is returned as it is. MariaDB's report only the last
// transaction of each domain; restoring no more would leave the rebuilt server
// without a word of those that other servers wrote before.
func (s *Server) GTIDPast(ctx context.Context, position, history string) (string, error) {
	const what = "extend the position of a copy"
	return in(ctx, s, func(ss *session) (string, error) {
		position, history, err := ss.sets(what, position, history)
		if err != nil {
			return "", err
		}
		out, err := ss.version.past(position, history)
		return out, named(what, err)
	})
}

// Executed is the set of all transactions this server has applied.
func (s *Server) Executed(ctx context.Context) (string, error) {
	return in(ctx, s, func(ss *session) (string, error) { return ss.version.executed(ctx, ss) })
}

// status reads the status of all channels.
func (ss *session) status(ctx context.Context) ([]*row, error) {
	return ss.query(ctx, "read replica status", ss.version.words().status)
}

// RestoreGTIDs makes set the executed set of a private server, and its purged
// set: its binary logs go. An empty set is refused.
func (s *Server) RestoreGTIDs(ctx context.Context, set string) error {
	if set = oneLine(set); set == "" {
		return errors.New("restore gtids: the set is empty")
	}
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	if err := ss.mustBePrivate(ctx); err != nil {
		return fmt.Errorf("restore gtids: %w", err)
	}
	if err := ss.version.wholeSet(set); err != nil { // a malformed set must not cost the logs
		return fmt.Errorf("restore gtids: %w", err)
	}
	if set, err = ss.version.restore(ctx, ss, set); err != nil {
		return err
	}
	now, err := ss.version.executed(ctx, ss)
	if err != nil {
		return err
	}
	for _, pair := range [][2]string{{now, set}, {set, now}} {
		same, err := ss.subset(ctx, pair[0], pair[1])
		if err != nil {
			return err
		}
		if !same {
			return errors.New("restore gtids: the executed set is not the one that was set")
		}
	}
	return nil
}

// mustBePrivate refuses a server that other machines could reach: what
// follows would be wrong on the live one.
func (ss *session) mustBePrivate(ctx context.Context) error {
	r, err := ss.one(ctx, "read skip_networking", "SELECT @@GLOBAL.skip_networking AS answer")
	if err != nil {
		return err
	}
	if !r.yes("answer") {
		return ErrNotPrivate
	}
	return nil
}

// scalar runs a query of one row with one column "answer".
func (ss *session) scalar(ctx context.Context, what, text string, args ...any) (string, error) {
	r, err := ss.one(ctx, what, text, args...)
	if err != nil {
		return "", err
	}
	if r.null("answer") {
		return "", fmt.Errorf("%s: the server answered NULL", what)
	}
	return r.gtids("answer"), named(what, r.err())
}
