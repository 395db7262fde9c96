package healing

import (
	"context"
	"time"
)

// wait waits, and fails with the cause where ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// until tries at its pace until a try is the last, or for as long as patience
// and ctx last, once at least; the error is that of the last try.
func until(ctx context.Context, patience, pace time.Duration, try func() (last bool, err error)) error {
	deadline := time.Now().Add(patience)
	for {
		last, err := try()
		if last || time.Now().After(deadline) || wait(ctx, pace) != nil {
			return err
		}
	}
}
