package healing

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestUntil: it tries once at least, no longer than patience and context last,
// and never after the last try.
func TestUntil(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		patience, ends time.Duration
		last           int
		tries          int
		err            error
	}{
		"at once":      {0, time.Hour, 1, 1, nil},
		"the third":    {time.Minute, time.Hour, 3, 3, nil},
		"no patience":  {-1, time.Hour, 9, 1, no},
		"out of it":    {3500 * time.Millisecond, time.Hour, 9, 5, no},
		"given up":     {time.Minute, 1500 * time.Millisecond, 9, 2, no},
		"before it is": {time.Minute, 0, 9, 1, no},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.ends)
			defer cancel()
			tries := 0
			err := until(ctx, c.patience, time.Second, func() (bool, error) {
				if tries++; tries == c.last {
					return true, nil
				}
				return false, no
			})
			if tries != c.tries || !errors.Is(err, c.err) {
				t.Errorf("%s: %d tries, %v, want %d, %v", name, tries, err, c.tries, c.err)
			}
		})
	}
}
