package watchdog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Phase of a lease. A critical lease does not expire.
type Phase string

// The phases.
const (
	PhaseCopying  Phase = "copying"
	PhaseCritical Phase = "critical"
)

// Errors of the lease to branch on.
var (
	// ErrLeaseLost is the cause of a lease's context that died.
	ErrLeaseLost = errors.New("lease lost")
	// ErrNoQuorum means that no raft leader answered in time: nothing is known.
	ErrNoQuorum = errors.New("no quorum: no raft leader answered")
	// ErrTokenAhead means that this node has not applied the token yet: wait and ask again.
	ErrTokenAhead = errors.New("token not applied here yet")
	// ErrTokenStale means that the token is not the one of the lease in force.
	ErrTokenStale = errors.New("token is not that of the lease in force")
)

// Refusal is the lease machine's definite no, with the guard it belongs to:
// lease, paused, breaker, budget-node, budget-cluster, cooldown or donor.
type Refusal struct {
	Guard  string `json:"guard"`
	Reason string `json:"reason"`
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused by guard %s: %s", r.Guard, r.Reason) }

// Budget bounds rebuilds; it travels with the request, because the machine
// reads no configuration.
type Budget struct {
	NodePerDay     int           `json:"node_per_day"`
	ClusterPerHour int           `json:"cluster_per_hour"`
	Cooldown       time.Duration `json:"cooldown"` // after a rebuild of this node; doubles with each failure
}

// Request asks for the lease. Repeating it with the same ID returns the same grant.
type Request struct {
	ID       string   `json:"id"` // the rebuild's id
	Donor    string   `json:"donor"`
	Method   string   `json:"method"`
	Trigger  string   `json:"trigger"`
	By       string   `json:"by"`
	Cause    Cause    `json:"cause"`
	Budget   Budget   `json:"budget"`
	Override []string `json:"override,omitempty"` // guards a person overrides: budget-node, budget-cluster, cooldown, breaker
}

// Holding is the lease as raft holds it.
type Holding struct {
	Token   uint64        `json:"token"`
	Holder  string        `json:"holder"`
	Donor   string        `json:"donor"`
	ID      string        `json:"id"`
	Trigger string        `json:"trigger"`
	Phase   Phase         `json:"phase"`
	Renewed uint64        `json:"renewed"` // raft index of the last acquire, renew or phase change
	TTL     time.Duration `json:"ttl"`
	Since   Stamp         `json:"since"`
}

// Pause stops new rebuilds, of the cluster or of one node.
type Pause struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
	Until  Stamp  `json:"until"` // absent: until resume
	Node   string `json:"node"`  // empty: the whole cluster
}

// Breaker stops all rebuilds until a person's ack.
type Breaker struct {
	Open   bool   `json:"open"`
	Reason string `json:"reason"`
	Since  Stamp  `json:"since"`
}

// LeaseState is what this node's copy of the machine says: for display and
// for deciding whether to ask. Authority comes from the answer alone.
type LeaseState struct {
	ClusterID string
	Quorum    bool   // a leader is known
	Leader    string // node name, empty: none known
	IsLeader  bool
	Lease     *Holding
	Pauses    []Pause // at most one for the cluster and one a node
	Breaker   Breaker
	History   []Record // newest first, bounded
	LastToken uint64
	Clock     time.Time // the largest leader's wall time the machine has seen
	Voters    []string
	Applied   uint64
}

// Lease is the right to rebuild, in the hand of its holder. Its context dies
// with it, with ErrLeaseLost as cause, unless it is critical: then it has no
// deadline.
type Lease interface {
	Token() uint64
	ClusterID() string
	Context() context.Context
	// EnterCritical commits the phase; only its nil error allows stop.
	EnterCritical(ctx context.Context) error
	// Release ends the lease and records rec. It is idempotent, and returns
	// an error only where the outcome is not known to be committed.
	Release(ctx context.Context, rec Record) error
}

// Leases grants the right to rebuild, through raft.
type Leases interface {
	State() LeaseState
	// Acquire returns a *Refusal for a definite no, ErrNoQuorum where nothing
	// is known.
	Acquire(ctx context.Context, req Request) (Lease, error)
	// Adopt takes up a critical lease that this node still holds with the
	// token its journal names; a lease that is not critical is released
	// instead, and ErrLeaseLost returned.
	Adopt(ctx context.Context, id string, token uint64) (Lease, error)
	// Check answers a donor: is this token the lease in force, held by holder
	// for this node as its donor? ErrTokenAhead, ErrTokenStale or nil.
	Check(clusterID string, token uint64, holder string) error
	// YieldLeadership hands raft's leadership to another healthy voter where
	// this node leads; nil when it does not lead or nobody could take it.
	YieldLeadership(ctx context.Context) error
	Pause(ctx context.Context, p Pause) error
	Resume(ctx context.Context, node string) error
	// Ack closes the breaker and ends a critical lease that nobody will finish.
	Ack(ctx context.Context, by string) error
}

// Cluster is the gossip around this node.
type Cluster interface {
	View() View
	Publish(Report)
}

// Peers asks other sidecars directly, over the mutual TLS port.
type Peers interface {
	// State asks the named node to probe its mysqld now.
	State(ctx context.Context, node string) (PeerState, error)
	// Objects asks the named node for the names of all that was made by SQL on its
	// server.
	Objects(ctx context.Context, node string) ([]string, error)
	// GTIDSubtract asks the named node's server for a minus b.
	GTIDSubtract(ctx context.Context, node, a, b string) (string, error)
	// GTIDBeyond asks the named node's server what of set, held by the server
	// with that id, is not in what primary has.
	GTIDBeyond(ctx context.Context, node, set string, id uint32, primary Observation) (string, error)
}
