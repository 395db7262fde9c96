package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"resilver/watchdog"
)

const (
	// twinMemory is how long another node of this node's own name is not
	// spoken of again.
	twinMemory = time.Minute
	// packet is memberlist's largest UDP payload; headroom is what it, the
	// encryption and the compound header may add to a message.
	packet   = 1400
	headroom = 100
)

// Options of a Gossip.
type Options struct {
	Name      string // this node's name
	Cluster   string // name of the cluster: members of another are refused
	Bind      string // address to listen on; a name is resolved
	Advertise string // address the others find it at; empty: found from Bind
	Port      int    // TCP and UDP; 0: any free one
	// Keys encrypt gossip: the first is used, all are understood (ParseKeys).
	// None: plain text.
	Keys [][]byte
	Join []string // gossip addresses host:port of the configured nodes, this one may be among them

	// What the others are told of this node once.
	PeerAddress string
	RaftID      string
	Version     string

	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// transport replaces the network in tests, tune memberlist's pace.
	transport memberlist.NodeAwareTransport
	tune      func(*memberlist.Config)
}

func (o *Options) check() error {
	var errs []error
	if o.Name == "" || o.Cluster == "" {
		errs = append(errs, errors.New("want a node name and a cluster name"))
	}
	if len(o.Cluster) > memberlist.LabelMaxSize {
		errs = append(errs, fmt.Errorf("cluster name is longer than %d bytes", memberlist.LabelMaxSize))
	}
	if o.Port < 0 || o.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d", o.Port))
	}
	for i, k := range o.Keys {
		if err := checkKey(k); err != nil {
			errs = append(errs, fmt.Errorf("gossip key %d: %w", i+1, err))
		}
	}
	for _, seed := range o.Join {
		if _, port, err := net.SplitHostPort(seed); err != nil {
			errs = append(errs, fmt.Errorf("seed %q: want host:port", seed))
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			errs = append(errs, fmt.Errorf("seed %q: port is no number", seed))
		}
	}
	if o.Logger == nil || o.Registerer == nil {
		errs = append(errs, errors.New("want a logger and a registerer"))
	}
	return errors.Join(errs...)
}

// Member is a sidecar that is or was there.
type Member struct {
	Name          string
	GossipAddress string // host:port
	PeerAddress   string // host:port of its TLS port
	RaftID        string
	Version       string
	Alive         bool
}

// Gossip is this node's membership of the cluster.
type Gossip struct {
	opts    Options
	log     *slog.Logger
	meta    []byte
	reports *reports
	queue   *memberlist.TransmitLimitedQueue
	metrics metrics

	mu       sync.Mutex
	members  map[string]Member
	lastTwin time.Time

	life struct {
		sync.Mutex
		list    *memberlist.Memberlist
		stop    context.CancelFunc
		stopped bool
	}
	wg sync.WaitGroup
}

var _ watchdog.Cluster = (*Gossip)(nil)

// New makes a Gossip that does nothing until it is started.
func New(o Options) (*Gossip, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	m, err := meta{PeerAddress: o.PeerAddress, RaftID: o.RaftID, Version: o.Version}.encode()
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g := &Gossip{opts: o, log: o.Logger, meta: m, members: map[string]Member{},
		reports: newReports(o.Name, packet-headroom-len(o.Cluster))}
	g.queue = &memberlist.TransmitLimitedQueue{NumNodes: func() int { return max(1, g.alive()) }, RetransmitMult: 4}
	if g.metrics, err = newMetrics(o.Registerer, g); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return g, nil
}

// Members are all sidecars heard of, the dead and this one included, by name.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Member, 0, len(g.members))
	for _, m := range g.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// View is the cluster as known here now (watchdog.Cluster).
func (g *Gossip) View() watchdog.View {
	v := watchdog.View{Self: g.opts.Name, Nodes: map[string]watchdog.NodeView{}}
	v.Nodes[g.opts.Name] = watchdog.NodeView{Report: watchdog.Report{Node: g.opts.Name}, Alive: true}
	for _, m := range g.Members() {
		v.Nodes[m.Name] = watchdog.NodeView{Report: watchdog.Report{Node: m.Name}, Address: m.GossipAddress,
			Alive: m.Alive || m.Name == g.opts.Name}
	}
	g.reports.each(time.Now(), func(rep watchdog.Report, age time.Duration) {
		n := v.Nodes[rep.Node]
		n.Report, n.Age, n.Heard = rep, age, true
		v.Nodes[rep.Node] = n
	})
	return v
}

// Publish tells the others of this node (watchdog.Cluster). Node and Seq are
// filled in. GTID sets that do not fit into a packet are left out on the way.
// A report that says nothing new is broadcast every 2.5 s.
func (g *Gossip) Publish(rep watchdog.Report) {
	b, err := g.reports.publish(rep)
	switch {
	case err != nil:
		g.log.Error("publish a report", "err", err)
	case b == nil:
		g.log.Warn("report is too long for a packet: it travels with full exchanges only")
	case !g.reports.repeats(rep, time.Now()):
		g.broadcast(g.opts.Name, b)
	}
}

func (g *Gossip) broadcast(node string, msg []byte) {
	g.queue.QueueBroadcast(&broadcast{node: node, msg: msg})
}

func (g *Gossip) takeReport(s said, now time.Time) verdict {
	v := g.reports.take(s, now)
	switch v {
	case fresh:
		g.metrics.reports.WithLabelValues("fresh").Inc()
	case known:
		g.metrics.reports.WithLabelValues("known").Inc()
	case twin:
		g.meetTwin("")
	}
	return v
}

// meetTwin notes another sidecar of this node's name; address may be unknown.
func (g *Gossip) meetTwin(address string) {
	g.metrics.conflicts.Inc()
	now := time.Now()
	g.mu.Lock()
	first := g.lastTwin.IsZero() || since(g.lastTwin, now) >= twinMemory
	g.lastTwin = now
	g.mu.Unlock()
	if first {
		g.log.Error("another node goes by this node's name", "name", g.opts.Name, "address", address)
	}
}

// setMember is called under memberlist's lock.
func (g *Gossip) setMember(n *memberlist.Node, alive bool) {
	said := decodeMeta(n.Meta)
	m := Member{Name: n.Name, GossipAddress: n.Address(), PeerAddress: said.PeerAddress,
		RaftID: said.RaftID, Version: said.Version, Alive: alive}
	g.mu.Lock()
	former, ok := g.members[n.Name]
	g.members[n.Name] = m
	g.mu.Unlock()
	if !ok || former.Alive != alive {
		g.log.Info("member changed", "name", m.Name, "address", m.GossipAddress, "alive", alive)
	}
}

func (g *Gossip) alive() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, m := range g.members {
		if m.Alive {
			n++
		}
	}
	return n
}
