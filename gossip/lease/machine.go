package lease

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

// machine drives the state by raft's log. Besides the state it keeps what is
// this node's own: when it applied the last renewal, by its own monotonic
// clock, and the configuration's index.
type machine struct {
	mu          sync.Mutex
	state       *state
	key         renewal
	heardAt     time.Time
	configIndex uint64
	index       uint64 // of the last command applied since the start
}

// renewal tells one renewal of one lease from every other.
type renewal struct {
	token, renewed uint64
	phase          watchdog.Phase
}

func newMachine() *machine { return &machine{state: newState()} }

// Apply implements raft.FSM. It never panics and never fails on what it does
// not understand: the answer says so, the same on every node.
func (m *machine) Apply(l *raft.Log) any {
	var c command
	if err := json.Unmarshal(l.Data, &c); err != nil {
		return invalid("unreadable command")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.state.apply(l.Index, c)
	m.index, a.Index = l.Index, l.Index
	m.noteRenewal()
	return a
}

// applied is the index of the last command that this copy has seen.
func (m *machine) applied() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index
}

// noteRenewal starts this node's own count for a renewal it has just applied.
func (m *machine) noteRenewal() {
	var key renewal
	if g := m.state.Lease; g != nil {
		key = renewal{g.Token, g.Renewed, g.Phase}
	}
	if key != m.key {
		m.key, m.heardAt = key, time.Now()
	}
}

// StoreConfiguration implements raft.ConfigurationStore.
func (m *machine) StoreConfiguration(index uint64, _ raft.Configuration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configIndex = index
}

// lastConfig is the index of the newest configuration entry, 0 where none was
// seen since the start: raft's own GetConfiguration does not tell it.
func (m *machine) lastConfig() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.configIndex
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.state.encode()
	if err != nil {
		return nil, fmt.Errorf("write lease snapshot: %w", err)
	}
	return snapshot(b), nil
}

// Restore implements raft.FSM: the old state stays where the new one cannot
// be read.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read lease snapshot: %w", err)
	}
	s, err := decodeState(b)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
	m.key = renewal{}
	m.noteRenewal()
	return nil
}

type snapshot []byte

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("write lease snapshot: %w", err)
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s snapshot) Release() {}

// leaseNow is the lease in force and how long ago this node applied its last
// renewal; nil without one.
func (m *machine) leaseNow() (*grant, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.Lease == nil {
		return nil, 0
	}
	g := *m.state.Lease
	return &g, time.Since(m.heardAt)
}

// clusterID is empty until the cluster has one.
func (m *machine) clusterID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.ClusterID
}

// check answers a donor, or with no name anybody, by this node's copy.
func (m *machine) check(self, clusterID string, token uint64, holder string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	switch {
	case s.ClusterID == "":
		return watchdog.ErrTokenAhead
	case s.ClusterID != clusterID:
		return watchdog.ErrTokenStale
	case s.LastToken < token:
		return watchdog.ErrTokenAhead
	case s.Lease == nil || s.Lease.Token != token || s.Lease.Holder != holder || self != "" && s.Lease.Donor != self:
		return watchdog.ErrTokenStale
	}
	return nil
}

// view copies the state for display.
func (m *machine) view() watchdog.LeaseState {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	v := watchdog.LeaseState{
		ClusterID: s.ClusterID, Breaker: s.Breaker, LastToken: s.LastToken,
		History: slices.Clone(s.History),
	}
	if s.Clock != 0 {
		v.Clock = time.UnixMilli(s.Clock).UTC()
	}
	if s.Lease != nil {
		h := s.Lease.Holding
		v.Lease = &h
	}
	now := time.Now()
	for _, p := range s.Pauses {
		if p.Until.IsZero() || p.Until.After(now) {
			v.Pauses = append(v.Pauses, p)
		}
	}
	return v
}
