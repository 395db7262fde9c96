package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Member is one node as gossip knows it: a hint, never authority.
type Member struct {
	Name          string
	GossipAddress string // host:port
	PeerAddress   string // host:port of its TLS port
	RaftID        string // name#incarnation
	Alive         bool
	Healthy       bool // fit to lead: its mysqld is well
}

// Options of a Node.
type Options struct {
	Name     string   // this node, as in its certificate
	Cluster  string   // the cluster's name
	StateDir string   // directory of its own, for raft alone; made where missing
	Join     []string // gossip addresses of the cluster, as configured

	// Stream carries raft's connections. The node closes it in Stop.
	Stream raft.StreamLayer
	// PeerAddress is the host:port under which others reach this node's TLS port.
	PeerAddress string

	TTL         time.Duration // of the lease, while copying
	CriticalMax time.Duration // after which a critical lease opens the breaker
	// Heartbeat is raft's heartbeat and election time-out; 0: 4 s, or down to
	// 0.8 s where the TTL is short. Heartbeats are most of what an idle leader costs.
	Heartbeat time.Duration

	// Members is everybody that gossip knows, this node included. It must not
	// block.
	Members func() []Member
	// Call sends body to the lease handler of the sidecar at peerAddress, over
	// mutual TLS, and returns its answer.
	Call func(ctx context.Context, peerAddress string, body []byte) ([]byte, error)

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	// Tests put these in the place of the machine's own.
	clock   func() time.Duration
	open    func(dir string) (backend, error)
	resolve func(ctx context.Context, host string) ([]string, error)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// check reports everything that is wrong with the options.
func (o *Options) check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!nameForm.MatchString(o.Name), "name %q: letters, digits, dots and dashes only", o.Name)
	bad(o.Cluster == "", "no cluster name")
	bad(o.StateDir == "", "no state directory")
	bad(len(o.Join) == 0, "empty join list")
	bad(o.Stream == nil, "no stream layer")
	_, _, err := net.SplitHostPort(o.PeerAddress)
	bad(err != nil, "peer address %q: not host:port", o.PeerAddress)
	bad(o.Heartbeat < 0, "negative heartbeat")
	bad(o.TTL < leastBeats*o.heartbeat(), "lease ttl %s: at least five times the heartbeat of %s", o.TTL, o.heartbeat())
	bad(o.CriticalMax <= 0, "critical_max must be positive")
	bad(o.Members == nil, "no list of members")
	bad(o.Call == nil, "no way to call other nodes")
	bad(o.Logger == nil, "no logger")
	if len(errs) > 0 {
		return fmt.Errorf("lease options: %w", errors.Join(errs...))
	}
	return nil
}

// A lease must outlive an election or two.
const (
	leastHeartbeat = 800 * time.Millisecond
	leastBeats     = 5
	// LeastTTL is the shortest lease that New takes with its own heartbeat.
	LeastTTL = leastBeats * leastHeartbeat
)

func (o *Options) heartbeat() time.Duration {
	if o.Heartbeat == 0 {
		return max(leastHeartbeat, min(4*time.Second, o.TTL/15))
	}
	return o.Heartbeat
}

// fill sets what was left out.
func (o *Options) fill() {
	o.Heartbeat = o.heartbeat()
	if o.clock == nil {
		o.clock = boottime
	}
	if o.open == nil {
		o.open = openBackend
	}
	if o.resolve == nil {
		o.resolve = net.DefaultResolver.LookupHost
	}
}
