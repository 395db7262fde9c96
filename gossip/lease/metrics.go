package lease

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counter counts also where nobody collects.
type counter struct{ n atomic.Uint64 }

func (c *counter) Inc() { c.n.Add(1) }

// register adds this node's metrics, computed when they are asked for.
func (n *Node) register(reg prometheus.Registerer) error {
	gauge := func(name, help string, value func() float64) error {
		return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	restarts := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "resilver_raft_restarts_total",
		Help: "Times raft was fenced and restarted in this process, because of its disk or a wedged transfer.",
	}, func() float64 { return float64(n.restarts.n.Load()) })
	for _, err := range []error{
		gauge("resilver_raft_leader", "Whether this node leads the raft group.",
			func() float64 { return truth(n.State().IsLeader) }),
		gauge("resilver_raft_quorum", "Whether this node knows a raft leader.",
			func() float64 { return truth(n.State().Quorum) }),
		gauge("resilver_raft_applied_index", "Index of the last log entry handed to this node's copy of the machine.",
			func() float64 { return float64(n.State().Applied) }),
		gauge("resilver_breaker_open", "Whether the breaker is open and stops all rebuilds.",
			func() float64 { return truth(n.State().Breaker.Open) }),
		reg.Register(restarts),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}
