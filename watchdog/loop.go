package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Prober looks at this node's mysqld.
type Prober interface {
	Observe(ctx context.Context) Observation
}

// Gatherer asks servers and disks what a rebuild's guards must know.
type Gatherer interface {
	Gather(ctx context.Context, v View, w Wish) Facts
}

// Order is a rebuild that was decided on.
type Order struct {
	Trigger  string // auto | manual | drill | backup | rollback
	By       string
	Cause    Cause
	Decision Decision
	Primary  string
	Into     string // of a backup: the directory that it is left in
	Wish
}

// Healer carries out what was decided.
type Healer interface {
	// Begin takes the lease and starts the rebuild; it returns once the lease
	// is granted, or with the reason why not: a *Refusal for a definite no.
	Begin(ctx context.Context, o Order) (Record, error)
	// Progress is the rebuild under way, nil for none.
	Progress() *Progress
	// Last is the last rebuild of this process; the zero Record before the first.
	Last() Record
	// LeftClosed is the id of the rebuild that failed and left the server on
	// this datadir closed to clients; empty for none.
	LeftClosed(datadir string) string
	// Wiped is who removed this node's data, nil where there are data.
	Wiped() *Wiped
}

// LoopOptions is what the loop needs.
type LoopOptions struct {
	Node      string
	Zone      string
	MayDonate bool
	Interval  time.Duration // between probes
	Timeout   time.Duration // of one probe
	Policy    Policy
	Diagnose  DiagnoseConfig
	Prober    Prober
	Cluster   Cluster
	Leases    Leases
	Gatherer  Gatherer
	Healer    Healer
	// Remembered is the last observation of an earlier process in which the
	// server answered; Remember is called with each such one, and must not
	// wait for anything.
	Remembered Observation
	Remember   func(Observation, Role)
	Observed   func(Observation, Diagnosis, Decision) // for metrics; may be nil
	Logger     *slog.Logger
}

// Loop observes, decides, acts: once every interval, for ever.
type Loop struct {
	o   LoopOptions
	seq uint64

	mu       sync.Mutex
	memory   Memory
	lastSeen Observation // the last one in which the server answered
	obs      Observation
	diag     Diagnosis
	decision Decision
	// catchingUp lasts from a healed rebuild until the replica is healthy.
	catchingUp bool
	seenEnd    Stamp
	attempting bool
	notBefore  time.Time
	givenUp    int // rebuilds in a row that ended cancelled
}

// NewLoop checks the options.
func NewLoop(o LoopOptions) (*Loop, error) {
	switch {
	case o.Node == "":
		return nil, errors.New("watchdog loop: no node name")
	case o.Interval <= 0 || o.Timeout <= 0:
		return nil, errors.New("watchdog loop: interval and timeout must be positive")
	case o.Prober == nil || o.Cluster == nil || o.Leases == nil || o.Gatherer == nil || o.Healer == nil || o.Logger == nil:
		return nil, errors.New("watchdog loop: a collaborator is missing")
	}
	return &Loop{o: o, lastSeen: o.Remembered, seq: uint64(time.Now().UnixMilli())}, nil
}

// Run probes until ctx ends. Attempts to heal run beside it, and are waited for.
func (l *Loop) Run(ctx context.Context) error {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	for {
		l.pass(ctx, &attempts)
		pause := l.o.Interval*9/10 + rand.N(l.o.Interval/5+1)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// pass is one round: observe, diagnose, tell, decide, and perhaps act.
func (l *Loop) pass(ctx context.Context, attempts *sync.WaitGroup) {
	probe, cancel := context.WithTimeout(ctx, l.o.Timeout)
	obs := l.o.Prober.Observe(probe)
	cancel()
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	l.judge(obs, now)
	l.o.Cluster.Publish(l.Report())
	d := l.look(now)
	if l.o.Observed != nil {
		l.o.Observed(l.Seen())
	}
	if !l.due(d, now) {
		return
	}
	attempts.Add(1)
	go func() {
		defer attempts.Done()
		l.attempt(ctx)
	}()
}

// judge turns an observation into the present diagnosis.
func (l *Loop) judge(obs Observation, now time.Time) {
	last := l.o.Healer.Last()
	view := l.o.Cluster.View()
	l.mu.Lock()
	defer l.mu.Unlock()
	if last.Outcome != "" && last.Ended != l.seenEnd {
		l.after(last, now)
	}
	before := l.diag
	standing := RoleOf(view, l.o.Node, l.o.Policy.Fresh)
	l.diag, l.memory = Diagnose(l.memory, obs, primaryFacts(view, standing), now, l.o.Diagnose)
	l.obs = obs
	if obs.OfflineMode && l.diag.Class == ClassHealthy {
		if id := l.o.Healer.LeftClosed(obs.Datadir); id != "" {
			l.diag.Reason = ReasonLeftClosed
			l.diag.Detail = fmt.Sprintf("it replicates, but rebuild %s failed and left it closed to clients (offline_mode): `resilver rebuild`, or open it by hand", id)
		}
	}
	if obs.Reachable {
		l.remember(obs, standing)
	} else if w := l.o.Healer.Wiped(); w != nil {
		l.diag.Reason, l.diag.Detail = ReasonWiped, l.wiped(w)
	}
	if l.diag.Class == ClassHealthy {
		l.catchingUp = false
	}
	if before.Class != l.diag.Class || before.Reason != l.diag.Reason {
		level := slog.LevelInfo
		if l.diag.Class != ClassHealthy && l.diag.Class != ClassLagging {
			level = slog.LevelWarn
		}
		l.o.Logger.Log(context.Background(), level, "diagnosis", "class", l.diag.Class, "reason", l.diag.Reason, "detail", l.diag.Detail,
			"was", before.Class, "since", l.diag.Since.String())
	}
}

// after draws the conclusions of a rebuild that has ended. A new copy starts
// with a clean slate: the old fault is not its own. One that was given up is
// not begun again at once, and later each time.
func (l *Loop) after(last Record, now time.Time) {
	l.seenEnd = last.Ended
	if last.Drill() {
		return
	}
	if last.Outcome == Healed {
		l.catchingUp, l.memory = true, Memory{}
	}
	if last.Outcome != Cancelled && l.o.Healer.Wiped() == nil {
		l.givenUp = 0
		return
	}
	l.notBefore = now.Add(min(firstPause<<l.givenUp, longestPause))
	l.givenUp = min(l.givenUp+1, 10)
}

// wiped says what becomes of a node without data: what it waits for, if the
// last look at it found something.
func (l *Loop) wiped(w *Wiped) string {
	if l.o.Policy.Observe {
		return w.Words() + "; policy.mode is observe: `resilver rebuild` goes on"
	}
	failing := cheap(l.decision.Guards)
	if l.decision.Weighed {
		failing = Failing(l.decision.Guards)
	}
	if len(failing) == 0 {
		return w.Words() + "; it is rebuilt by itself"
	}
	return fmt.Sprintf("%s; it is rebuilt by itself, once guard %s passes: %s", w.Words(), failing[0].ID, failing[0].Reason)
}

// Pauses after a rebuild that was given up.
const (
	firstPause   = 2 * time.Second
	longestPause = 10 * time.Minute
)

// remember keeps what will be wanted while the server is down.
func (l *Loop) remember(obs Observation, s Standing) {
	l.lastSeen = obs
	if l.o.Remember != nil {
		l.o.Remember(obs, s.Role)
	}
}

// look decides without asking anybody: enough to know whether asking pays.
func (l *Loop) look(now time.Time) Decision {
	in := l.input()
	d := Decide(in, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	// What was weighed with all facts says more, for as long as this look
	// would not stop before asking for them.
	if !l.attempting && (d.Rung != RungRebuild || !l.decision.Weighed || len(cheap(d.Guards)) > 0) {
		l.decision = d
	}
	return d
}

func (l *Loop) input() Input {
	l.mu.Lock()
	diag := l.diag
	l.mu.Unlock()
	return Input{Wiped: l.o.Healer.Wiped(), Diagnosis: diag, View: l.o.Cluster.View(), Lease: l.o.Leases.State(), Policy: l.o.Policy}
}

// due says that an attempt is worth its questions: every guard that gossip
// can answer passes, none is under way, and the last was not just now.
func (l *Loop) due(d Decision, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.Rung != RungRebuild || l.attempting || now.Before(l.notBefore) || l.o.Healer.Progress() != nil {
		return false
	}
	if len(cheap(d.Guards)) > 0 {
		return false
	}
	l.attempting = true
	return true
}

// cheap are the failing guards that need no facts; whether a donor fits is
// for the facts to say.
func cheap(gs []Guard) []Guard {
	return slices.DeleteFunc(Failing(gs), func(g Guard) bool { return g.ID == "donor" || g.ID == "donor-not-backuping" })
}

// attempt gathers the facts, decides again and, if every guard passes, heals.
func (l *Loop) attempt(ctx context.Context) {
	d, order := l.Weigh(ctx, Wish{})
	if d.WouldAct {
		order.Trigger, order.By = TriggerAuto, "resilver"
		rec, err := l.o.Healer.Begin(ctx, order)
		if err != nil {
			l.o.Logger.Warn("rebuild not begun", "error", err)
		} else {
			l.o.Logger.Info("rebuild begun", "id", rec.ID, "donor", rec.Donor, "token", rec.Token)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, after := guardIDs(Failing(l.decision.Guards)), guardIDs(Failing(d.Guards)); before != after && !d.WouldAct {
		l.o.Logger.Info("refused", "guards", after, "reason", firstReason(d.Guards))
	}
	l.decision, l.attempting = d, false
	if next := time.Now().Add(2*time.Second + rand.N(2*time.Second)); next.After(l.notBefore) {
		l.notBefore = next
	}
}

// Weigh asks all that a rebuild's guards must know and decides. The order is
// ready to be carried out where the decision would act.
func (l *Loop) Weigh(ctx context.Context, w Wish) (Decision, Order) {
	facts := l.o.Gatherer.Gather(ctx, l.o.Cluster.View(), w)
	in := l.input()
	if in.Wiped != nil {
		w.Override = append(slices.Clone(w.Override), WipedOverride()...)
	}
	in.Facts, in.Wish = &facts, w
	d := Decide(in, time.Now())
	return d, Order{
		Decision: d, Wish: w,
		Primary: RoleOf(in.View, l.o.Node, l.o.Policy.Fresh).Primary,
		Cause:   Cause{Class: in.Diagnosis.Class, Reason: in.Diagnosis.Reason, GTID: in.Diagnosis.Evidence.GTID, Since: in.Diagnosis.Since},
	}
}

// Seen is the present observation, diagnosis and last decision.
func (l *Loop) Seen() (Observation, Diagnosis, Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.obs, l.diag, l.decision
}
