package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// SystemdOptions make a Systemd.
type SystemdOptions struct {
	// Unit is the server's service, by its name or an alias of it, as
	// mysql.service.
	Unit string
	// HoldFile says, to the start guard too, that mysqld is not to be started;
	// see HeldBy. It lies in the state directory.
	HoldFile string
	Logger   *slog.Logger
}

// Systemd is a mysqld that is a unit of the system's service manager. It needs
// the right to stop and start units, which root has.
//
// systemd cannot be told to leave a unit alone, so three things keep a held
// server down: a stop job that is pending while the process dies (no restart
// follows), the hold file that the unit's start guard reads, and the sockets
// that would start the unit again on the first connection, which are stopped
// with it.
type Systemd struct{ o SystemdOptions }

const (
	// startTimeout is how long a unit may take until the process exists: what
	// it requires, and its ExecStartPre, come first.
	startTimeout = 2 * time.Minute
	jobPause     = 20 * time.Millisecond
	// stopMode keeps others from taking the job back by starting the unit
	// while it is being stopped.
	stopMode = "replace-irreversibly"
)

var unitRule = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]+\.service$`)

// NewSystemd checks the options; it asks nobody.
func NewSystemd(o SystemdOptions) (*Systemd, error) {
	switch {
	case !unitRule.MatchString(o.Unit):
		return nil, fmt.Errorf("make service: %q is not the name of a service unit", o.Unit)
	case !filepath.IsAbs(o.HoldFile):
		return nil, errors.New("make service: the hold file's path is not absolute")
	case o.Logger == nil:
		return nil, errors.New("make service: no logger")
	}
	return &Systemd{o: o}, nil
}

// with runs do on a connection to systemd that lives for this call only.
func (s *Systemd) with(ctx context.Context, timeout time.Duration, do func(context.Context, *dbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := dbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer c.Close()
	return do(ctx, c)
}

// Status asks systemd.
func (s *Systemd) Status(ctx context.Context) (Status, error) {
	var st Status
	err := s.with(ctx, askTimeout, func(ctx context.Context, c *dbus.Conn) error {
		state, err := c.SystemStateContext(ctx)
		if err != nil {
			return err
		}
		if state.Value.Value() == "stopping" {
			return ErrGoingDown
		}
		u, err := unitOf(ctx, c, s.o.Unit)
		if err != nil {
			return err
		}
		held, err := HeldBy(s.o.HoldFile)
		if err != nil {
			return err
		}
		clock, err := monotonic()
		st = u.status(clock)
		st.Held = held
		return err
	})
	if err != nil {
		return Status{}, fmt.Errorf("ask systemd: %w", err)
	}
	return st, nil
}

// Hold writes the hold file, stops the sockets that would start the server,
// and ends a restart that is pending. A running server is left to End.
func (s *Systemd) Hold(ctx context.Context) error {
	err := s.with(ctx, askTimeout, func(ctx context.Context, c *dbus.Conn) error {
		u, err := s.hold(ctx, c)
		if err != nil || u.pid != 0 || u.down() {
			return err
		}
		// Between two starts, or on the way to the first: no server yet.
		wait, err := stopUnit(ctx, c, u.id)
		if err != nil {
			return err
		}
		return wait(ctx)
	})
	if err != nil {
		return fmt.Errorf("hold mysqld: %w", err)
	}
	return nil
}

// hold returns the unit as it was found after everything that could start it
// was shut off.
func (s *Systemd) hold(ctx context.Context, c *dbus.Conn) (unit, error) {
	u, err := unitOf(ctx, c, s.o.Unit)
	if err != nil {
		return u, err
	}
	active, err := activeOf(ctx, c, u.triggers)
	if err != nil {
		return u, err
	}
	if err := writeHold(s.o.HoldFile, active); err != nil {
		return u, err
	}
	for _, name := range active {
		s.o.Logger.Info("stopping what would start mysqld", "unit", name)
		wait, err := stopUnit(ctx, c, name)
		if err == nil {
			err = wait(ctx)
		}
		if err != nil {
			return u, err
		}
	}
	return unitOf(ctx, c, s.o.Unit)
}

// End ends p, if the unit runs it. To kill, it asks for the stop first and
// does not wait for it: while that job is pending no restart follows, whatever
// Restart= says; the kill then makes it short.
func (s *Systemd) End(ctx context.Context, p *Process, how How) error {
	err := s.with(ctx, endTimeout, func(ctx context.Context, c *dbus.Conn) error {
		if err := s.owns(ctx, c, p); err != nil {
			return err
		}
		u, err := s.hold(ctx, c)
		if err != nil {
			return err
		}
		// Once more: from here on nothing starts another one.
		if err := s.owns(ctx, c, p); err != nil {
			return err
		}
		wait, err := stopUnit(ctx, c, u.id)
		if err != nil {
			return err
		}
		if how == Kill {
			if err := c.KillUnitWithTarget(ctx, u.id, dbus.All, int32(unix.SIGKILL)); err != nil {
				s.o.Logger.Debug("unit not killed as a whole", "unit", u.id, "error", err)
			}
			if err := p.end(Kill); err != nil {
				return err
			}
		}
		if err := wait(ctx); err != nil {
			return err
		}
		if err := p.Gone(ctx); err != nil {
			return err
		}
		if u, err = unitOf(ctx, c, u.id); err != nil {
			return err
		}
		if u.pid != 0 || !u.down() {
			return fmt.Errorf("process %d is gone, but %s is %s", p.PID, u.id, u)
		}
		return p.removeSockets(ctx)
	})
	if err != nil {
		return fmt.Errorf("end mysqld: %w", err)
	}
	return nil
}

// owns says that p is a process of the unit, or has ended and the unit runs
// no other.
func (s *Systemd) owns(ctx context.Context, c *dbus.Conn, p *Process) error {
	u, err := unitOf(ctx, c, s.o.Unit)
	if err != nil {
		return err
	}
	if err := p.signal(0); errors.Is(err, unix.ESRCH) {
		if u.pid != 0 && u.pid != p.PID {
			return fmt.Errorf("%w: asked to end process %d, %s runs process %d", ErrOtherProcess, p.PID, u.id, u.pid)
		}
		return nil
	}
	if u.pid == p.PID {
		return nil
	}
	// Not the main process: that may be a script around mysqld.
	name, err := c.GetUnitNameByPID(ctx, uint32(p.PID))
	if err != nil {
		return fmt.Errorf("%w: asked to end process %d, %s runs process %d: %w", ErrOtherProcess, p.PID, u.id, u.pid, err)
	}
	if name != u.id {
		return fmt.Errorf("%w: asked to end process %d, which belongs to %s and not to %s", ErrOtherProcess, p.PID, name, u.id)
	}
	return nil
}
