package healing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/service"
	"resilver/watchdog"
)

// subsetPatience is how long the GTID rules of stop are read again: sets that
// move on other nodes need a moment to fit.
const subsetPatience = 5 * time.Second

// stop closes the live server, looks once more, and only then ends it. Any
// difference to what preflight saw, and any statement that hangs, leads back:
// the closing is undone, and the server was never ended.
func (r *rebuild) stop(ctx context.Context) error {
	// What can be seen before is seen before: no node can be rebuilt while one
	// is critical.
	dead, err := r.still(ctx)
	if err != nil {
		return err
	}
	if err := r.lease.EnterCritical(ctx); err != nil {
		return fmt.Errorf("enter critical: %w", err)
	}
	if err := r.keepPassword(); err != nil {
		return err
	}
	if dead {
		return r.stopDead(ctx)
	}
	if err := r.unchanged(ctx); err != nil {
		return err
	}
	if err := r.close(ctx); err != nil {
		return err
	}
	r.h.o.Failpoint("stop.closed")
	if err := r.nothingLost(ctx, r.subsetsNow); err != nil {
		return err
	}
	if slices.ContainsFunc(r.j.Outside, func(o datadir.Outside) bool { return o.Scattered }) {
		// Until the closing one could still be made, or dropped.
		if err := r.claim(ctx); err != nil {
			return err
		}
	}
	if err := r.unchanged(ctx); err != nil {
		return err
	}
	if err := r.closed.Check(ctx); err != nil {
		return err
	}
	if err := r.note(func(j *Journal) { j.Leaves = &r.leaves }); err != nil {
		return err
	}
	// Every check has passed.
	r.h.o.Failpoint("stop.ending")
	return r.end(ctx)
}

// close shuts the live server to writers and clients; the start guard is on
// before anything else, and the journal knows how open it was.
func (r *rebuild) close(ctx context.Context) error {
	if err := datadir.Mark(r.j.Live.Path, "rebuild "+r.j.Record.ID); err != nil {
		return err
	}
	before, err := r.h.o.Server.Openness(ctx)
	if err != nil {
		return err
	}
	if !before.ReadOnly {
		return fmt.Errorf("%w: it has just become writable: was it promoted?", errChanged)
	}
	if err := r.note(func(j *Journal) { j.Closed, j.Away = &before, watchdog.StampOf(time.Now()) }); err != nil {
		return err
	}
	r.closed, err = r.h.o.Server.CloseToClients(ctx, before)
	return err
}

// subsets: nothing that this node holds may be lost by the swap, and the copy
// must fit the present primary. The primary is read last.
func (r *rebuild) subsets(ctx context.Context, now func(context.Context) error) error {
	return until(ctx, subsetPatience, 500*time.Millisecond, func() (bool, error) {
		err := now(ctx)
		return err == nil, err
	})
}

func (r *rebuild) subsetsNow(ctx context.Context) error {
	server := r.h.o.Server
	obs := server.Observe(ctx)
	if !obs.Reachable {
		return fmt.Errorf("this node's mysqld does not answer: %s", obs.Err)
	}
	own, err := heldBy(ctx, server, obs)
	if err != nil {
		return err
	}
	primary, err := r.h.primaryState(ctx, r.j.Primary)
	if err != nil {
		return err
	}
	r.trail = r.trailOf(obs, primary.Observation, server)
	r.leaves = datadir.Served{Executed: obs.Executed, UUID: obs.ServerUUID, Source: r.j.sourceAddress(), Version: obs.Version}
	return r.rules(ctx, server, own, obs.ServerID, primary.Observation)
}

// rules are the subset rules of stop. A copy of MariaDB from a replica is at the
// replica's place in its source's history, and says nothing of what the replica
// has written itself, which is in it all the same: there the donor's own set
// counts too.
func (r *rebuild) rules(ctx context.Context, sets arithmetic, own string, id uint32, primary watchdog.Observation) error {
	only, err := "", error(nil)
	if own != "" { // a server that was wiped holds nothing
		only, err = sets.GTIDBeyond(ctx, own, id, primary)
	}
	for _, kept := range []string{r.j.Executed, r.archived.GTIDs} {
		if err == nil {
			only, err = sets.GTIDSubtract(ctx, only, kept)
		}
	}
	if err == nil && only != "" {
		err = &onlyHereError{only}
	}
	if err != nil {
		return err
	}
	for _, rule := range []struct {
		broken string
		diff   func() (string, error)
	}{
		{"the primary has purged logs that " + r.j.incoming() + " would need", func() (string, error) {
			return sets.GTIDSubtract(ctx, primary.Purged, r.j.Executed)
		}},
		{"the copy has transactions that the primary does not have", func() (string, error) {
			if r.j.Old != "" {
				return "", nil // it had them before, and a person wants it as it was
			}
			return sets.GTIDBeyond(ctx, r.j.Executed, id, primary)
		}},
		{"the copy may have transactions of the donor that the primary does not have", func() (string, error) {
			if r.donated == "" {
				return "", nil
			}
			return sets.GTIDBeyond(ctx, r.donated, r.donor.ServerID, primary)
		}},
	} {
		diff, err := rule.diff()
		if err != nil {
			return err
		}
		if diff != "" {
			return fmt.Errorf("%s: %s", rule.broken, diff)
		}
	}
	return nil
}

// end kills or shuts down exactly the process that was identified, and locks
// both datadirs until right before start. A clean shutdown that does not come
// to its end is made short: it cannot be taken back.
func (r *rebuild) end(ctx context.Context) error {
	how := service.Kill
	if r.h.o.Shutdown && !r.wiping() {
		how = service.Shutdown
	}
	err := r.h.o.Service.End(ctx, r.process, how)
	if err != nil && !errors.Is(err, service.ErrOtherProcess) {
		r.log.Warn("mysqld has not ended yet, and is killed", "error", err)
		kill, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = r.h.o.Service.End(kill, r.process, service.Kill)
	}
	if err != nil {
		return err
	}
	r.closed.Release()
	r.closed = nil
	return r.lock()
}
