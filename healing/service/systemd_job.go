package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// stopUnit asks for the stop; wait returns when that job has ended.
func stopUnit(ctx context.Context, c *dbus.Conn, name string) (wait func(context.Context) error, err error) {
	ended := make(chan string, 1)
	if _, err := c.StopUnitContext(ctx, name, stopMode, ended); err != nil {
		return nil, fmt.Errorf("stop %s: %w", name, err)
	}
	return func(ctx context.Context) error {
		// Whatever the result: what counts is how the unit is afterwards.
		if _, err := waitJob(ctx, c, name, ended); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
		return nil
	}, nil
}

// waitJob waits for the end of a job of the unit; should the signal for it be
// lost, the unit says that it has none.
func waitJob(ctx context.Context, c *dbus.Conn, name string, ended <-chan string) (result string, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case result := <-ended:
			return result, nil
		case <-tick.C:
			if u, err := unitOf(ctx, c, name); err == nil && !u.job {
				return "", nil
			}
		}
	}
}

// resetFailed forgets failures and the count of starts; a unit that is not
// loaded has neither.
func resetFailed(ctx context.Context, c *dbus.Conn, name string) error {
	err := c.ResetFailedUnitContext(ctx, name)
	if err != nil && !strings.Contains(err.Error(), "not loaded") {
		return fmt.Errorf("reset %s: %w", name, err)
	}
	return nil
}
