package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"resilver/cmd/internal/lab"
)

func upCmd(dir *string) *cobra.Command {
	o := lab.Options{Out: os.Stderr}
	var set []string
	var bare bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a new cluster, wait until all replicate, print its lab.json, leave it running",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Nodes == 0 { // in Options the default
				return usageError{errors.New("--nodes 0: want at least 1")}
			}
			if o.Dir, err = resolve(*dir); err != nil {
				return err
			}
			if o.Set, err = keyValues(set); err != nil {
				return err
			}
			if bare {
				o.Binary = ""
			}
			c, err := lab.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			text, err := c.JSON()
			if err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return fmt.Errorf("print lab.json: %w", err)
			}
			return c.Close()
		},
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", 3, "how many servers, the first one the primary")
	engineFlag(cmd, &o.Engine)
	cmd.Flags().StringVar(&o.Layout, "layout", lab.LayoutFlat, "where the servers have their files: "+lab.LayoutFlat+"; "+lab.LayoutSplit+": logs, system tablespace, redo and undo outside the datadir; "+lab.LayoutMount+": the datadir a mount point, as root; "+lab.LayoutScattered+": tables may have a DATA DIRECTORY in DIR/ext, as root")
	cmd.Flags().StringArrayVar(&set, "set", nil, "KEY=VALUE: a key of all sidecars' configuration, such as policy.broken_for=10s")
	cmd.Flags().StringArrayVar(&o.Mysqld, "mysqld", nil, "KEY=VALUE: a line of all servers' option files, such as sync_binlog=0")
	cmd.Flags().IntVar(&o.DataMB, "data", 0, "megabytes of rows to begin with")
	cmd.Flags().BoolVar(&bare, "bare", false, "servers only, no resilver")
	binaryFlag(cmd, &o.Binary)
	return cmd
}

// engineFlag lets a command choose the database.
func engineFlag(cmd *cobra.Command, engine *string) {
	cmd.Flags().StringVar(engine, "engine", lab.MySQL, "the database engine: "+strings.Join(lab.Engines(), " or "))
}

// binaryFlag lets a command find resilver beside itself.
func binaryFlag(cmd *cobra.Command, path *string) {
	beside := "bin/resilver"
	if self, err := os.Executable(); err == nil {
		beside = filepath.Join(filepath.Dir(self), "resilver")
	}
	cmd.Flags().StringVar(path, "resilver", beside, "the resilver program")
}

func keyValues(set []string) (map[string]string, error) {
	keys := map[string]string{}
	for _, text := range set {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, usageError{fmt.Errorf("--set %q: want KEY=VALUE", text)}
		}
		keys[key] = value
	}
	return keys, nil
}

func startCmd(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Start again whatever of the cluster does not run",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open(*dir, func(c *lab.Cluster) error { return c.Start(cmd.Context()) })
		},
	}
}

func downCmd(dir *string) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove its data",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open(*dir, func(c *lab.Cluster) error {
				if keep {
					return c.Stop(cmd.Context())
				}
				return c.Down(cmd.Context())
			})
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "end it in good order and keep its data, for start")
	return cmd
}

func statusCmd(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what runs, and what servers and sidecars say",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open(*dir, func(c *lab.Cluster) error {
				cmd.Print(c.Overview(cmd.Context()))
				return nil
			})
		},
	}
}

func fetchCmd() *cobra.Command {
	return &cobra.Command{
		Use:       "fetch [ENGINE...]",
		Short:     "Get the database servers, where none is installed, and say which they are",
		ValidArgs: lab.Engines(),
		Args:      args(cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, engines []string) error {
			if len(engines) == 0 {
				engines = lab.Engines()
			}
			for _, engine := range engines {
				s, err := lab.Servers(cmd.Context(), engine, os.Stderr)
				if err != nil {
					return err
				}
				cmd.Printf("%s: %s\n", s, s.Mysqld)
			}
			return nil
		},
	}
}
