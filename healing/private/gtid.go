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
	Donor    string // what the donor had executed, read after the copy ended
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
	known, err := subset(ctx, s.Executed, s.Donor)
	if err != nil {
		return false, fmt.Errorf("gtid rule: %w", err)
	}
	if !known {
		return false, fmt.Errorf("gtid rule: the copy has executed %s, which is more than the donor's %s", s.Executed, s.Donor)
	}
	return false, nil
}

// PositionRule says whether the position reported with a copy of MariaDB can be
// its own: the donor has executed it, and nothing in the copy is behind it in
// its domain. What the copy itself says of its position is of no use: at a
// primary the table is empty or old.
func PositionRule(ctx context.Context, s GTIDSets, subset SubsetFunc) error {
	switch {
	case s.Reported == "":
		return errors.New("gtid rule: no position was reported with the copy")
	case s.Donor == "":
		return errors.New("gtid rule: what the donor had executed is not known")
	}
	known, err := subset(ctx, s.Reported, s.Donor)
	if err != nil {
		return fmt.Errorf("gtid rule: %w", err)
	}
	if !known {
		return fmt.Errorf("gtid rule: the backup reported %s, which is more than the donor's %s", s.Reported, s.Donor)
	}
	reported, err := lastOfDomains(s.Reported)
	if err != nil {
		return err
	}
	executed, err := lastOfDomains(s.Executed)
	if err != nil {
		return err
	}
	for domain, n := range executed {
		if at, ok := reported[domain]; !ok || n > at {
			return fmt.Errorf("gtid rule: the copy has executed %s, which is not within the reported %s", s.Executed, s.Reported)
		}
	}
	return nil
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
