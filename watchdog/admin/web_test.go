package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWeb(t *testing.T) {
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "resilver_lag_seconds", Help: "Lag."})
	registry.MustRegister(gauge)
	gauge.Set(3)
	w, err := ListenWeb(WebOptions{Listen: "127.0.0.1:0", Gatherer: registry, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(ctx) }()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{
		"/metrics":   "200 resilver_lag_seconds 3",
		"/-/healthy": "200 resilver is running",
		"/v1/status": "404 ",
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.listener.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		code, text, _ := strings.Cut(want, " ")
		if !strings.HasPrefix(resp.Status, code) || !strings.Contains(string(body), text) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	if _, err := ListenWeb(WebOptions{Listen: w.listener.Addr().String(), Gatherer: registry, Logger: slog.Default()}); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("a port in use: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
