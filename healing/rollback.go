package healing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// A rollback is a rebuild whose copy is there already: the datadir that the
// last one set aside. It is exchanged where it lies, in quarantine, so that
// before the exchange and after the way back nothing of it has been touched.
// The datadir that was in service takes its place there, and a second rollback
// goes forward again.

func beforeBack() []step {
	return []step{{watchdog.StepPreflight, 3 * time.Minute, (*rebuild).preflightBack}}
}

// wayBack: what fails in any of these brings the server back that was in
// service before.
func wayBack() []step {
	return []step{
		{watchdog.StepStop, 30 * time.Minute, (*rebuild).stop},
		{watchdog.StepSwap, 0, (*rebuild).swap},
		{watchdog.StepStart, 10 * time.Minute, (*rebuild).startOld},
	}
}

// preflightBack asks the guards under the lease, and writes down which datadir
// is exchanged for which.
func (r *rebuild) preflightBack(ctx context.Context) error {
	if err := keepReserve(r.h.o.StateDir); err != nil {
		return err
	}
	facts, err := r.guards(ctx, func(watchdog.Guard) bool { return true })
	if err != nil {
		return err
	}
	program, source, err := r.howItRuns(ctx, facts)
	if err != nil {
		return err
	}
	r.password = source.Password
	if r.place, err = datadir.PlaceFor(facts.Self.Datadir, r.h.o.StagingDir); err != nil {
		return err
	}
	own, err := r.ownScattered(ctx)
	if err != nil {
		return err
	}
	kept, elsewhere, err := wayTo(r.place, r.paths, facts.Self, own)
	if err == nil && kept.ID != facts.Aside.ID {
		err = fmt.Errorf("the newest old datadir is %s, it was %s", kept.ID, facts.Aside.ID)
	}
	if err != nil {
		return fmt.Errorf("%w: guard old-datadir: %w", errCancelled, err)
	}
	return r.note(func(j *Journal) {
		j.Live, j.Was, j.Outside = r.place.Live.Ref, r.place.Live, elsewhere
		j.Old, j.Staged, j.Then, j.Executed = kept.ID, kept.Ref, kept.Served, kept.Served.Executed
		j.Staging, j.Program, j.PIDFile = r.h.o.StagingDir, program, r.paths["pid_file"]
		j.UUID, j.Source = facts.Self.ServerUUID, source
		j.Primary = watchdog.RoleOf(r.h.o.Cluster.View(), r.h.o.Node, r.h.o.Policy.Fresh).Primary
	})
}

// startOld boots the old server, and wants it to be what it was: by its
// identity, closed to writers, with all that it had executed. Then it is opened
// as far as the one before it was open, and replicates as it did.
func (r *rebuild) startOld(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	err := r.insist(ctx, r.h.o.VerifyStall, func() error {
		if err := r.asItWas(ctx); err != nil {
			return err
		}
		open, err := r.openOldAs()
		if err == nil {
			err = r.h.o.Server.Reopen(ctx, open)
		}
		if err != nil {
			return err
		}
		return r.h.o.Server.StartReplica(ctx)
	})
	if err != nil {
		return err
	}
	if err := r.note((*Journal).served); err != nil {
		return err
	}
	r.replica = r.settled(ctx)
	return nil
}

// openOldAs is how open the server was that is away now, but for one that a
// failed rebuild had left closed to clients: that one stays so.
func (r *rebuild) openOldAs() (replica.Openness, error) {
	open := *r.j.Closed
	note, err := readLeftClosed(r.h.o.StateDir, datadir.Ref{Path: r.j.Live.Path, Dev: r.j.Staged.Dev, Ino: r.j.Staged.Ino})
	if note != nil {
		open.OfflineMode = true
	}
	return open, err
}

func (r *rebuild) asItWas(ctx context.Context) error {
	obs := r.observe(ctx, subsetPatience)
	switch {
	case !obs.Reachable:
		return fmt.Errorf("the old server does not answer: %s", obs.Err)
	case obs.ServerUUID != r.j.Then.UUID:
		return fmt.Errorf("server_uuid is %s, that of the old server was %s", obs.ServerUUID, r.j.Then.UUID)
	}
	lacks, err := r.h.o.Server.GTIDSubtract(ctx, r.j.Then.Executed, obs.Executed)
	if err == nil && lacks != "" {
		err = fmt.Errorf("the old server lacks what it had executed: %s", lacks)
	}
	return err
}

// replicaPatience is how long the old server's threads are watched, for the
// record alone: it may have been broken, and be so again.
const replicaPatience = 5 * time.Second

func (r *rebuild) settled(ctx context.Context) string {
	deadline := time.Now().Add(replicaPatience)
	for {
		both, state := runs(r.h.o.Server.Observe(ctx))
		if both {
			state = "its replication runs"
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return state
		}
		select {
		case <-ctx.Done():
		case <-time.After(bootPause):
		}
	}
}

// wentBack is what history says of a rollback that was done.
func (r *rebuild) wentBack() string {
	said := fmt.Sprintf("the datadir that rebuild %s set aside is in service again, the other one is kept as %s", r.j.Old, r.j.Record.ID)
	if r.replica != "" {
		said += "; " + r.replica
	}
	return said
}

// rollbackOutcome: what brings a rebuild to naught is what a rollback is for.
func rollbackOutcome(of watchdog.Result) watchdog.Result {
	if of == watchdog.Healed {
		return watchdog.RolledBack
	}
	return of
}

// errForward is an old server that would not come up, and the one before it
// that is back: the rollback has failed.
var errForward = errors.New("the server that was in service is back")

// incoming is what the swap puts into service.
func (j *Journal) incoming() string {
	if j.Old != "" {
		return "the old server"
	}
	return "the new server"
}

func (j *Journal) sourceAddress() string {
	src := watchdog.SourceStatus{Host: j.Source.Host, Port: j.Source.Port}
	return src.Address()
}

// strangerSource says that a server replicates from somebody that this rebuild
// did not give it. An old one starts with the source that it had.
func (r *rebuild) strangerSource(obs watchdog.Observation) error {
	if r.j.Old != "" {
		return nil
	}
	for _, src := range obs.Sources {
		if src.User != r.j.Source.User {
			return fmt.Errorf("%w: it replicates from %s as %s", errTaken, src.Address(), src.User)
		}
	}
	return nil
}
