package lease

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"resilver/watchdog"
)

// tcpStream is raft over plain TCP on loopback.
type tcpStream struct{ net.Listener }

func (tcpStream) Dial(a raft.ServerAddress, d time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(a), d)
}

// TestOverTCP: three nodes on real sockets and real, synced stores.
func TestOverTCP(t *testing.T) {
	var mu sync.Mutex
	nodes := map[string]*Node{} // by peer address
	var members []Member
	listeners := map[string]net.Listener{}
	for _, name := range three() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[name] = ln
		members = append(members, Member{Name: name, GossipAddress: name + ":7373", PeerAddress: ln.Addr().String(), Healthy: true})
	}
	base := t.TempDir()
	byName := map[string]*Node{}
	registry := prometheus.NewRegistry()
	for i, name := range three() {
		o := Options{
			Name: name, Cluster: "orders", StateDir: filepath.Join(base, name), Join: gossipAddresses(three()),
			Stream: tcpStream{listeners[name]}, PeerAddress: members[i].PeerAddress,
			TTL: 3 * time.Second, CriticalMax: time.Minute, Heartbeat: 400 * time.Millisecond, Logger: testLog(name),
			Members: func() []Member {
				mu.Lock()
				defer mu.Unlock()
				return append([]Member(nil), members...)
			},
			Call: func(ctx context.Context, peer string, body []byte) ([]byte, error) {
				mu.Lock()
				n := nodes[peer]
				mu.Unlock()
				if n == nil {
					return nil, errors.New("connection refused")
				}
				return n.Handle(ctx, name, body)
			},
		}
		if name == "db1" {
			o.Registerer = registry
		}
		n, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.Start(t.Context()); err != nil {
			t.Fatalf("second start: %v", err)
		}
		defer stopTwice(t, n)
		mu.Lock()
		nodes[members[i].PeerAddress], byName[name] = n, n
		members[i].RaftID, members[i].Alive = n.RaftID(), true
		mu.Unlock()
	}
	soon(t, "a quorum", func() bool {
		for _, n := range byName {
			if s := n.State(); !s.Quorum || s.ClusterID == "" {
				return false
			}
		}
		return true
	})
	r := request("a")
	r.Budget = watchdog.Budget{NodePerDay: 1, ClusterPerHour: 1}
	l, err := byName["db2"].Acquire(t.Context(), *r)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the donor knows", func() bool { return byName["db1"].Check(l.ClusterID(), l.Token(), "db2") == nil })
	for name, n := range byName {
		if n.State().IsLeader {
			if err := n.YieldLeadership(t.Context()); err != nil {
				t.Errorf("%s yields: %v", name, err)
			}
			break
		}
	}
	if err := l.EnterCritical(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context(), watchdog.Record{Outcome: watchdog.Healed}); err != nil {
		t.Fatal(err)
	}
	var refusal *watchdog.Refusal
	r.ID = "b"
	if _, err := byName["db2"].Acquire(t.Context(), *r); !errors.As(err, &refusal) || refusal.Guard != "budget-node" {
		t.Errorf("over budget: %v", err)
	}
	if families, err := registry.Gather(); err != nil || len(families) != 5 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
}

func stopTwice(t *testing.T, n *Node) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range 2 {
		if err := n.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if err := n.Start(ctx); err == nil {
		t.Error("started after stop")
	}
}

// soon polls in real time.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", what)
}
