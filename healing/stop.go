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
	if err := r.subsets(ctx, r.subsetsNow); err != nil {
		return err
	}
	if err := r.unchanged(ctx); err != nil {
		return err
	}
	if err := r.closed.Check(ctx); err != nil {
		return err
	}
	// Every check has passed.
	r.h.o.Failpoint("stop.ending")
	return r.end(ctx)
}

// standing are the guards that must still hold when the copy is ready, maybe
// hours after preflight.
var standing = []string{"server", "role-known", "not-primary", "no-replicas-attached", "single-source", "asynchronous", "not-delayed",
	"not-systemic", "primary-alive", "keep-serving", "errant", "semi-sync", "service"}

// still asks the guards about everybody else once more, and finds the process
// anew: mysqld may have been restarted during the copy, or have died.
func (r *rebuild) still(ctx context.Context) (dead bool, err error) {
	facts, err := r.guards(ctx, func(g watchdog.Guard) bool { return slices.Contains(standing, g.ID) })
	if err != nil {
		return false, err
	}
	if r.process != nil {
		if err := r.process.Close(); err != nil {
			return false, err
		}
		r.process = nil
	}
	if facts.Down != nil {
		last, err := r.h.o.Known.Last()
		if err == nil {
			err = r.unmoved(last.Paths)
		}
		return true, err
	}
	var paths map[string]string
	err = r.insist(ctx, subsetPatience, func() error {
		paths, err = r.h.o.Server.Paths(ctx)
		return err
	})
	if err == nil {
		err = r.unmoved(paths)
	}
	if err == nil {
		r.process, err = r.h.identify(ctx, facts.Self, r.j.PIDFile)
	}
	return false, err
}

// unmoved says that the server's places are those that preflight saw: it may
// have been restarted with others, and old logs must not meet the new data.
func (r *rebuild) unmoved(paths map[string]string) error {
	if what := moved(r.paths, paths); what != "" {
		return fmt.Errorf("%w: the server was restarted with another layout: %s", errCancelled, what)
	}
	return nil
}

// unchanged says that the server is what preflight saw: a replica of the same
// source, still broken, nobody attached to it, and the same primary, which
// says so itself.
func (r *rebuild) unchanged(ctx context.Context) error {
	obs := r.observe(ctx, subsetPatience)
	if !obs.Reachable {
		return fmt.Errorf("this node's mysqld does not answer: %s", obs.Err)
	}
	if err := r.same(obs); err != nil {
		return err
	}
	if err := r.stillBroken(obs); err != nil {
		return err
	}
	return r.samePrimary(ctx)
}

// same says that an observation is of the server that preflight saw.
func (r *rebuild) same(obs watchdog.Observation) error {
	src := obs.Source()
	switch {
	case src == nil:
		return fmt.Errorf("this node has %d sources, it had one: was it promoted?", len(obs.Sources))
	case src.Host != r.j.Source.Host || src.Port != r.j.Source.Port:
		return fmt.Errorf("its source is %s, it was %s:%d", src.Address(), r.j.Source.Host, r.j.Source.Port)
	case obs.ServerUUID != r.j.UUID:
		return errors.New("another server answers on its socket")
	case obs.Writable():
		return errors.New("it is writable: was it promoted?")
	case len(obs.Attached) > 0 && !r.overridden("no-replicas-attached"):
		return fmt.Errorf("%d replicas are attached to it", len(obs.Attached))
	}
	return nil
}

// stillBroken gives up where the replica has healed by itself meanwhile. What a
// person asked for is done all the same, unless it was for a server that was
// down.
func (r *rebuild) stillBroken(obs watchdog.Observation) error {
	src := obs.Source()
	person := r.manual && r.j.Record.Cause.Class != watchdog.ClassUnreachable
	if !person && obs.Reachable && src != nil && src.Receiver.Running == watchdog.ThreadRunning && src.Applier.Running == watchdog.ThreadRunning {
		return fmt.Errorf("%w: its replication runs again", errCancelled)
	}
	return nil
}

// observe looks at the live server, again for a while where it does not
// answer: one hiccup is not a change.
func (r *rebuild) observe(ctx context.Context, patience time.Duration) watchdog.Observation {
	deadline := time.Now().Add(patience)
	for {
		obs := r.h.o.Server.Observe(ctx)
		if obs.Reachable || time.Now().After(deadline) || ctx.Err() != nil {
			return obs
		}
		select {
		case <-ctx.Done():
		case <-time.After(bootPause):
		}
	}
}

// samePrimary asks until there is an answer: no answer is no yes.
func (r *rebuild) samePrimary(ctx context.Context) error {
	deadline := time.Now().Add(guardPatience)
	for {
		err := r.askPrimary(ctx)
		if err == nil || errors.Is(err, errChanged) || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

var errChanged = errors.New("the cluster has changed")

// askPrimary: the view must still show this node as a replica of the primary
// that preflight saw, and that primary's own sidecar must find it writable.
func (r *rebuild) askPrimary(ctx context.Context) error {
	s := watchdog.RoleOf(r.h.o.Cluster.View(), r.h.o.Node, r.h.o.Policy.Fresh)
	switch {
	case s.Role == watchdog.RolePrimary:
		return fmt.Errorf("%w: this node is the primary: %s", errChanged, s.Why)
	case s.Role != watchdog.RoleReplica:
		return fmt.Errorf("its role is unknown: %s", s.Why)
	case len(watchdog.Followers(r.h.o.Cluster.View(), r.h.o.Node)) > 0 && !r.overridden("no-replicas-attached"):
		return fmt.Errorf("%w: other nodes are configured to follow this one", errChanged)
	case s.Primary != r.j.Primary:
		return fmt.Errorf("%w: the primary is %s, it was %s", errChanged, s.Primary, r.j.Primary)
	}
	state, err := r.h.primaryState(ctx, s.Primary)
	if err == nil && !state.Observation.Writable() {
		return fmt.Errorf("the primary %s is not writable", s.Primary)
	}
	return err
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
	deadline := time.Now().Add(subsetPatience)
	for {
		err := now(ctx)
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
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
	return r.rules(ctx, server, own, obs.ServerID, primary.Observation)
}

// rules are the three subset rules of stop.
func (r *rebuild) rules(ctx context.Context, sets arithmetic, own string, id uint32, primary watchdog.Observation) error {
	for _, rule := range []struct {
		broken string
		diff   func() (string, error)
	}{
		{"this node holds transactions that neither the copy nor the primary has", func() (string, error) {
			diff, err := sets.GTIDBeyond(ctx, own, id, primary)
			if err != nil {
				return "", err
			}
			return sets.GTIDSubtract(ctx, diff, r.j.Executed)
		}},
		{"the primary has purged logs that the copy would need", func() (string, error) {
			return sets.GTIDSubtract(ctx, primary.Purged, r.j.Executed)
		}},
		{"the copy has transactions that the primary does not have", func() (string, error) {
			return sets.GTIDBeyond(ctx, r.j.Executed, id, primary)
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
	if r.h.o.Shutdown {
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

// lock keeps any mysqld from opening either datadir.
func (r *rebuild) lock() error {
	for _, dir := range []string{r.j.Live.Path, r.j.Staged.Path} {
		unlock, err := datadir.LockSystemTablespace(dir)
		if err != nil {
			return errors.Join(err, r.unlockAll())
		}
		r.unlock = append(r.unlock, unlock)
	}
	return nil
}
