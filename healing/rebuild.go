package healing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"resilver/config/secret"
	"resilver/healing/archive"
	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// Ends of a rebuild to branch on.
var (
	// errCancelled is a rebuild given up before the live server was ended,
	// because a guard said no or a person did: nothing is wrong here.
	errCancelled = errors.New("cancelled")
	// errRolledBack is a new server that would not come up, and the old one
	// that is back.
	errRolledBack = errors.New("rolled back")
	// errTaken is a new server that somebody else already uses: it is never
	// ended again, whatever it lacks.
	errTaken = errors.New("somebody has taken the new server into use")
	// errUnprepared is a copy that its method could not make bootable: another
	// method may.
	errUnprepared = errors.New("not prepared")
	// errStopping is the end of the process: what is past stop waits in the
	// journal for the next one.
	errStopping = errors.New("the sidecar stops")
)

// rebuild is one run through the twelve steps.
type rebuild struct {
	h      *Healer
	lease  watchdog.Lease  // nil until it is granted or adopted
	ctx    context.Context // of the copying steps: ends with the lease, a person's cancel, or the process
	cancel context.CancelCauseFunc
	manual bool
	from   string
	only   string // the method a person wished, and no other
	log    *slog.Logger

	// What the steps hand on in memory. What a later process needs is in the journal.
	place    datadir.Place
	process  *service.Process
	closed   *replica.Closed // the live server, closed by stop
	password secret.Secret
	set      replica.SourceConfig // how preflight found it to replicate; attach may use another account
	locks    []held               // on the old and the new data
	fitness  method.Facts         // of this server, for the methods
	staged   method.Copy          // with what was reported of it
	paths    map[string]string    // the live server's variables that name places on disk
	donor    watchdog.Observation
	donated  string           // what the donor had executed after the copy, where the copy's position leaves out what it wrote itself
	facts    watchdog.Facts   // that preflight went by
	trail    archive.Trail    // of the live server, as it was last looked at
	clock    clock            // of the step's deadline
	archived archive.Manifest // the transactions that only this node has, and the archive too
	leaves   datadir.Served   // the live server, as the rules of stop saw it last
	replica  string           // after a rollback: what its replication does

	mu    sync.Mutex
	gone  bool // the lease is known to be over
	past  bool // past the point where a person can cancel
	j     Journal
	bytes int64
	total int64
	rate  meter
}

// step is one of the twelve.
type step struct {
	name     watchdog.Step
	deadline time.Duration
	run      func(*rebuild, context.Context) error
}

// The steps before stop can be given up at any moment; stage, without a
// deadline, has a rule of progress of its own.
func copying() []step {
	return []step{
		{watchdog.StepPreflight, 3 * time.Minute, (*rebuild).preflight},
		{watchdog.StepQuarantine, 10 * time.Minute, (*rebuild).quarantine},
		{watchdog.StepStage, 0, (*rebuild).stage},
		{watchdog.StepPrepare, time.Hour, (*rebuild).prepare},
		{watchdog.StepOwn, 30 * time.Minute, (*rebuild).own},
		{watchdog.StepRehearse, 30 * time.Minute, (*rebuild).rehearse},
	}
}

// The steps from stop on go forward, or back as a whole (see back). They do
// not end with the process, but for verify: in each of the others the replica
// is away, and they are short.
func (r *rebuild) critical() []step {
	if r.j.Record.Rollback() {
		return wayBack()
	}
	return []step{
		{watchdog.StepStop, 30 * time.Minute, (*rebuild).stop},
		{watchdog.StepSwap, 0, (*rebuild).swap},
		{watchdog.StepStart, 10 * time.Minute, (*rebuild).start},
		{watchdog.StepAttach, 10 * time.Minute, (*rebuild).attach},
		{watchdog.StepVerify, 0, (*rebuild).verify},
	}
}

// run goes through the steps and records how it ended.
func (r *rebuild) run() {
	if r.j.Record.Drill() {
		r.finish(r.drill())
		return
	}
	var err error
	if r.j.Record.Rollback() {
		err = r.steps(r.ctx, beforeBack())
	} else {
		err = r.copySteps(r.ctx)
	}
	if err == nil {
		err = r.commit()
	}
	if err == nil {
		err = r.forward(r.critical())
	}
	r.finish(err)
}

// copySteps makes the copy and rehearses it. One that its method could not
// prepare is followed by another method's.
func (r *rebuild) copySteps(ctx context.Context) error {
	err := r.steps(ctx, r.copying())
	if err != nil && r.j.at(watchdog.StepWipe) && !r.j.Done {
		return r.unwipe(err)
	}
	for errors.Is(err, errUnprepared) && ctx.Err() == nil && r.otherMethod(ctx) {
		r.log.Warn("method failed", "error", err)
		err = r.steps(ctx, copying()[2:]) // from stage on
	}
	return err
}

// commit passes the point after which nobody can cancel any more; a person
// who was told that the rebuild is cancelled is believed.
func (r *rebuild) commit() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.j.Record.Drill() {
		return errNeverLive
	}
	r.past = true
	return context.Cause(r.ctx)
}

// forward runs critical steps. What fails while the replica is away leads
// back to the old server; what fails later leaves the new one, which has the
// better data, closed to clients. Where the machine goes down it is left as it
// is, to the journal.
func (r *rebuild) forward(todo []step) error {
	ctx, end := r.outliving()
	err := r.steps(ctx, todo)
	end()
	for err != nil && r.goingDown() {
		select {
		case <-r.h.life.Done():
			return fmt.Errorf("%w: the machine goes down: %w", errStopping, err)
		case <-time.After(downPace): // it may yet stay
		}
	}
	if err == nil || errors.Is(err, errTaken) || !r.j.at(watchdog.StepStop, watchdog.StepSwap, watchdog.StepStart) {
		return err
	}
	return r.back(err)
}

// steps runs each in turn; the journal is written before and after.
func (r *rebuild) steps(ctx context.Context, todo []step) error {
	for _, s := range todo {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := r.step(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (r *rebuild) step(ctx context.Context, s step) error {
	deadline := s.deadline
	if d := r.h.o.Deadlines[s.name]; d > 0 {
		deadline = d
	}
	if deadline > 0 {
		var end func()
		ctx, end = r.clock.start(ctx, deadline)
		defer end()
	}
	began := time.Now()
	if err := r.note(func(j *Journal) { j.Step, j.Done = s.name, false }); err != nil {
		return err
	}
	r.log.Info("step begins", "step", s.name)
	r.h.o.Failpoint(string(s.name) + ".begin")
	err := s.run(r, ctx)
	took := time.Since(began)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	note := r.note(func(j *Journal) {
		j.Done = err == nil
		j.Record.Steps = append(j.Record.Steps, watchdog.StepTime{Name: s.name, Seconds: took.Seconds()})
	})
	r.h.o.Stepped(s.name, took)
	if err == nil {
		err = note
	}
	if err == nil {
		r.log.Info("step done", "step", s.name, "seconds", took.Seconds())
		r.h.o.Failpoint(string(s.name) + ".end")
	}
	return err
}

// note changes the journal and syncs it before anything else happens.
func (r *rebuild) note(change func(*Journal)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.j)
	return r.j.save(r.h.o.StateDir, time.Now())
}

// hold takes up the lease: its death ends the copying steps.
func (r *rebuild) hold(lease watchdog.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease = lease
	r.j.Token, r.j.ClusterID = lease.Token(), lease.ClusterID()
	r.j.Record.Token = lease.Token()
	r.j.Record.Started = watchdog.StampOf(time.Now())
	context.AfterFunc(lease.Context(), func() { r.cancel(context.Cause(lease.Context())) })
}

// cancelBy gives the copy up on a person's word.
func (r *rebuild) cancelBy(by string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.past {
		return &watchdog.Refusal{Guard: "step", Reason: fmt.Sprintf("rebuild %s is in %s: past the point where it can be cancelled, it goes on or back by itself", r.j.Record.ID, r.j.Step)}
	}
	r.cancel(fmt.Errorf("%w by %s", errCancelled, by))
	return nil
}

// soFar is the record as it stands.
func (r *rebuild) soFar() watchdog.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.j.Record
	rec.Bytes = max(rec.Bytes, r.bytes)
	rec.Steps, rec.Guards = slices.Clone(rec.Steps), slices.Clone(rec.Guards)
	rec.Outcome, rec.Ended = "", watchdog.Stamp{} // known to all once it is released
	return rec
}

// progress is what status shows.
func (r *rebuild) progress() *watchdog.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &watchdog.Progress{
		ID: r.j.Record.ID, Trigger: r.j.Record.Trigger, Step: r.j.Step, Method: r.j.Record.Method, Donor: r.j.Record.Donor,
		Bytes: r.bytes, BytesTotal: r.total,
	}
	if r.j.Step == watchdog.StepStage {
		p.Rate = r.rate.perSecond(time.Now())
		if left := r.total - r.bytes; p.Rate > 0 && left >= 0 && r.total > 0 {
			eta := float64(left) / p.Rate
			p.ETASeconds = &eta
		}
	}
	return p
}

// copied is told by the method how far the copy is.
func (r *rebuild) copied(done, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.o.Copied(max(0, done-r.bytes)) // a method that begins anew counts from where it stands
	r.bytes, r.total = done, max(total, done)
	r.rate.add(time.Now(), done)
}

// overridden says that a person lets this guard fail.
func (r *rebuild) overridden(guard string) bool { return slices.Contains(r.j.Override, guard) }

// meter measures a rate over the last few seconds.
type meter struct{ samples []sample }

type sample struct {
	at   time.Time
	done int64
}

const meterWindow = 10 * time.Second

func (m *meter) add(now time.Time, done int64) {
	m.samples = append(m.samples, sample{now, done})
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > meterWindow {
		m.samples = m.samples[1:]
	}
}

// perSecond is the rate in bytes per second, 0 where it is not known yet.
func (m *meter) perSecond(now time.Time) float64 {
	if len(m.samples) < 2 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	seconds := now.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(last.done-first.done) / seconds
}
