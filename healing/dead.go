package healing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"resilver/healing/binlog"
	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
)

// A server that is dead is rebuilt by what was seen of it while it ran (Last)
// and by what its logs hold, compared by a peer's server.

// bootPatience is how long a mysqld that runs and does not answer is waited
// for before it is given up for unknown: between two deaths it is on its way
// to the next one.
const bootPatience = 5 * time.Second

// down finds out whether a server that does not answer is dead, and takes what
// was last seen of it for the facts.
func (g *gathering) down() {
	last, err := g.h.known()
	d := &watchdog.Down{Since: last.Observation.At}
	g.f.Down = d
	switch {
	case g.f.Self.Trouble != watchdog.TroubleDown:
		err = errors.New(g.f.Self.Err)
	case err != nil:
	default:
		err = last.enough()
	}
	if err == nil {
		err = g.h.awaitDeath(g.ctx, &last, bootPatience)
	}
	d.Dead = watchdog.AnswerOf("", err)
	if err != nil {
		return
	}
	if d.Dead.Text = last.unfit(); d.Dead.Text != "" {
		return
	}
	_, tells := g.h.o.Service.(person)
	d.Untold = !tells
	g.last = &last
	self := last.Observation
	self.Reachable, self.Err, self.Trouble = false, g.f.Self.Err, g.f.Self.Trouble
	self.SemiSync = watchdog.SemiSync{} // it acknowledges nothing now
	g.f.Self = self
}

// enough says what of a dead server is not known.
func (l *Last) enough() error {
	switch {
	case l.Datadir == "":
		return errors.New("what it was is not known: no earlier look at it is kept in state_dir")
	case l.ReadAt.IsZero():
		return errors.New("too little of it was seen since it was started last: how it is run, and its paths")
	}
	dir, err := datadir.Inspect(l.Datadir)
	if err != nil {
		return err
	}
	if dir.Ino != l.Inode {
		return fmt.Errorf("%s is another directory than the one that it ran on", l.Datadir)
	}
	if err := hasSystem(service.HomeOf(l.Datadir, l.Paths)); err != nil {
		return err
	}
	if l.Observation.Flavor == "mysql" {
		if _, err := os.Lstat(filepath.Join(l.Datadir, "auto.cnf")); err != nil {
			return fmt.Errorf("the copy would get another server_uuid: %w", err)
		}
	}
	return nil
}

// unfit is what forbids to rebuild a server unseen.
func (l *Last) unfit() string {
	o := &l.Observation
	switch {
	case o.Writable():
		return "it was writable when it was last seen: was it the primary?"
	case l.Role == watchdog.RolePrimary:
		return "it was the primary when it was last seen"
	case o.Source() != nil && !l.sourceStands():
		return "its source configuration had changed when it was last seen, and was not read anew"
	}
	return ""
}

// awaitDeath returns nil once it is proven that nobody runs a server on the
// datadir: its manager says so, and neither lock nor socket nor pid file knows
// of one. A server that answers is an error, and so is one that goes on running
// without.
func (h *Healer) awaitDeath(ctx context.Context, last *Last, patience time.Duration) error {
	return until(ctx, patience, bootPause, func() (bool, error) {
		err := h.dead(ctx, last)
		return err == nil || errors.Is(err, errAlive), err
	})
}

// errAlive is a server that was dead and answers again.
var errAlive = errors.New("mysqld answers again")

func (h *Healer) dead(ctx context.Context, last *Last) error {
	status, err := h.o.Service.Status(ctx)
	if err != nil {
		return fmt.Errorf("whether it runs is not known, because its manager does not answer: %w", err)
	}
	if status.Running {
		if obs := h.o.Server.Observe(ctx); obs.Reachable {
			return errAlive
		}
		return fmt.Errorf("its manager runs it (process %d, died %d times before)", status.PID, status.Deaths)
	}
	p, err := service.FindProcess(ctx, service.Identify{Datadir: last.Datadir, Home: service.HomeOf(last.Datadir, last.Paths), Socket: h.o.Socket, PIDFile: last.Paths["pid_file"]})
	if err == nil {
		pid := p.PID
		return errors.Join(fmt.Errorf("process %d runs it, and its manager does not know of it", pid), p.Close())
	}
	if !errors.Is(err, service.ErrNotRunning) {
		return err
	}
	return nil
}

// logsTimeout is how long reading the logs of a dead server may take: a tool
// reads some 100 MB a second, and one file has at most 1 GiB by default.
const logsTimeout = 2 * time.Minute

// longReadOnly is how long a server must have been seen read-only to be
// believed to have been so until its end.
const longReadOnly = time.Minute

// atRest is what a dead server has executed, and all that it holds: the sets
// as they were last seen, completed from its logs. What its logs do not tell
// was not written by anybody where it was read-only all the time.
func (h *Healer) atRest(ctx context.Context, last *Last, sets arithmetic) (executed, held string, err error) {
	if last.bare {
		return "", "", nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, logsTimeout, fmt.Errorf("not done within %s", logsTimeout))
	defer cancel()
	seen, o := last.Observation, last.Observation
	executed = seen.Executed
	dir, err := datadir.Inspect(last.Datadir)
	if err != nil {
		return "", "", err
	}
	logs, err := binlog.New(binlog.Options{Flavor: o.Flavor, Server: last.Program.Prefix, Dirs: h.o.ToolDirs, UID: dir.UID, GID: dir.GID})
	if err != nil {
		return "", "", err
	}
	if o.LogBin {
		since, err := logs.GTIDs(ctx, binlog.LogsOf(last.Datadir, last.Paths, "log_bin", false))
		if err == nil {
			executed, err = sets.GTIDUnion(ctx, executed, since)
		}
		if err != nil {
			return "", "", fmt.Errorf("what it executed since it was last seen: %w", err)
		}
	}
	if all := o.LogBin && o.LogUpdates; !all && !last.longReadOnly() {
		return "", "", errors.New("what it executed since it was last seen is in no binary log, and it was not seen read-only without interruption")
	}
	seen.Executed = executed
	if held, err = heldBy(ctx, sets, seen); err != nil {
		return "", "", err
	}
	channels, err := binlog.Channels(binlog.LogsOf(last.Datadir, last.Paths, "relay_log", true))
	if err != nil {
		return "", "", fmt.Errorf("what it has received: %w", err)
	}
	if len(channels) == 0 {
		return "", "", errors.New("what it has received: its relay logs are not there")
	}
	for _, channel := range channels {
		received, err := logs.GTIDs(ctx, channel)
		if err == nil {
			held, err = sets.GTIDUnion(ctx, held, received)
		}
		if err != nil {
			return "", "", fmt.Errorf("what it has received: %w", err)
		}
	}
	return executed, held, nil
}

// longReadOnly says that every look for long enough found it read-only.
func (l *Last) longReadOnly() bool {
	return !l.ReadOnlySince.IsZero() && l.Observation.At.Sub(l.ReadOnlySince.Time) >= longReadOnly
}
