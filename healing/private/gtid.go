package private

import (
	"context"
	"errors"
	"fmt"
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
