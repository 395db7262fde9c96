package e2e

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// samples are values by metric and labels, without the label of the cluster,
// such as resilver_guard_failing{guard="lease"}.
type samples map[string]float64

// scrape reads a node's metrics as Prometheus does.
func scrape(ctx context.Context, n *lab.Node) (samples, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTPAddress()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("parse the metrics of %s: %w", n.Name, err)
	}
	out := samples{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				if l.GetName() != "cluster" {
					labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
				}
			}
			of := ""
			if len(labels) > 0 {
				of = "{" + strings.Join(labels, ",") + "}"
			}
			if h := m.GetHistogram(); h != nil {
				out[name+"_count"+of], out[name+"_sum"+of] = float64(h.GetSampleCount()), h.GetSampleSum()
				continue
			}
			out[name+of] = m.GetCounter().GetValue() + m.GetGauge().GetValue() // one of them is there
		}
	}
	return out, nil
}

// shows waits until a metric of a node has a value.
func shows(t *testing.T, n *lab.Node, metric string, want float64) samples {
	t.Helper()
	var seen samples
	must(t, lab.WaitFor(t.Context(), time.Minute, fmt.Sprintf("%s of %s to be %g", metric, n.Name, want), func(ctx context.Context) (bool, string) {
		var err error
		if seen, err = scrape(ctx, n); err != nil {
			return false, err.Error()
		}
		v, ok := seen[metric]
		return ok && v == want, fmt.Sprint(v, ok)
	}))
	return seen
}

// measured holds the metrics of a node against the only rebuild that it had,
// as history has it.
func measured(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	var history []watchdog.Record
	must(t, n.Ask(t.Context(), &history, "history"))
	if len(history) != 1 || history[0].OutageSeconds == nil {
		t.Fatalf("history: %+v", history)
	}
	r := history[0]
	shows(t, n, `resilver_rebuilds_total{outcome="healed"}`, 1)
	m := shows(t, n, `resilver_diagnosis{class="healthy"}`, 1)
	is := func(metric string, want float64) {
		t.Helper()
		if v, ok := m[metric]; !ok || math.Abs(v-want) > 1e-6 {
			t.Errorf("%s: %v, %t; want %v", metric, v, ok, want)
		}
	}
	for _, outcome := range watchdog.Results() {
		if outcome == watchdog.Passed { // a drill's
			continue
		}
		is(fmt.Sprintf("resilver_rebuilds_total{outcome=%q}", outcome), map[bool]float64{true: 1}[outcome == watchdog.Healed])
	}
	for _, class := range watchdog.Classes() {
		is(fmt.Sprintf("resilver_diagnosis{class=%q}", class), map[bool]float64{true: 1}[class == watchdog.ClassHealthy])
	}
	for _, guard := range watchdog.GuardIDs() {
		is(fmt.Sprintf("resilver_guard_failing{guard=%q}", guard), 0)
	}
	for _, step := range watchdog.Steps() {
		is(fmt.Sprintf("resilver_step_duration_seconds_count{step=%q}", step), 1)
	}
	for _, step := range r.Steps {
		is(fmt.Sprintf("resilver_step_duration_seconds_sum{step=%q}", step.Name), step.Seconds)
	}
	is("resilver_copied_bytes_total", float64(r.Bytes))
	is("resilver_last_outage_seconds", *r.OutageSeconds)
	is("resilver_lease_held", 0)
	if lag, ok := m["resilver_replica_lag_seconds"]; !ok || lag < 0 || lag > 10 {
		t.Errorf("the lag is %v, %t", lag, ok)
	}
	var build struct{ Version, Go string }
	must(t, n.Ask(t.Context(), &build, "version"))
	is(fmt.Sprintf("resilver_build_info{goversion=%q,version=%q}", build.Go, build.Version), 1)

	donor, err := c.Named(r.Donor)
	must(t, err)
	if m, err = scrape(t.Context(), donor); err != nil || m["resilver_donated_bytes_total"] < float64(r.Bytes)/2 {
		t.Errorf("the donor has given %v bytes of %d: %v", m["resilver_donated_bytes_total"], r.Bytes, err)
	}
	if m, err = scrape(t.Context(), c.Node(1)); err != nil {
		t.Error(err)
	}
	if lag, ok := m["resilver_replica_lag_seconds"]; ok {
		t.Errorf("the primary shows a lag of %v", lag)
	}
}
