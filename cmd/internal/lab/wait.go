package lab

import (
	"context"
	"fmt"
	"time"
)

// pace is how often a condition is looked at.
const pace = 200 * time.Millisecond

// WaitFor polls cond until it holds. seen is what cond saw, in a few words;
// the error of a wait that ended without success names it and what was
// waited for.
func WaitFor(ctx context.Context, within time.Duration, what string, cond func(context.Context) (ok bool, seen string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not within %s", within))
	defer cancel()
	for {
		ok, seen := cond(ctx)
		if ok {
			return nil
		}
		if err := pause(ctx, pace); err != nil {
			return fmt.Errorf("wait for %s: %w; last seen: %s", what, err, seen)
		}
	}
}
