package gossip

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"resilver/watchdog"
)

const (
	// maxReports bounds the map against senders gone mad.
	maxReports = 1024
	// forgetAfter is when a node that is not heard of any more is dropped.
	forgetAfter = 24 * time.Hour
)

// said is one node's report on its way, with what orders it among others of
// the node: first the life of the sidecar, then the report's number in it.
type said struct {
	Life   int64           `json:"l"` // grows with each start of the node's sidecar
	Origin uint64          `json:"o"` // drawn at each start: tells two sidecars of one name apart
	AgeMS  int64           `json:"a"` // how old the report was when it was sent, in milliseconds
	Report watchdog.Report `json:"r"`
}

func (s *said) newer(than *said) bool {
	if s.Life != than.Life {
		return s.Life > than.Life
	}
	return s.Report.Seq > than.Report.Seq
}

// heard is a report that has arrived, and when it was made by the clock here.
type heard struct {
	said
	made time.Time
}

// reports are the newest report of each node.
type reports struct {
	self   string
	origin uint64
	limit  int // largest broadcast, in bytes

	mu     sync.Mutex
	life   int64
	seq    uint64
	raised bool // the life has been raised over one of ours from before
	byNode map[string]heard
	own    watchdog.Report // this node's last report, nothing left out
	told   watchdog.Report // the last one that was broadcast, without number and time
	toldAt time.Time
}

// repeatEvery is how often a report is broadcast that says nothing new. It has
// to be well within the time for which a report is fresh.
const repeatEvery = 2500 * time.Millisecond

func newReports(self string, limit int) *reports {
	return &reports{self: self, origin: rand.Uint64(), limit: limit, life: time.Now().UnixNano(),
		byNode: map[string]heard{}}
}

// publish takes this node's report and returns what to broadcast; nil where
// it does not fit into a packet and only full exchanges can carry it.
func (r *reports) publish(rep watchdog.Report) ([]byte, error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	rep.Node, rep.Seq = r.self, r.seq
	if rep.Time.IsZero() {
		rep.Time = watchdog.StampOf(now)
	}
	r.own = rep
	s := said{Life: r.life, Origin: r.origin, Report: rep}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode a report: %w", err)
	}
	if len(b) > r.limit {
		s.Report.Executed = ""
		if b, err = json.Marshal(s); err != nil {
			return nil, fmt.Errorf("encode a report: %w", err)
		}
	}
	r.byNode[r.self] = heard{said: s, made: now}
	if len(b) > r.limit {
		return nil, nil
	}
	return b, nil
}

// repeats says that a report of this node tells nothing new so soon after the
// last broadcast that it may be left out.
func (r *reports) repeats(rep watchdog.Report, now time.Time) bool {
	rep.Node, rep.Seq, rep.Time = "", 0, watchdog.Stamp{}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.toldAt) < repeatEvery && reflect.DeepEqual(rep, r.told) {
		return true
	}
	r.told, r.toldAt = rep, now
	return false
}

// verdict on a report that arrived.
type verdict int

const (
	known verdict = iota // nothing new
	fresh                // newer than what was known: to be passed on
	twin                 // another living sidecar speaks in this node's name
)

// take judges a report that arrived.
func (r *reports) take(s said, now time.Time) verdict {
	if s.Report.Node == "" {
		return known
	}
	age := time.Duration(min(max(s.AgeMS, 0), forgetAfter.Milliseconds())) * time.Millisecond
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Report.Node == r.self {
		return r.takeOwn(s)
	}
	have, ok := r.byNode[s.Report.Node]
	if ok && !s.newer(&have.said) || !ok && (len(r.byNode) >= maxReports || age >= forgetAfter) {
		return known
	}
	r.byNode[s.Report.Node] = heard{said: s, made: now.Add(-age)}
	return fresh
}

// takeOwn meets a report in this node's own name. One of an earlier life,
// started when the clock stood later, would outlive ours: the life is raised
// above it, once. That silences the dead; who is still ahead after that lives.
func (r *reports) takeOwn(s said) verdict {
	if s.Origin == r.origin || s.Life < r.life {
		return known
	}
	r.life = s.Life + 1
	if r.raised {
		return twin
	}
	r.raised = true
	return known
}

// relay is a report that arrived in a form to be passed on.
func (s *said) relay() ([]byte, error) { return json.Marshal(s) }

// all are the reports known, with their present ages, for a full exchange.
func (r *reports) all(now time.Time) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]said, 0, len(r.byNode))
	for node, h := range r.byNode {
		age := since(h.made, now)
		if age >= forgetAfter {
			delete(r.byNode, node)
			continue
		}
		h.AgeMS = age.Milliseconds()
		out = append(out, h.said)
	}
	return json.Marshal(out)
}

// each calls f with every report known and its age, this node's whole.
func (r *reports) each(now time.Time, f func(rep watchdog.Report, age time.Duration)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for node, h := range r.byNode {
		if node == r.self {
			h.Report = r.own
		}
		f(h.Report, max(0, since(h.made, now)))
	}
}

// since is the time from t to now by whichever of the two clocks says more:
// the monotonic clock stands still while a machine is suspended.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
