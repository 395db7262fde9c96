package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"resilver/cmd/internal/sidecar"
	"resilver/config"
)

func (a *app) runCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "run", GroupID: "daemon", Args: cobra.NoArgs,
		Short: "run the sidecar, beside a mysqld",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.run(c.Context(), file)
		},
	}
	configFlag(c, &file)
	return c
}

func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "config", defaultConfig, "configuration file")
}

// configCure is what to do where --config names nothing.
const configCure = "name an existing one by --config FILE; without it that is " + defaultConfig

// absent adds the cure where what a person named does not exist.
func absent(err error, cure string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; %s", err, cure)
	}
	return err
}

// run is the daemon until ctx ends. It refuses to run a cluster that others
// could join or listen to.
func (a *app) run(ctx context.Context, file string) error {
	cfg, err := config.LoadFile(file, sidecar.Check)
	if err != nil {
		return &usageError{absent(err, configCure)}
	}
	if open := cfg.Unprotected(); len(open) > 0 {
		return open
	}
	logger := a.logger(cfg.Log)
	for _, w := range cfg.Warnings() {
		logger.Warn("configuration", "path", w.Path, "message", w.Message, "cure", w.Cure)
	}
	m := manager{logger}
	s, err := sidecar.New(cfg, sidecar.Options{Logger: logger, Version: a.Version, Failpoint: a.Failpoint,
		Ready: func() { m.ready(cfg.Probe.Interval) }, Beat: m.beat})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, m.stopping)()
	if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// logger writes to stderr as the configuration says.
func (a *app) logger(l config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo // Validate lets no other name through
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(a.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.Stderr, options))
}
