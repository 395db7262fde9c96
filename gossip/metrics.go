package gossip

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reports   *prometheus.CounterVec
	conflicts prometheus.Counter
	rejoins   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, g *Gossip) (metrics, error) {
	m := metrics{
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "resilver_gossip_reports_total",
			Help: "Health reports that arrived, by what they were."}, []string{"kind"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "resilver_gossip_self_conflicts_total",
			Help: "Times another node was met that goes by this node's name."}),
		rejoins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "resilver_gossip_joins_total",
			Help: "Tries to join a configured node that was not a live member, by result."}, []string{"result"}),
	}
	for _, kind := range []string{"fresh", "known", "malformed"} {
		m.reports.WithLabelValues(kind)
	}
	for _, result := range []string{"joined", "failed"} {
		m.rejoins.WithLabelValues(result)
	}
	members := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "resilver_gossip_members",
		Help: "Sidecars alive, this one included."}, func() float64 { return float64(g.alive()) })
	var errs []error
	for _, c := range []prometheus.Collector{m.reports, m.conflicts, m.rejoins, members} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
