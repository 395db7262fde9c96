package sidecar

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"resilver/watchdog"
)

// metrics of one sidecar. Labels are closed sets, created up front; what is
// not known is absent, never zero.
type metrics struct {
	registry *prometheus.Registry
	class    *prometheus.GaugeVec
	lag      *prometheus.GaugeVec
	guards   *prometheus.GaugeVec
	rebuilds *prometheus.CounterVec
	drills   *prometheus.CounterVec
	failing  *prometheus.GaugeVec
	drillEnd *prometheus.GaugeVec
	steps    *prometheus.HistogramVec
	copied   prometheus.Counter
	sent     prometheus.Counter
	outage   *prometheus.GaugeVec
}

func newMetrics(r *prometheus.Registry, cluster, version string) *metrics {
	labels := prometheus.Labels{"cluster": cluster}
	gauge := func(name, help string, names ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, names)
		r.MustRegister(v)
		return v
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		registry: r,
		class:    gauge("resilver_diagnosis", "1 for the class that the replica is in now, 0 for the others.", "class"),
		lag:      gauge("resilver_replica_lag_seconds", "How far the replica is behind its source, by the server's own estimate; absent where unknown."),
		guards:   gauge("resilver_guard_failing", "1 where a guard keeps a rebuild that is due from beginning.", "guard"),
		copied:   counter("resilver_copied_bytes_total", "Bytes copied from donors for rebuilds of this node."),
		sent:     counter("resilver_donated_bytes_total", "Bytes given to other nodes as their donor."),
		outage:   gauge("resilver_last_outage_seconds", "How long the replica was away in its last rebuild; absent before one."),
		failing:  gauge("resilver_drill_failing", "1 where the node's last drill or backup failed, 0 where it passed; absent before one."),
		drillEnd: gauge("resilver_drill_ended_timestamp_seconds", "When the node's last drill or backup passed or failed; absent before one."),
		drills: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "resilver_drills_total", Help: "Drills and backups of this node, by what asked for them and how they ended.",
			ConstLabels: labels}, []string{"trigger", "outcome"}),
		rebuilds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "resilver_rebuilds_total", Help: "Rebuilds of this node by outcome.", ConstLabels: labels}, []string{"outcome"}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "resilver_step_duration_seconds", Help: "How long each step of a rebuild took.",
			ConstLabels: labels, Buckets: []float64{.01, .1, 1, 10, 60, 600, 3600, 21600}}, []string{"step"}),
	}
	build := gauge("resilver_build_info", "The version that runs.", "version", "goversion")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	r.MustRegister(m.rebuilds, m.drills, m.steps, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range watchdog.Classes() {
		m.class.WithLabelValues(string(c)).Set(0)
	}
	for _, o := range []watchdog.Result{watchdog.Healed, watchdog.Failed, watchdog.Cancelled, watchdog.RolledBack} {
		m.rebuilds.WithLabelValues(string(o))
	}
	for _, trigger := range []string{watchdog.TriggerDrill, watchdog.TriggerBackup} {
		for _, o := range []watchdog.Result{watchdog.Passed, watchdog.Failed, watchdog.Cancelled} {
			m.drills.WithLabelValues(trigger, string(o))
		}
	}
	for _, id := range watchdog.GuardIDs() {
		m.guards.WithLabelValues(id).Set(0)
	}
	for _, s := range watchdog.Steps() {
		m.steps.WithLabelValues(string(s))
	}
	return m
}

// lease shows whether this node holds the lease.
func (m *metrics) lease(held func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "resilver_lease_held",
		Help: "1 while this node holds the lease to rebuild."}, func() float64 { return truth(held()) }))
}

// observed is told of every pass of the loop.
func (m *metrics) observed(_ watchdog.Observation, diag watchdog.Diagnosis, d watchdog.Decision) {
	for _, c := range watchdog.Classes() {
		m.class.WithLabelValues(string(c)).Set(truth(c == diag.Class))
	}
	if s := diag.Lag.Seconds(); s != nil {
		m.lag.WithLabelValues().Set(*s)
	} else {
		m.lag.DeleteLabelValues()
	}
	failing := map[string]bool{}
	if d.Rung == watchdog.RungRebuild {
		for _, g := range watchdog.Failing(d.Guards) {
			failing[g.ID] = true
		}
	}
	// Of all guards: one that this look left out must not stay at what an
	// earlier one found.
	for _, id := range watchdog.GuardIDs() {
		m.guards.WithLabelValues(id).Set(truth(failing[id]))
	}
}

func (m *metrics) stepped(step watchdog.Step, took time.Duration) {
	m.steps.WithLabelValues(string(step)).Observe(took.Seconds())
}

// drilled shows how the last drill ended; nil is none.
func (m *metrics) drilled(last *watchdog.Record) {
	if last == nil {
		return
	}
	m.failing.WithLabelValues().Set(truth(last.Outcome == watchdog.Failed))
	m.drillEnd.WithLabelValues().Set(float64(last.Ended.UnixMilli()) / 1000)
}

func (m *metrics) ended(r watchdog.Record) {
	if r.Drill() {
		m.drills.WithLabelValues(r.Trigger, string(r.Outcome)).Inc()
		return
	}
	if !r.Rollback() {
		m.rebuilds.WithLabelValues(string(r.Outcome)).Inc()
	}
	if r.OutageSeconds != nil {
		m.outage.WithLabelValues().Set(*r.OutageSeconds)
	}
}

func (m *metrics) received(n int64) { m.copied.Add(float64(n)) }

func (m *metrics) given(n int64) { m.sent.Add(float64(n)) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
