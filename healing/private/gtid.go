package private

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// SubsetFunc asks a server whether all of a is in b.
type SubsetFunc func(ctx context.Context, a, b string) (bool, error)

// GTIDSets are what the GTID rule weighs.
type GTIDSets struct {
	Executed string // in the copy, as booted
	Reported string // with the backup; empty: the method reports none
	// Replicated says that the donor of a copy of MariaDB is a replica, and
	// Reported what it had applied of its source.
	Replicated bool
	Donor      string // what the donor had executed, read after the copy ended
}

// GTIDRule says whether the copy's GTID state must be restored to the set
// reported with the backup (true), or is right as it is (false). An error
// means that the copy is not one of the donor's past.
func GTIDRule(ctx context.Context, s GTIDSets, subset SubsetFunc) (bool, error) {
	if s.Executed == "" && s.Reported == "" {
		return false, errors.New("gtid rule: the copy has executed nothing: it is empty")
	}
	if s.Reported != "" {
		below, err := subset(ctx, s.Executed, s.Reported)
		if err != nil {
			return false, fmt.Errorf("gtid rule: %w", err)
		}
		above, err := subset(ctx, s.Reported, s.Executed)
		if err != nil {
			return false, fmt.Errorf("gtid rule: %w", err)
		}
		switch {
		case below && above:
			return false, nil
		case below:
			return true, nil
		case !above:
			return false, fmt.Errorf("gtid rule: the copy has executed %s, the backup reported %s: neither holds the other", s.Executed, s.Reported)
		}
	}
	if s.Donor == "" {
		return false, errors.New("gtid rule: what the donor had executed is not known")
	}
	return false, withinDonor(ctx, "the copy has executed", s.Executed, s.Donor, subset)
}

// PositionRule is the position that a copy of MariaDB is at: the one reported
// with it, if the donor has executed it, and nothing in the copy is behind it
// in its domain. What a primary's copy says of its position is of no use: the
// table is empty or old.
//
// A replica's table is written by the very transactions that the copy holds,
// and the tool asks the server's memory, which follows a moment after a commit
// that it waited for (seen on 10.11 under load: one transaction behind). There
// the table counts where it is ahead, as far as the donor has it; a table that
// is behind is that of a copy which lacks transactions.
func PositionRule(ctx context.Context, s GTIDSets, subset SubsetFunc) (string, error) {
	switch {
	case s.Reported == "":
		return "", errors.New("gtid rule: no position was reported with the copy")
	case s.Donor == "":
		return "", errors.New("gtid rule: what the donor had executed is not known")
	}
	if err := withinDonor(ctx, "the backup reported", s.Reported, s.Donor, subset); err != nil {
		return "", err
	}
	reported, err := lastOfDomains(s.Reported)
	if err != nil {
		return "", err
	}
	executed, err := lastOfDomains(s.Executed)
	switch {
	case err != nil:
		return "", err
	case s.Replicated && !holds(executed, reported):
		return "", fmt.Errorf("gtid rule: the copy has executed %s, which is behind the reported %s", s.Executed, s.Reported)
	case holds(reported, executed):
		return s.Reported, nil
	case !s.Replicated:
		return "", fmt.Errorf("gtid rule: the copy has executed %s, which is not within the reported %s", s.Executed, s.Reported)
	}
	return s.Executed, withinDonor(ctx, "the copy has executed", s.Executed, s.Donor, subset)
}

// withinDonor wants a set to be part of what the donor has executed.
func withinDonor(ctx context.Context, what, set, donor string, subset SubsetFunc) error {
	known, err := subset(ctx, set, donor)
	if err != nil {
		return fmt.Errorf("gtid rule: %w", err)
	}
	if !known {
		return fmt.Errorf("gtid rule: %s %s, which is more than the donor's %s", what, set, donor)
	}
	return nil
}

// holds says that in no domain is b ahead of a.
func holds(a, b map[uint32]uint64) bool {
	for domain, n := range b {
		if at, ok := a[domain]; !ok || n > at {
			return false
		}
	}
	return true
}

// lastOfDomains is the largest sequence number of each domain in a list of
// domain-server-sequence.
func lastOfDomains(set string) (map[uint32]uint64, error) {
	out := map[uint32]uint64{}
	for one := range strings.SplitSeq(set, ",") {
		if set == "" {
			break
		}
		var domain, server uint32
		var n uint64
		if _, err := fmt.Sscanf(one, "%d-%d-%d", &domain, &server, &n); err != nil || fmt.Sprintf("%d-%d-%d", domain, server, n) != one {
			return nil, fmt.Errorf("gtid rule: %q is not a position", set)
		}
		out[domain] = max(out[domain], n)
	}
	return out, nil
}
