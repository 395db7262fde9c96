package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Start lifts the hold, starts the sockets that were stopped with the server,
// and the server. Whether it came is read from the unit, because the job of a
// start that the guard (ExecCondition) refused succeeds; that is ErrRefused.
func (s *Systemd) Start(ctx context.Context) error {
	err := s.with(ctx, startTimeout, func(ctx context.Context, c *dbus.Conn) error {
		u, err := unitOf(ctx, c, s.o.Unit)
		if err != nil {
			return err
		}
		if u.running() && u.active != stateDeactivating {
			// No socket can be started beside it: they wait for its next start.
			return Release(s.o.HoldFile)
		}
		stopped, err := liftHold(s.o.HoldFile)
		if err != nil {
			return err
		}
		if u.load != loadLoaded {
			return fmt.Errorf("%s is %s", u.id, u.load)
		}
		s.startTriggers(ctx, c, u, stopped)
		return startUnit(ctx, c, u)
	})
	if err != nil {
		return fmt.Errorf("start mysqld: %w", err)
	}
	return nil
}

// startTriggers starts the sockets before the server: systemd does not start a
// socket whose service runs. The server comes without them, too. Once stopped,
// one that is not enabled is forgotten, and no longer among the unit's own.
func (s *Systemd) startTriggers(ctx context.Context, c *dbus.Conn, u unit, stopped []string) {
	names := append(slices.Clone(u.triggers), stopped...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		t, err := unitOf(ctx, c, name)
		// Connections that met a refusing guard make a socket fail for good.
		tired := err == nil && t.active == stateFailed && t.result == resultStartLimit
		if err == nil && !tired && !contains(stopped, t.names) {
			continue
		}
		if err == nil {
			err = resetFailed(ctx, c, t.id)
		}
		if err == nil {
			ended := make(chan string, 1)
			if _, err = c.StartUnitContext(ctx, t.id, "replace", ended); err == nil {
				_, err = waitJob(ctx, c, t.id, ended)
			}
		}
		if err != nil {
			s.o.Logger.Warn("not started again", "unit", name, "error", err)
		}
	}
}

// startUnit returns when the process exists.
func startUnit(ctx context.Context, c *dbus.Conn, before unit) error {
	// A unit that was killed is failed, and one that was started often has met
	// its limit: this forgets both.
	if err := resetFailed(ctx, c, before.id); err != nil {
		return err
	}
	ended := make(chan string, 1)
	if _, err := c.StartUnitContext(ctx, before.id, "replace", ended); err != nil {
		return err
	}
	tick := time.NewTicker(jobPause)
	defer tick.Stop()
	result := ""
	for {
		u, err := unitOf(ctx, c, before.id)
		if err != nil {
			return err
		}
		switch {
		case u.running() && u.active != stateDeactivating, u.lastPID != 0 && u.begun > before.begun:
			return nil
		case result != "":
			return u.notStarted(result)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is %s: %w", u.id, u, ctx.Err())
		case result = <-ended:
		case <-tick.C:
		}
	}
}
