package lease

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"resilver/watchdog"
)

// Bounds of what the machine keeps.
const (
	maxHistory   = 64
	maxSeen      = 64
	maxCharges   = 1024
	maxPauses    = 64
	maxTextBytes = 1024
)

// snapshotVersion is the version of the state's JSON form.
const snapshotVersion = 1

// state is the machine: everything the cluster agrees on. It changes by apply
// alone, which is pure: no clock, no configuration, no I/O.
type state struct {
	Version   int                `json:"version"`
	ClusterID string             `json:"cluster_id"`
	LastToken uint64             `json:"last_token"`
	Clock     int64              `json:"clock"` // largest At seen, in milliseconds
	Lease     *grant             `json:"lease"`
	Pauses    []watchdog.Pause   `json:"pauses"`
	Breaker   watchdog.Breaker   `json:"breaker"`
	History   []watchdog.Record  `json:"history"` // newest first; the running one included
	Charges   []charge           `json:"charges"`
	Nodes     map[string]nodeLog `json:"nodes"`
	Seen      []seen             `json:"seen"` // oldest first
}

// grant is the lease in force.
type grant struct {
	watchdog.Holding
	Overdue bool `json:"overdue"` // critical for longer than critical_max
}

// charge is one rebuild on the budgets.
type charge struct {
	Token uint64 `json:"token"`
	Node  string `json:"node"`
	At    int64  `json:"at"`
}

// nodeLog is what cooldown and breaker need to know of one node's rebuilds.
type nodeLog struct {
	Fails  int             `json:"fails"`  // failed in a row
	Ended  int64           `json:"ended"`  // end of the last one that counts, in milliseconds
	Healed *watchdog.Cause `json:"healed"` // what its last rebuild healed, until ack
}

type seen struct {
	Req    string `json:"req"`
	Answer answer `json:"answer"`
}

func newState() *state {
	return &state{Version: snapshotVersion, Nodes: map[string]nodeLog{}}
}

// apply runs one committed command. index is its place in the raft log.
func (s *state) apply(index uint64, c command) answer {
	if c.V != commandVersion {
		return invalid(fmt.Sprintf("unknown command version %d", c.V))
	}
	if c.Req == "" || len(c.Req) > maxReqSize {
		return invalid("bad request id")
	}
	for _, old := range s.Seen {
		if old.Req == c.Req {
			return old.Answer
		}
	}
	s.Clock = max(s.Clock, c.At)
	a := s.dispatch(index, c)
	a.ClusterID = s.ClusterID
	s.Seen = append(s.Seen, seen{c.Req, a})
	if n := len(s.Seen) - maxSeen; n > 0 {
		s.Seen = slices.Delete(s.Seen, 0, n)
	}
	return a
}

func (s *state) dispatch(index uint64, c command) answer {
	switch c.Op {
	case opInit:
		return s.init(c)
	case opAcquire:
		return s.acquire(index, c)
	case opRenew:
		return s.renew(index, c)
	case opEnter:
		return s.enter(index, c)
	case opRelease:
		return s.release(c)
	case opAdopt:
		return s.adopt(index, c)
	case opExpire:
		return s.expire(c)
	case opOverdue:
		return s.overdue(c)
	case opPause:
		return s.pause(c)
	case opResume:
		return s.resume(c)
	case opAck:
		return s.ack(c)
	}
	return invalid("unknown operation")
}

// init gives the cluster its id; the first one stays.
func (s *state) init(c command) answer {
	if c.ID == "" {
		return invalid("empty cluster id")
	}
	if s.ClusterID == "" {
		s.ClusterID = c.ID
	}
	return answer{Code: codeOK}
}

// stamp is the machine's time.
func (s *state) stamp() watchdog.Stamp { return watchdog.StampOf(time.UnixMilli(s.Clock)) }

// holds says whether c's node holds the lease in force by c's token.
func (s *state) holds(c command) bool {
	return s.Lease != nil && c.Token != 0 && s.Lease.Token == c.Token && s.Lease.Holder == c.Node
}

// granted answers with a copy of the lease in force.
func (s *state) granted() answer {
	h := s.Lease.Holding
	return answer{Code: codeOK, Lease: &h}
}

func (s *state) encode() ([]byte, error) { return json.Marshal(s) }

// decodeState reads a snapshot, and refuses one it does not understand.
func decodeState(b []byte) (*state, error) {
	s := &state{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read lease snapshot: %w", err)
	}
	if s.Version != snapshotVersion {
		return nil, fmt.Errorf("read lease snapshot: version %d, this build reads %d", s.Version, snapshotVersion)
	}
	if s.Nodes == nil {
		s.Nodes = map[string]nodeLog{}
	}
	return s, nil
}

// cut bounds a text that a person or another node sent.
func cut(text string) string {
	if len(text) > maxTextBytes {
		return text[:maxTextBytes]
	}
	return text
}
