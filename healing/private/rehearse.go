package private

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"resilver/watchdog/replica"
)

// shutdownTimeout is how long a rehearsal gets to shut down cleanly: it is
// small, and has little to flush.
const shutdownTimeout = 2 * time.Minute

// RehearseOptions is a staged copy and what it is held against.
type RehearseOptions struct {
	Options
	// Datadir is the staged copy, directly in Area, its owner already right.
	Datadir string
	// Connect opens this node's own account at the socket of a private server.
	Connect func(socket string) (*replica.Server, error)
	// Reported is the GTID set reported with the backup, empty for CLONE; a
	// copy of MariaDB is nothing without it.
	Reported string
	// Replicated says that the donor is a replica, and Reported its place in
	// the source's history.
	Replicated bool
	// DonorExecuted is what the donor had executed, read after the copy ended.
	DonorExecuted string
	// Compare, where it is set, holds the copy against the primary's data, and
	// may have it replicate to that end (Outward). What the copy has executed is
	// more then.
	Compare func(ctx context.Context, db *replica.Server) error
	// AnyEngine lets tables pass that the copy has brought over empty.
	AnyEngine bool
}

// Rehearsed is a copy that passed.
type Rehearsed struct {
	Executed string // its GTID set, as the rebuilt server will have it
	Restored bool   // that set had to be restored from the reported one
	Events   int    // events of the primary that were enabled
	// Scattered are the tablespaces that lie in the covers, by the paths that
	// the server has for them.
	Scattered []string
	// Persisted is what mysqld-auto.cnf said before the copy was closed.
	Persisted replica.Persisted
}

// Rehearse boots the staged copy sealed and makes it fit to be the live one:
// nothing of the donor's replication is left in it, its GTID state is right,
// the primary's events are disabled, it will start closed, and this node's own
// account can log in. It is shut down cleanly and on disk afterwards. After an
// error the copy is of no use; no process of it is left.
func Rehearse(ctx context.Context, o RehearseOptions) (Rehearsed, error) {
	if o.Connect == nil {
		return Rehearsed{}, errors.New("rehearse: no way to connect")
	}
	s, err := Rehearsal(ctx, o.Options, o.Datadir)
	if err != nil {
		return Rehearsed{}, fmt.Errorf("rehearse: %w", err)
	}
	out, err := o.dress(ctx, s)
	if err != nil {
		return Rehearsed{}, errors.Join(fmt.Errorf("rehearse: %w", err), s.Kill())
	}
	down, cancel := context.WithTimeoutCause(ctx, shutdownTimeout, fmt.Errorf("not down within %s", shutdownTimeout))
	defer cancel()
	if err := s.Shutdown(down); err != nil {
		return Rehearsed{}, fmt.Errorf("rehearse: %w", err)
	}
	if err := syncFS(o.Datadir); err != nil {
		return Rehearsed{}, fmt.Errorf("rehearse: %w", err)
	}
	return out, nil
}

// dress does to the booted copy what must be done before it is trusted.
func (o *RehearseOptions) dress(ctx context.Context, s *Server) (Rehearsed, error) {
	db, err := o.Connect(s.Socket())
	if err != nil {
		return Rehearsed{}, fmt.Errorf("connect to the copy: %w", err)
	}
	defer func() { _ = db.Disconnect() }()
	executed, err := db.Executed(ctx)
	if errors.Is(err, replica.ErrDenied) {
		return Rehearsed{}, fmt.Errorf("this node's own account is refused by the copy, which has the donor's accounts: %w", err)
	}
	if err != nil {
		return Rehearsed{}, err
	}
	if err := o.startsClosed(ctx, db); err != nil {
		return Rehearsed{}, err
	}
	if err := o.detach(ctx, db); err != nil {
		return Rehearsed{}, err
	}
	var out Rehearsed
	if out.Scattered, err = o.whole(ctx, db); err != nil {
		return Rehearsed{}, err
	}
	if out.Events, err = db.DisableEvents(ctx); err != nil {
		return Rehearsed{}, err
	}
	if executed, out.Restored, err = o.gtids(ctx, db, executed); err != nil {
		return Rehearsed{}, err
	}
	if out.Persisted, err = db.PersistClosed(ctx); err != nil {
		return Rehearsed{}, err
	}
	out.Executed, err = unchanged(ctx, db, executed)
	if err == nil && o.Compare != nil {
		err = o.compare(ctx, s, db, &out)
	}
	return out, err
}

// compare does once more what has to be done to a copy that has replicated.
func (o *RehearseOptions) compare(ctx context.Context, s *Server, db *replica.Server, out *Rehearsed) error {
	if err := s.during(ctx, func(ctx context.Context) error { return o.Compare(ctx, db) }); err != nil {
		return err
	}
	if err := o.detach(ctx, db); err != nil {
		return err
	}
	more, err := db.DisableEvents(ctx)
	if err != nil {
		return err
	}
	out.Events += more
	if out.Scattered, err = o.whole(ctx, db); err != nil {
		return err
	}
	before := out.Executed
	if out.Executed, err = db.Executed(ctx); err != nil {
		return err
	}
	lost, err := db.GTIDSubtract(ctx, before, out.Executed)
	if err == nil && lost != "" {
		err = fmt.Errorf("the copy has lost %s in the comparison", lost)
	}
	return err
}

// whole looks into the copy for tables that it has brought over empty, and for
// tablespaces outside it, which can be in covers only: what the donor and the
// primary held was asked before it was taken.
func (o *RehearseOptions) whole(ctx context.Context, db *replica.Server) (scattered []string, err error) {
	held, err := db.MayHold(ctx)
	if err == nil && len(held.Engines) > 0 && !o.AnyEngine {
		err = fmt.Errorf("the copy has tables that came over empty: %s: make them InnoDB, or say --override engines", strings.Join(held.Engines, ", "))
	}
	if err != nil {
		return nil, err
	}
	for _, path := range held.Scattered {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil || !slices.ContainsFunc(o.Covers, func(c Cover) bool { return dir == c.Over }) {
			return nil, fmt.Errorf("the copy has a tablespace at a path of its own that was not there when the rebuild began: %s", path)
		}
	}
	return held.Scattered, nil
}

// gtids restores the GTID state where that is needed, and returns the set that
// the copy has then.
func (o *RehearseOptions) gtids(ctx context.Context, db *replica.Server, executed string) (set string, restored bool, err error) {
	if engineOf(o.Paths).restores {
		set, err = o.position(ctx, db, executed)
		restored = true
	} else {
		set = o.Reported
		restored, err = GTIDRule(ctx, GTIDSets{Executed: executed, Reported: o.Reported, Donor: o.DonorExecuted}, db.GTIDSubset)
	}
	if err != nil || !restored {
		return executed, false, err
	}
	if err := db.RestoreGTIDs(ctx, set); err != nil {
		return "", false, err
	}
	set, err = db.Executed(ctx)
	return set, true, err
}

// position is the set that a copy of MariaDB gets: its position, and what of
// the donor's history lies before that.
func (o *RehearseOptions) position(ctx context.Context, db *replica.Server, executed string) (string, error) {
	sets := GTIDSets{Executed: executed, Reported: o.Reported, Replicated: o.Replicated, Donor: o.DonorExecuted}
	at, err := PositionRule(ctx, sets, db.GTIDSubset)
	if err != nil {
		return "", err
	}
	if at != o.Reported {
		o.Logger.Info("the copy is ahead of the position that was reported", "position", at, "reported", o.Reported)
	}
	return db.GTIDPast(ctx, at, o.DonorExecuted)
}

// startsClosed wants the option files, as they are now, to say that the copy
// comes up closed to writers, where nothing else can. The live server only
// knows what they said when it was started.
func (o *RehearseOptions) startsClosed(ctx context.Context, db *replica.Server) error {
	if !engineOf(o.Paths).byFilesAlone {
		return nil
	}
	why, err := db.StartsReadOnly(ctx)
	if err != nil {
		return err
	}
	if why != "" {
		return fmt.Errorf("the copy would come up open to writers: %s", why)
	}
	return nil
}

// detach removes what the donor's copy knows of its own source.
func (o *RehearseOptions) detach(ctx context.Context, db *replica.Server) error {
	if err := db.ResetSource(ctx); err != nil {
		return err
	}
	_, err := db.SourceConfig(ctx)
	switch {
	case errors.Is(err, replica.ErrNotReplica):
		return nil
	case err == nil:
		return errors.New("the donor's source configuration is still there after a reset")
	}
	return err
}

// unchanged reads the copy's set again: nothing that was done may have made a
// transaction of its own.
func unchanged(ctx context.Context, db *replica.Server, want string) (string, error) {
	now, err := db.Executed(ctx)
	if err != nil {
		return "", err
	}
	for _, pair := range [][2]string{{now, want}, {want, now}} {
		ok, err := db.GTIDSubset(ctx, pair[0], pair[1])
		if err != nil {
			return "", err
		}
		if !ok {
			return "", fmt.Errorf("the copy's gtid_executed changed in the rehearsal: it was %s and is %s", want, now)
		}
	}
	return now, nil
}

// syncFS writes the file system of dir to disk: the files that CLONE or a
// backup tool made were never synced by anybody.
func syncFS(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("sync the copy: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the copy: %w", err)
	}
	return nil
}
