package replica

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"resilver/watchdog"
)

// GTID sets are compared by a server, never by their text: there are tagged
// ones, and more than one way to write the same set.

func (mySQL) subtract(ctx context.Context, ss *session, a, b string) (string, error) {
	return ss.scalar(ctx, "subtract gtid sets", "SELECT GTID_SUBTRACT(?, ?) AS answer", a, b)
}

// unite: the server has no function for it, but reads "a,b" as the union, and
// subtracting nothing makes it write that as one set.
func (mySQL) unite(ctx context.Context, ss *session, a, b string) (string, error) {
	if a != "" && b != "" {
		a += ","
	}
	return ss.scalar(ctx, "unite gtid sets", "SELECT GTID_SUBTRACT(?, ?) AS answer", a+b, "")
}

func (mySQL) subset(ctx context.Context, ss *session, a, b string) (bool, error) {
	answer, err := ss.scalar(ctx, "compare gtid sets", "SELECT GTID_SUBSET(?, ?) AS answer", a, b)
	if err != nil {
		return false, err
	}
	if answer != "0" && answer != "1" {
		return false, fmt.Errorf("compare gtid sets: the server answered %q", answer)
	}
	return answer == "1", nil
}

func (d mySQL) beyond(ctx context.Context, ss *session, set string, _ uint32, primary watchdog.Observation) (string, error) {
	return d.subtract(ctx, ss, set, primary.Executed)
}

func (mySQL) past(position, _ string) (string, error) { return position, nil }

// A set is source:interval:…:tag:interval:… joined by commas.
var (
	gtidSource   = regexp.MustCompile(`^[0-9a-fA-F-]{32,36}$`)
	gtidInterval = regexp.MustCompile(`^[0-9]+(-[0-9]+)?$`)
	gtidTag      = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,31}$`)
)

// wholeSet refuses a set that was cut off. The server would read a source
// without a number as nothing (seen on 9.7), and nothing is part of any set.
func (mySQL) wholeSet(set string) error {
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

func (mySQL) executed(ctx context.Context, ss *session) (string, error) {
	return ss.scalar(ctx, "read gtid_executed", "SELECT @@GLOBAL.gtid_executed AS answer")
}

func (d mySQL) restore(ctx context.Context, ss *session, set string) (string, error) {
	if err := ss.exec(ctx, slowLimit, "reset binary logs and gtids", d.resetGTIDs); err != nil {
		return "", err
	}
	return set, ss.exec(ctx, slowLimit, "set gtid_purged", "SET GLOBAL gtid_purged = ?", set)
}
