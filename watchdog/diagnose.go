package watchdog

import (
	"fmt"
	"time"
)

// DiagnoseConfig is what Diagnose measures by.
type DiagnoseConfig struct {
	// MaxLag is how far a healthy replica may be behind; a configured delay
	// is added to it. Zero or less: lag is not judged.
	MaxLag time.Duration
	// Stable is how long both threads must have run for a fault to be over
	// where nothing is applied that would prove it sooner.
	Stable time.Duration
}

// PrimaryFacts is what is known of the primary: its own report, some seconds
// old. Empty where there is none.
type PrimaryFacts struct {
	Node     string
	Executed string
}

// stableAfterConnecting is Stable for a fault in which the receiver did nothing
// worse than connect to its source: it is connected, and there was nothing else.
const stableAfterConnecting = 3 * time.Second

// provingMoves is how often the executed set must have grown, between probes
// that found both threads running, to prove that a fault is over. One is not
// enough: parallel workers apply a little before they fail again.
const provingMoves = 2

// Memory is what Diagnose must know of the past. The zero Memory is that of
// a server never seen before; a rebuilt server starts with it.
type Memory struct {
	Class    Class
	Reason   string
	Began    Stamp // when the present class began, for classes that are no fault
	Fault    Stamp // when the present fault began, absent: none
	Curable  Stamp // when, within the fault, a class that a rebuild cures was first seen
	Failed   bool  // within the fault, a thread failed or was stopped: the receiver was not only on its way to its source
	Executed string
	Moves    int // how often Executed grew since the fault, or the health, began

	Clean      Stamp // since when both threads run again, within a fault
	CleanMoves int

	// The primary's set moved at First and again at Last, and this server's
	// did not move in between.
	Primary     string
	First, Last Stamp
}

// Diagnose judges an observation in the light of those before it. It is pure:
// keep the Memory it returns, and hand it in with the next observation.
//
// A fault is one as long as it lasts: threads that run for a moment after
// START, a server that restarts, or a class that alternates with another do
// not begin it anew. It is over when transactions are proven to be applied
// again, or when both threads have run for Stable, or for 3 s where the receiver
// had only to connect; until then a server whose threads run is unknown,
// recovering.
func Diagnose(prev Memory, obs Observation, primary PrimaryFacts, now time.Time, cfg DiagnoseConfig) (Diagnosis, Memory) {
	m := prev
	moved := m.follow(&obs, primary, now)
	v := judge(&obs)
	if v.class == ClassHealthy && len(obs.Sources) == 1 {
		v = m.judgeLag(&obs.Sources[0], now, cfg)
	}
	switch {
	case v.fault:
		m.enterFault(v, now)
	case v.class == ClassHealthy || v.class == ClassLagging:
		if m.proving(moved, now, cfg.Stable) {
			v = plain(ClassUnknown, ReasonRecovering, "threads run again; it is not proven yet that the fault is over")
		}
	default: // not seen: an open fault stays open, and nothing is proven
		m.Clean, m.CleanMoves = Stamp{}, 0
	}
	if m.Class != v.class {
		m.Began = StampOf(now)
	}
	m.Class, m.Reason = v.class, v.reason
	d := Diagnosis{Class: v.class, Reason: v.reason, Detail: v.detail, Evidence: v.evidence,
		Since: m.since(v), Moves: m.Moves}
	if src := obs.Source(); src != nil {
		d.Lag = src.Lag
	}
	return d, m
}

// follow keeps how this server's set and the primary's move.
func (m *Memory) follow(obs *Observation, primary PrimaryFacts, now time.Time) (moved bool) {
	if !obs.Reachable {
		return false
	}
	moved = m.Executed != "" && m.Executed != obs.Executed
	m.Executed = obs.Executed
	if moved {
		m.Moves++
	}
	seen := ""
	if primary.Executed != "" {
		seen = primary.Node + " " + primary.Executed
	}
	switch {
	case moved || seen == "" || primary.Executed == obs.Executed:
		m.First, m.Last = Stamp{}, Stamp{}
	case m.Primary != "" && m.Primary != seen:
		if m.First.IsZero() {
			m.First = StampOf(now)
		}
		m.Last = StampOf(now)
	}
	m.Primary = seen
	return moved
}

// judgeLag judges a replica whose threads run. The server's own estimate is 0
// during a network cut or behind a lock, so the primary's progress counts
// too: one that goes on while nothing is applied here.
func (m *Memory) judgeLag(src *SourceStatus, now time.Time, cfg DiagnoseConfig) verdict {
	limit := cfg.MaxLag + src.Delay
	switch {
	case cfg.MaxLag <= 0:
	case src.Lag.Known && src.Lag.Behind > limit:
		return plain(ClassLagging, ReasonLag, fmt.Sprintf("%s behind its source, allowed are %s", src.Lag.Behind, limit))
	case !m.First.IsZero() && m.Last.Sub(m.First.Time) > limit:
		return plain(ClassLagging, ReasonNoProgress, fmt.Sprintf("the primary's set has grown for %s and this one's has not",
			now.Sub(m.First.Time).Round(time.Second)))
	}
	return plain(ClassHealthy, "", "both threads run")
}

// enterFault opens a fault, or goes on with the one that is open.
func (m *Memory) enterFault(v verdict, now time.Time) {
	if m.Fault.IsZero() {
		m.Fault, m.Moves, m.Failed = StampOf(now), 0, false
	}
	m.Failed = m.Failed || v.reason != ReasonConnecting
	if v.class.Curable() && m.Curable.IsZero() {
		m.Curable = StampOf(now)
	}
	m.Clean, m.CleanMoves = Stamp{}, 0
}

// proving says that a fault is open whose end is not proven yet; it closes
// the fault when it is.
func (m *Memory) proving(moved bool, now time.Time, stable time.Duration) bool {
	if m.Fault.IsZero() {
		return false
	}
	if m.Clean.IsZero() {
		m.Clean = StampOf(now)
	} else if moved {
		m.CleanMoves++
	}
	if !m.Failed {
		stable = min(stable, stableAfterConnecting)
	}
	if m.CleanMoves < provingMoves && now.Sub(m.Clean.Time) < stable {
		return true
	}
	m.Fault, m.Curable, m.Clean, m.Failed = Stamp{}, Stamp{}, Stamp{}, false
	m.CleanMoves, m.Moves = 0, 0
	return false
}

// since is when what is diagnosed began. A fault that a rebuild cures counts
// from when it was first seen as such: an hour without a source must not
// make the first second of divergence an old one.
func (m *Memory) since(v verdict) Stamp {
	switch {
	case v.class.Curable():
		return m.Curable
	case !m.Fault.IsZero() && (v.fault || v.reason == ReasonRecovering):
		return m.Fault
	}
	return m.Began
}
