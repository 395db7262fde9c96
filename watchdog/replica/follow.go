package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resilver/watchdog"
)

// followPause is how often a replica on its way to a position is looked at.
const followPause = 50 * time.Millisecond

// PrepareToFollow configures a private server to replicate as c says, and starts
// nothing.
func (s *Server) PrepareToFollow(ctx context.Context, c SourceConfig) error {
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	if err := ss.mustBePrivate(ctx); err != nil {
		return fmt.Errorf("follow the source: %w", err)
	}
	return ss.configure(ctx, c)
}

// FollowTo has a private server replicate exactly to a position of its source,
// a set that it has executed a part of, and returns once it stands there. It
// gives up after stall without progress, with ErrStalled; a server that does not
// answer for a while makes none, and is asked again. An error of the applier is
// an *ApplierError.
func (s *Server) FollowTo(ctx context.Context, channel, position string, stall time.Duration) error {
	f := following{s: s, channel: channel, position: position}
	defer f.leave()
	last, at := "", time.Now()
	for {
		there, seen, err := f.look(ctx)
		switch {
		case errors.Is(err, ErrHung), errors.Is(err, ErrDown):
			f.leave()
			seen = err.Error()
		case err != nil || there:
			return err
		case seen != last:
			last, at = seen, time.Now()
		}
		if time.Since(at) > stall {
			return fmt.Errorf("follow the source: %w within %s: %s", ErrStalled, stall, seen)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followPause):
		}
	}
}

// following is a server on its way to a position.
type following struct {
	s                 *Server
	channel, position string
	ss                *session // nil: to be opened anew
	sent              bool     // on its way
}

// look says whether the server stands at its position, and where it was seen
// otherwise. It is sent there first.
func (f *following) look(ctx context.Context) (there bool, seen string, err error) {
	if f.ss == nil {
		if f.ss, err = f.s.session(ctx); err != nil {
			return false, "", err
		}
	}
	d := f.ss.version
	if !f.sent {
		if there, err = f.send(ctx); err != nil || there {
			return there, "", err
		}
	}
	stopped, seen, err := d.follows(ctx, f.ss)
	if err != nil || !stopped {
		return false, seen, err
	}
	if there, err = d.standsAt(ctx, f.ss, f.position); err == nil && !there {
		err = ErrPosition
	}
	return there, seen, err
}

// send starts a private server's threads, where it does not stand there
// already. To start them twice does nothing.
func (f *following) send(ctx context.Context) (there bool, err error) {
	if err := f.ss.mustBePrivate(ctx); err != nil {
		return false, fmt.Errorf("follow the source: %w", err)
	}
	d := f.ss.version
	if err := d.wholeSet(f.position); err != nil || f.position == "" {
		return false, errors.Join(fmt.Errorf("follow the source: %q is no position", f.position), err)
	}
	if there, err = d.standsAt(ctx, f.ss, f.position); err != nil || there {
		return there, err
	}
	err = f.ss.run(ctx, slowLimit, d.follow(f.channel, f.position)...)
	if errno(err) == 1254 { // ER_SLAVE_WAS_RUNNING, an error on MariaDB alone
		err = nil
	}
	f.sent = err == nil
	return false, err
}

// leave lets go of the session. One that is lost is closed elsewhere.
func (f *following) leave() {
	if f.ss != nil {
		f.ss.close()
	}
	f.ss = nil
}

// ErrStalled means that a server on its way to a position made no progress.
var ErrStalled = errors.New("no progress")

// ErrPosition means that a server that was to stop at a position did not.
var ErrPosition = errors.New("the copy did not stop exactly at the position it was to follow its source to")

// ApplierError is what kept a private server from following its source.
type ApplierError struct{ Reason string }

func (e *ApplierError) Error() string {
	return "the copy cannot follow the primary: " + e.Reason
}

// progressOf reads how far a thread that is on its way has come.
func progressOf(src watchdog.SourceStatus, executed string) (stopped bool, seen string, err error) {
	if src.Applier.Errno != 0 {
		return false, "", &ApplierError{fmt.Sprintf("error %d: %s", src.Applier.Errno, src.Applier.Message)}
	}
	if src.Receiver.Running != watchdog.ThreadRunning && src.Receiver.Errno != 0 {
		seen = fmt.Sprintf("receiver: error %d: %s", src.Receiver.Errno, src.Receiver.Message)
	} else {
		seen = src.Retrieved + " " + executed
	}
	return src.Applier.Running == watchdog.ThreadStopped, seen, nil
}

// follow starts the receiver once, and lets it run ahead.
func (d mySQL) follow(channel, position string) []statement {
	return []statement{
		{"start the receiver", "START REPLICA IO_THREAD FOR CHANNEL ?", []any{channel}},
		{"start the applier", "START REPLICA SQL_THREAD UNTIL SQL_AFTER_GTIDS = ? FOR CHANNEL ?", []any{position, channel}},
	}
}

func (d mySQL) follows(ctx context.Context, ss *session) (bool, string, error) {
	var obs watchdog.Observation
	if err := ss.observeSources(ctx, &obs); err != nil {
		return false, "", err
	}
	if len(obs.Sources) != 1 {
		return false, "", fmt.Errorf("follow the source: %d channels", len(obs.Sources))
	}
	executed, err := d.executed(ctx, ss)
	if err != nil {
		return false, "", err
	}
	return progressOf(obs.Sources[0], executed)
}

func (d mySQL) standsAt(ctx context.Context, ss *session, position string) (bool, error) {
	executed, err := d.executed(ctx, ss)
	if err != nil {
		return false, err
	}
	for _, pair := range [][2]string{{executed, position}, {position, executed}} {
		if ok, err := d.subset(ctx, ss, pair[0], pair[1]); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// follow: the source stops sending at the position, so both threads are
// started each time.
func (mariaDB) follow(channel, position string) []statement {
	return []statement{{"start replica", "START SLAVE ? UNTIL master_gtid_pos = ?", []any{channel, position}}}
}

func (d mariaDB) follows(ctx context.Context, ss *session) (bool, string, error) {
	var obs watchdog.Observation
	if err := d.observeSources(ctx, ss, &obs); err != nil {
		return false, "", err
	}
	if len(obs.Sources) != 1 {
		return false, "", fmt.Errorf("follow the source: %d connections", len(obs.Sources))
	}
	executed, err := d.executed(ctx, ss)
	if err != nil {
		return false, "", err
	}
	return progressOf(obs.Sources[0], executed)
}

// standsAt: in each domain of the position gtid_slave_pos is there. A domain
// that the source has no log of is not written to any more.
func (mariaDB) standsAt(ctx context.Context, ss *session, position string) (bool, error) {
	pos, err := ss.scalar(ctx, "read gtid_slave_pos", "SELECT @@GLOBAL.gtid_slave_pos AS answer")
	if err != nil {
		return false, err
	}
	want, err := parseGTIDs(position)
	if err != nil {
		return false, err
	}
	now, err := parseGTIDs(pos)
	if err != nil {
		return false, err
	}
	return now.at(want), nil
}
