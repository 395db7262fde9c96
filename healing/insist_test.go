package healing

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"resilver/watchdog/replica"
)

// One statement that hung costs neither copy nor new server; anything else is
// an answer, and a server that stays away is given up.
func TestInsist(t *testing.T) {
	r := &rebuild{h: &Healer{life: t.Context()}}
	hung := fmt.Errorf("read paths: %w", replica.ErrHung)
	other := errors.New("access denied")
	for name, test := range map[string]struct {
		answers  []error
		patience time.Duration
		want     error
	}{
		"slow once":      {[]error{hung, nil}, time.Minute, nil},
		"away, then not": {[]error{replica.ErrDown, hung, other, nil}, time.Minute, other},
		"no patience":    {[]error{hung, nil}, -time.Second, replica.ErrHung},
	} {
		asked := 0
		err := r.insist(t.Context(), test.patience, func() error { asked++; return test.answers[asked-1] })
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(other)
	if err := r.insist(ctx, time.Minute, func() error { return hung }); !errors.Is(err, other) {
		t.Errorf("given up: %v", err)
	}
}
