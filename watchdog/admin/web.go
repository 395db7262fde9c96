package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// WebOptions of a Web. All are required.
type WebOptions struct {
	Listen   string // host:port
	Gatherer prometheus.Gatherer
	Logger   *slog.Logger
}

// Web is the plain HTTP port: /metrics, and /-/healthy, which says that the
// process answers and nothing of its replica.
type Web struct {
	listener net.Listener
	http     *http.Server
}

// ListenWeb binds the port; Serve answers at it.
func ListenWeb(o WebOptions) (*Web, error) {
	if o.Gatherer == nil || o.Logger == nil {
		return nil, errors.New("admin: no gatherer or no logger")
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for http: %w; choose another http.listen", err)
	}
	errorLog := slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		ErrorLog: errorLog, MaxRequestsInFlight: 8, Timeout: writeTimeout}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("resilver is running\n"))
	})
	return &Web{listener: l, http: &http.Server{
		Handler: http.MaxBytesHandler(mux, maxBody), ErrorLog: errorLog,
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: 3 * writeTimeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}}, nil
}

// Serve answers until ctx ends; then it returns nil.
func (w *Web) Serve(ctx context.Context) error {
	return serve(ctx, w.http, w.listener, func() {})
}
