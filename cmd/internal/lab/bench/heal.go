package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// fault is what a heal cures.
const fault = "row-missing"

// glance is how often a sidecar is asked during a rebuild: often enough to see
// each step end, seldom enough to cost it nothing.
const glance = 100 * time.Millisecond

// rebuildFigures are what a rebuild on request is noted as; client is empty
// where none watches.
type rebuildFigures struct{ outage, client string }

var (
	rebuildIdle  = rebuildFigures{outageOurs, clientOurs}
	rebuildLoad  = rebuildFigures{outageOursLoad, ""}
	rebuildSmall = rebuildFigures{outageOursSmall, ""}
)

// heals breaks the replica and lets it heal by itself: the copy, the steps and
// the times between fault and end are all of the same rebuild.
func (s *site) heals() measure {
	return measure{"resilver heals", func(ctx context.Context) error {
		begin := time.Now()
		broken, err := s.breakIt(ctx)
		if err != nil {
			return err
		}
		noticed, err := s.noticed(ctx)
		if err != nil {
			return err
		}
		r, cpu, err := s.follow(ctx, func(r *watchdog.Record) bool { return r.Node == s.replica.Name && r.Started.After(begin) })
		if err != nil {
			return err
		}
		if err := s.caughtUp(ctx, s.replica); err != nil {
			return err
		}
		caughtUp := time.Now()
		if r.Donor != s.donor.Name {
			return fmt.Errorf("it copied from %s, and the raw copies from %s", r.Donor, s.donor.Name)
		}
		s.note(copyStage, stepSeconds(r, watchdog.StepStage))
		gigabytes := float64(r.Bytes) / 1e9
		s.note(copyDonorCPU, cpu.donor/gigabytes)
		s.note(copyReceivCPU, cpu.recipient/gigabytes)
		s.note(healNoticed, noticed.Sub(broken).Seconds())
		s.note(healLease, r.Started.Sub(broken).Seconds())
		s.note(healReplicating, r.Started.Sub(broken).Seconds()+stepSeconds(r, watchdog.Steps()...))
		s.note(healCaughtUp, caughtUp.Sub(broken).Seconds())
		for _, took := range r.Steps {
			s.figures.add(stepPrefix+string(took.Name), took.Seconds)
		}
		return nil
	}}
}

// breakIt breaks the replica and returns when its applier was seen stopped.
func (s *site) breakIt(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.c.Break(ctx, s.replica, fault) }()
	var at time.Time
	err := poll(ctx, bootDeadline, quick, "the applier to stop", func(ctx context.Context) (bool, string) {
		status, err := s.replica.Replica(ctx)
		at = time.Now()
		return err == nil && status["Replica_SQL_Running"] == "No", status["Replica_SQL_Running"]
	})
	if err != nil {
		cancel()
	}
	return at, errors.Join(err, <-done)
}

// noticed waits until the replica's sidecar knows that it is broken.
func (s *site) noticed(ctx context.Context) (time.Time, error) {
	err := poll(ctx, bootDeadline, quick, "the sidecar to notice", func(ctx context.Context) (bool, string) {
		plan, err := s.replica.Plan(ctx)
		return err == nil && plan.Diagnosis.Class.Curable(), fmt.Sprint(plan.Diagnosis.Class, err)
	})
	return time.Now(), err
}

// rebuilds asks for a rebuild of the healthy replica: the same steps, without
// the time until a fault is believed.
func (s *site) rebuilds(f rebuildFigures) measure {
	return measure{"rebuild by resilver", func(ctx context.Context) error {
		watch, err := s.watchClient(ctx, f.client)
		if err != nil {
			return err
		}
		defer watch.stop()
		r, _, err := s.rebuildFrom(ctx, s.donor)
		if err != nil {
			return err
		}
		s.note(f.outage, *r.OutageSeconds)
		return watch.noteAs(ctx, s, f.client)
	}}
}

// rebuildFrom asks until a rebuild begins: the last one's cooldown may not be
// over.
func (s *site) rebuildFrom(ctx context.Context, donor *lab.Node) (*watchdog.Record, *cpuTimes, error) {
	var answer struct {
		ID string `json:"id"`
	}
	err := poll(ctx, bootDeadline, glance, "a rebuild to be granted", func(ctx context.Context) (bool, string) {
		stdout, stderr, code, err := s.replica.Resilver(ctx, "rebuild", "--from", donor.Name, "-o", "json")
		if err != nil || code != 0 {
			return false, strings.TrimSpace(fmt.Sprint(stderr, err))
		}
		err = json.Unmarshal([]byte(stdout), &answer)
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return nil, nil, err
	}
	return s.follow(ctx, func(r *watchdog.Record) bool { return r.ID == answer.ID })
}

// cpuTimes are processor seconds of sidecars from the grant to the end of
// stage.
type cpuTimes struct{ donor, recipient float64 }

// follow watches a rebuild to its end, which must be healed.
func (s *site) follow(ctx context.Context, which func(*watchdog.Record) bool) (*watchdog.Record, *cpuTimes, error) {
	before, err := s.cpuNow()
	if err != nil {
		return nil, nil, err
	}
	var staged *cpuTimes
	var found *watchdog.Record
	err = poll(ctx, healDeadline, glance, "the rebuild to end", func(ctx context.Context) (bool, string) {
		self, err := s.replica.Self(ctx)
		if err != nil {
			return false, err.Error()
		}
		if self.Rebuild != nil {
			if staged == nil && beyondStage(self.Rebuild.Step) {
				staged, _ = s.cpuNow()
			}
			return false, string(self.Rebuild.Step)
		}
		records, err := s.replica.History(ctx)
		for i := range records {
			if which(&records[i]) && records[i].Outcome != "" {
				found = &records[i]
			}
		}
		return found != nil, fmt.Sprint(self.Health, " ", self.Reason, " ", err)
	})
	switch {
	case err != nil:
		return nil, nil, err
	case found.Outcome != watchdog.Healed || found.OutageSeconds == nil || found.Bytes == 0:
		return nil, nil, fmt.Errorf("the rebuild ended %s: %s", found.Outcome, found.Error)
	case staged == nil:
		return nil, nil, errors.New("the end of stage was not seen")
	}
	return found, &cpuTimes{staged.donor - before.donor, staged.recipient - before.recipient}, nil
}

func (s *site) cpuNow() (*cpuTimes, error) {
	donor, err := cpuOf(s.donor.PID(lab.Sidecar))
	if err != nil {
		return nil, err
	}
	recipient, err := cpuOf(s.replica.PID(lab.Sidecar))
	return &cpuTimes{donor, recipient}, err
}

func beyondStage(step watchdog.Step) bool {
	past := false
	for _, s := range watchdog.Steps() {
		if s == step {
			return past
		}
		past = past || s == watchdog.StepStage
	}
	return false
}

// stepSeconds is how long these steps took.
func stepSeconds(r *watchdog.Record, steps ...watchdog.Step) float64 {
	sum := 0.0
	for _, took := range r.Steps {
		for _, s := range steps {
			if took.Name == s {
				sum += took.Seconds
			}
		}
	}
	return sum
}
