package sidecar

import (
	"log/slog"
	"testing"
	"time"

	"resilver/config"
	"resilver/gossip/lease"
)

// TestCheckAgreesWithNew: what Check passes is taken, and what it refuses is
// refused.
func TestCheckAgreesWithNew(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Config)
		taken  bool
	}{
		"defaults":       {func(*config.Config) {}, true},
		"shortest lease": {func(cfg *config.Config) { cfg.Lease.TTL = lease.LeastTTL }, true},
		"shorter lease":  {func(cfg *config.Config) { cfg.Lease.TTL = lease.LeastTTL - time.Millisecond }, false},
		"an argument":    {func(cfg *config.Config) { cfg.Rebuild.Mariabackup.Args = []string{"--throttle=5"} }, true},
		"compressed":     {func(cfg *config.Config) { cfg.Rebuild.Xtrabackup.Args = []string{"--throttle=5", "--compress"} }, false},
		"elsewhere":      {func(cfg *config.Config) { cfg.Rebuild.Mariabackup.Args = []string{"--stream=foo"} }, false},
	} {
		cfg := alone(t)
		c.change(cfg)
		if problems := Check(cfg); (len(problems) == 0) != c.taken {
			t.Errorf("%s: %v", name, problems)
		}
		s, err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler), Version: "test"})
		if (err == nil) != c.taken {
			t.Errorf("%s: New says %v", name, err)
		}
		if err == nil {
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		}
	}
}
