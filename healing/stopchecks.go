package healing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// standing are the guards that must still hold when the copy is ready, maybe
// hours after preflight.
var standing = []string{"server", "role-known", "not-primary", "no-replicas-attached", "single-source", "asynchronous", "not-delayed", "same-filters",
	"not-systemic", "primary-alive", "keep-serving", "errant", "semi-sync", "service"}

// stands says that a guard must hold once more before anything is closed. A
// rollback, whose preflight is a moment ago, wants all that it wanted then, but
// that a pause does not come too late for it; what is to be removed wants all.
func (r *rebuild) stands(g watchdog.Guard) bool {
	switch {
	case r.wiping():
		return true
	case r.j.Record.Rollback():
		return g.ID != "paused"
	}
	return slices.Contains(standing, g.ID)
}

// still asks the guards about everybody else once more, and finds the process
// anew: mysqld may have been restarted during the copy, or have died.
func (r *rebuild) still(ctx context.Context) (dead bool, err error) {
	facts, err := r.guards(ctx, r.stands)
	if err == nil {
		err = r.insist(ctx, subsetPatience, func() error { return r.stillConfigured(ctx, facts.Down != nil) })
	}
	if err == nil {
		err = r.stillLetIn(ctx, facts)
	}
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
		last, err := r.h.known()
		if err == nil {
			err = r.unmoved(last.Paths)
		}
		if err == nil {
			err = r.claim(ctx)
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
		err = r.claim(ctx)
	}
	if err == nil {
		r.process, err = r.h.identify(ctx, facts.Self, r.j.PIDFile, paths)
	}
	return false, err
}

// stillLetIn asks guard source-account again, of the very login that attach
// will use: whoever has changed it meanwhile, or whose server has died with
// what it had stored, does not change that.
func (r *rebuild) stillLetIn(ctx context.Context, facts watchdog.Facts) error {
	if r.j.Record.Rollback() {
		return nil // it attaches nothing: the old server has its own password
	}
	why, source := "", r.j.Source
	if facts.Down == nil {
		why = refusedReceiver(facts.Self)
	}
	if why == "" {
		source.Password = r.password
		why = r.h.refused(ctx, source, facts.Self, facts.Down != nil, true)
	}
	if why != "" {
		return fmt.Errorf("%w: guard source-account: %s", errCancelled, why)
	}
	return nil
}

// stillConfigured says that the replica's source is configured as preflight
// found it: attach would take back what a person has changed since. Of a dead
// server that is told by what was read last, without its password; MariaDB
// tells its password to nobody.
func (r *rebuild) stillConfigured(ctx context.Context, dead bool) error {
	if r.j.Record.Rollback() {
		return nil // it attaches nothing: the old server has its own source
	}
	var is replica.SourceConfig
	var err error
	if !dead {
		is, err = r.h.o.Server.SourceConfig(ctx)
	} else if last, e := r.h.known(); e != nil || last.Source == nil {
		err = errors.Join(e, replica.ErrNotReplica)
	} else {
		is = *last.Source
	}
	if err != nil {
		return fmt.Errorf("whether its replication was configured anew: %w", err)
	}
	if dead || r.facts.Down != nil {
		is.Password = r.set.Password
	}
	if changes := is.Changes(r.set); len(changes) > 0 {
		return fmt.Errorf("%w: its replication was configured anew: %s", errCancelled, strings.Join(changes, ", "))
	}
	return nil
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
	if err := r.stillConfigured(ctx, false); err != nil {
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
func (r *rebuild) observe(ctx context.Context, patience time.Duration) (obs watchdog.Observation) {
	_ = until(ctx, patience, bootPause, func() (bool, error) {
		obs = r.h.o.Server.Observe(ctx)
		return obs.Reachable, nil
	})
	return obs
}

// samePrimary asks until there is an answer: no answer is no yes.
func (r *rebuild) samePrimary(ctx context.Context) error {
	return until(ctx, guardPatience, 500*time.Millisecond, func() (bool, error) {
		err := r.askPrimary(ctx)
		return err == nil || errors.Is(err, errChanged), err
	})
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
