package healing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// guardPatience is how long guards that are unknown under the lease are asked
// again before the rebuild is given up, and a donor that only has to catch up
// is waited for.
const guardPatience = 30 * time.Second

// preflight asks every guard once more, now that the lease is held and the
// donor reserved, and writes down what later steps must find unchanged.
func (r *rebuild) preflight(ctx context.Context) error {
	if err := keepReserve(r.h.o.StateDir); err != nil {
		return err
	}
	if err := r.h.o.Leases.YieldLeadership(ctx); err != nil {
		return fmt.Errorf("%w: guard raft-leader: %w", errCancelled, err)
	}
	facts, err := r.guards(ctx, func(watchdog.Guard) bool { return true })
	if err == nil && !r.j.Record.Drill() {
		err = r.stillBroken(facts.Self)
	}
	if err != nil {
		return err
	}
	r.facts = facts
	if i := slices.IndexFunc(facts.Donors, func(d watchdog.DonorFacts) bool { return d.Node == r.j.Record.Donor }); i >= 0 && facts.Donors[i].State != nil {
		r.donor = facts.Donors[i].State.Observation
	}
	r.fitness = method.Facts{Flavor: facts.Self.Flavor, VersionNumber: facts.Self.VersionNumber}
	program, source, err := r.howItRuns(ctx, facts)
	if err != nil {
		return err
	}
	r.set = source
	source = r.h.withPassword(source)
	r.password = source.Password
	if r.place, err = datadir.PlaceFor(facts.Self.Datadir, r.h.o.StagingDir); err != nil {
		return err
	}
	bare, err := datadir.IsHusk(r.place.Live.Ref)
	if err != nil {
		return err
	}
	elsewhere, err := outside(r.place, r.paths, channelOf(facts.Self))
	if err != nil {
		return err
	}
	if err := r.note(func(j *Journal) { j.Scattered = scatteredAt(facts, j.Record.Donor) }); err != nil {
		return err
	}
	if err := r.comparable(ctx, source); err != nil {
		return err
	}
	return r.note(func(j *Journal) {
		j.Live, j.Was, j.Outside, j.Bare = r.place.Live.Ref, r.place.Live, elsewhere, bare
		j.Staging, j.Program, j.PIDFile = r.h.o.StagingDir, program, r.paths["pid_file"]
		j.UUID, j.Source = facts.Self.ServerUUID, source
		j.Primary = watchdog.RoleOf(r.h.o.Cluster.View(), r.h.o.Node, r.h.o.Policy.Fresh).Primary
	})
}

// howItRuns finds the server's paths, process, command line and source
// configuration; of a dead one it takes what was kept, and there is no process.
func (r *rebuild) howItRuns(ctx context.Context, facts watchdog.Facts) (program service.Program, source replica.SourceConfig, err error) {
	if facts.Down != nil {
		last, err := r.h.known()
		if err == nil && last.Source == nil {
			err = replica.ErrNotReplica
		}
		if err != nil {
			return program, source, err
		}
		r.paths = last.Paths
		return last.Program, *last.Source, nil
	}
	err = r.insist(ctx, guardPatience, func() error {
		var err error
		if r.paths, err = r.h.o.Server.Paths(ctx); err == nil {
			source, err = r.h.o.Server.SourceConfig(ctx)
		}
		return err
	})
	if err != nil {
		return program, source, err
	}
	if r.process, err = r.h.identify(ctx, facts.Self, r.paths["pid_file"], r.paths); err != nil {
		return program, source, err
	}
	program, err = r.process.Program()
	return program, source, err
}

// insist tries again what fails only because the live server was slow, or away
// for a moment: one statement that did not end in time must not cost the copy,
// nor leave the new server closed.
func (r *rebuild) insist(ctx context.Context, patience time.Duration, try func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if !errors.Is(err, replica.ErrHung) && !errors.Is(err, replica.ErrDown) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-r.h.life.Done():
			return errStopping
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(bootPause):
		}
	}
}

// guards decides again with fresh facts; of the guards that matter now, what
// is merely unknown, or waits for a donor, is asked again for a while.
func (r *rebuild) guards(ctx context.Context, matters func(watchdog.Guard) bool) (watchdog.Facts, error) {
	deadline := time.Now().Add(guardPatience)
	for {
		view := r.h.o.Cluster.View()
		facts := r.h.Gather(ctx, view, watchdog.Wish{From: r.from, Rollback: r.j.Record.Rollback(), WipeFirst: r.wiping()})
		if ctx.Err() != nil { // whoever ended it is why, not what could not be asked any more
			return facts, context.Cause(ctx)
		}
		d := watchdog.Decide(r.input(view, &facts), time.Now())
		if err := r.note(func(j *Journal) { j.Record.Guards = d.Guards }); err != nil {
			return facts, err
		}
		failing := slices.DeleteFunc(watchdog.Failing(d.Guards), func(g watchdog.Guard) bool { return !matters(g) })
		if len(failing) == 0 {
			return facts, nil
		}
		if !mayPass(failing) || time.Now().After(deadline) {
			return facts, fmt.Errorf("%w: guard %s: %s", errCancelled, failing[0].ID, failing[0].Reason)
		}
		select {
		case <-ctx.Done():
			return facts, context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

// input is what Decide is asked under the lease: only the reserved donor
// counts, and the cause is the one that the lease was granted for.
func (r *rebuild) input(view watchdog.View, facts *watchdog.Facts) watchdog.Input {
	in := watchdog.Input{
		View: view, Lease: r.h.o.Leases.State(), Policy: r.h.o.Policy, Facts: facts, Wiped: r.h.Wiped(),
		Wish:     watchdog.Wish{Manual: r.manual, Drill: r.j.Record.Drill(), Rollback: r.j.Record.Rollback(), WipeFirst: r.wiping(), From: r.j.Record.Donor, Method: r.only, Override: r.j.Override},
		Holding:  r.j.Record.ID,
		Underway: !r.j.at(watchdog.StepPreflight),
	}
	c := r.j.Record.Cause
	in.Diagnosis = watchdog.Diagnosis{Class: c.Class, Reason: c.Reason, Since: c.Since, Evidence: watchdog.Evidence{GTID: c.GTID}}
	if in.Lease.Lease != nil && in.Lease.Lease.ID == r.j.Record.ID {
		in.Lease.Lease = nil // the donor is BACKUPING for us
	}
	return in
}

func mayPass(failing []watchdog.Guard) bool {
	for _, g := range failing {
		if g.Verdict != watchdog.Unknown && g.ID != "donor" && g.ID != "donor-not-backuping" {
			return false
		}
	}
	return true
}

// identify finds the live server's process beyond doubt.
func (h *Healer) identify(ctx context.Context, obs watchdog.Observation, pidFile string, paths map[string]string) (*service.Process, error) {
	return service.FindProcess(ctx, service.Identify{Datadir: obs.Datadir, Home: service.HomeOf(obs.Datadir, paths), Socket: h.o.Socket, PIDFile: pidFile})
}

// find identifies the live server's process, with the pid file that the server
// names.
func (h *Healer) find(ctx context.Context, obs watchdog.Observation) (*service.Process, error) {
	paths, err := h.o.Server.Paths(ctx)
	if err != nil {
		return nil, err
	}
	return h.identify(ctx, obs, paths["pid_file"], paths)
}

// arguments are the options on the live server's command line.
func (h *Healer) arguments(ctx context.Context, obs watchdog.Observation) ([]string, error) {
	p, err := h.find(ctx, obs)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	program, err := p.Program()
	return program.Args, err
}

// serverPID is the live server's process number.
func (h *Healer) serverPID(ctx context.Context, obs watchdog.Observation) (int, error) {
	p, err := h.find(ctx, obs)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	return p.PID, nil
}

// quarantine makes the staging area, and sets aside what only this node has,
// where the policy is to; else the errant guard has refused. The old datadir is
// kept whole in any case.
func (r *rebuild) quarantine(ctx context.Context) error {
	if err := r.keepable(); err != nil {
		return err
	}
	if _, err := r.place.Prepare(); err != nil {
		return err
	}
	if err := r.scatter(ctx); err != nil {
		return err
	}
	if err := r.prepareOutside(); err != nil {
		return err
	}
	if err := r.clearStaging(); err != nil || r.j.Record.Drill() {
		return err // what the live server has stays where it is
	}
	if err := r.setAside(ctx); err != nil {
		return err
	}
	if err := r.define(ctx); err != nil {
		return fmt.Errorf("%w: guard local-objects: %w", errCancelled, err)
	}
	return nil
}

// clearStaging makes room where the copy goes. A directory there that no
// journal knows is never removed: where a state directory was lost in the
// middle of a rebuild it is the old data. It is set aside like that.
func (r *rebuild) clearStaging() error {
	scratch, err := r.place.Find(datadir.NameScratch)
	if err == nil {
		err = r.place.Discard(scratch)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	left, err := r.place.Adopt(datadir.NameNew, r.j.Live)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.log.Warn("a directory that no rebuild knows is set aside", "path", left.Path)
	_, err = r.place.Quarantine(datadir.Leaving{ID: "found-" + r.j.Record.ID, Old: left})
	return err
}
