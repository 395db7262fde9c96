package replica

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// GTID sets are compared by a server, never by their text: there are tagged
// ones, and more than one way to write the same set.

// GTIDSubtract returns what is in a and not in b.
func (s *Server) GTIDSubtract(ctx context.Context, a, b string) (string, error) {
	return s.gtidFunction(ctx, "subtract gtid sets", "SELECT GTID_SUBTRACT(?, ?) AS answer", a, b)
}

// GTIDUnion returns what is in a or in b. The server has no function for it,
// but reads "a,b" as the union, and subtracting nothing makes it write that
// as one set.
func (s *Server) GTIDUnion(ctx context.Context, a, b string) (string, error) {
	if a != "" && b != "" {
		a += ","
	}
	return s.gtidFunction(ctx, "unite gtid sets", "SELECT GTID_SUBTRACT(?, ?) AS answer", a+b, "")
}

// GTIDSubset says that all of a is in b.
func (s *Server) GTIDSubset(ctx context.Context, a, b string) (bool, error) {
	answer, err := s.gtidFunction(ctx, "compare gtid sets", "SELECT GTID_SUBSET(?, ?) AS answer", a, b)
	if err != nil {
		return false, err
	}
	if answer != "0" && answer != "1" {
		return false, fmt.Errorf("compare gtid sets: the server answered %q", answer)
	}
	return answer == "1", nil
}

func (s *Server) gtidFunction(ctx context.Context, what, text, a, b string) (string, error) {
	a, b = oneLine(a), oneLine(b)
	for _, set := range []string{a, b} {
		if err := wholeSet(set); err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
	}
	return s.scalar(ctx, what, text, a, b)
}

// A set is source:interval:…:tag:interval:… joined by commas.
var (
	gtidSource   = regexp.MustCompile(`^[0-9a-fA-F-]{32,36}$`)
	gtidInterval = regexp.MustCompile(`^[0-9]+(-[0-9]+)?$`)
	gtidTag      = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,31}$`)
)

// wholeSet refuses a set that was cut off. The server would read a source
// without a number as nothing (seen on 9.7), and nothing is part of any set.
func wholeSet(set string) error {
	if set == "" {
		return nil
	}
	for _, of := range strings.Split(set, ",") {
		source, rest, _ := strings.Cut(of, ":")
		ok, open := gtidSource.MatchString(source), false // open: a tag waits for its numbers
		for _, p := range strings.Split(rest, ":") {
			tag := gtidTag.MatchString(p)
			ok = ok && (gtidInterval.MatchString(p) || tag && !open)
			open = tag
		}
		if !ok || open {
			return fmt.Errorf("%q is not a gtid set", set)
		}
	}
	return nil
}

// Executed is the set of all transactions this server has applied.
func (s *Server) Executed(ctx context.Context) (string, error) {
	return s.scalar(ctx, "read gtid_executed", "SELECT @@GLOBAL.gtid_executed AS answer")
}

// Purged is the part of Executed that is in no binary log of this server.
func (s *Server) Purged(ctx context.Context) (string, error) {
	return s.scalar(ctx, "read gtid_purged", "SELECT @@GLOBAL.gtid_purged AS answer")
}

// Retrieved is what this server has received from its sources, applied or
// not. Empty is an answer: no source, or nothing received since the relay
// logs began.
func (s *Server) Retrieved(ctx context.Context) (string, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return "", err
	}
	defer ss.close()
	rows, err := ss.query(ctx, "read replica status", "SHOW REPLICA STATUS")
	if err != nil {
		return "", err
	}
	all := ""
	for _, r := range rows {
		set := r.gtids("Retrieved_Gtid_Set")
		if err := r.err(); err != nil {
			return "", fmt.Errorf("read replica status: %w", err)
		}
		if all != "" && set != "" {
			all += ","
		}
		all += set
	}
	return all, nil
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
	if err := wholeSet(set); err != nil { // a malformed set must not cost the logs
		return fmt.Errorf("restore gtids: %w", err)
	}
	if err := ss.exec(ctx, slowLimit, "reset binary logs and gtids", ss.version.resetGTIDs); err != nil {
		return err
	}
	if err := ss.exec(ctx, slowLimit, "set gtid_purged", "SET GLOBAL gtid_purged = ?", set); err != nil {
		return err
	}
	r, err := ss.one(ctx, "check gtid_executed", `SELECT GTID_SUBSET(@@GLOBAL.gtid_executed, ?)
		AND GTID_SUBSET(?, @@GLOBAL.gtid_executed) AS same`, set, set)
	if err != nil {
		return err
	}
	if !r.yes("same") {
		return errors.New("restore gtids: the executed set is not the one that was set")
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
func (s *Server) scalar(ctx context.Context, what, text string, args ...any) (string, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return "", err
	}
	defer ss.close()
	r, err := ss.one(ctx, what, text, args...)
	if err != nil {
		return "", err
	}
	if r.null("answer") {
		return "", fmt.Errorf("%s: the server answered NULL", what)
	}
	return r.gtids("answer"), nil
}
