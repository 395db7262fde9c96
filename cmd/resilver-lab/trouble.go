package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"resilver/cmd/internal/lab"
)

func loadCmd(dir *string) *cobra.Command {
	var rate int
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Write steadily to the primary and remember what was acknowledged, until Ctrl-C",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open(*dir, func(c *lab.Cluster) error {
				load, err := c.StartLoad(cmd.Context(), rate)
				if err != nil {
					return err
				}
				var end <-chan time.Time
				if length > 0 {
					end = time.After(length)
				}
				select {
				case <-end:
				case <-load.Done(): // Ctrl-C, or a full disk
				}
				result, err := load.Stop()
				cmd.Printf("%d rows acknowledged, %d refused\n", result.Acknowledged, result.Refused)
				if result.LastError != "" {
					cmd.PrintErrf("the last refusal: %s\n", result.LastError)
				}
				return err
			})
		},
	}
	cmd.Flags().IntVar(&rate, "rate", 50, "rows a second")
	cmd.Flags().DurationVar(&length, "for", 0, "how long (default: until it is interrupted)")
	return cmd
}

func checkCmd(dir *string) *cobra.Command {
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare every table on every node, and look for every acknowledged row",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open(*dir, func(c *lab.Cluster) error {
				result, err := c.Check(cmd.Context(), within)
				if err != nil {
					return err
				}
				cmd.Println(result)
				if !result.OK() {
					return errors.New("the nodes are not equal")
				}
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&within, "within", time.Minute, "how long the replicas may take to catch up")
	return cmd
}

func breakCmd(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "break NODE FAULT",
		Short: "Break the replication of a node, for real",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open(*dir, func(c *lab.Cluster) error {
				n, err := c.Named(args[0])
				if err != nil {
					return usageError{err}
				}
				return c.Break(cmd.Context(), n, args[1])
			})
		},
	}
}

func faultsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list-faults",
		Short: "Name the faults that break knows",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			for _, f := range lab.Faults() {
				if _, err := fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Summary); err != nil {
					return fmt.Errorf("print the faults: %w", err)
				}
			}
			return w.Flush()
		},
	}
}

func killCmd(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:       "kill NODE mysqld|sidecar|supervise",
		Short:     "End a program of a node with SIGKILL",
		Args:      args(cobra.ExactArgs(2)),
		ValidArgs: []string{string(lab.Mysqld), string(lab.Sidecar), string(lab.Supervisor)},
		RunE: func(cmd *cobra.Command, args []string) error {
			p := lab.Program(args[1])
			if p != lab.Mysqld && p != lab.Sidecar && p != lab.Supervisor {
				return usageError{fmt.Errorf("no program %q: want mysqld, sidecar or supervise", p)}
			}
			return open(*dir, func(c *lab.Cluster) error {
				n, err := c.Named(args[0])
				if err != nil {
					return usageError{err}
				}
				return n.Kill(cmd.Context(), p)
			})
		},
	}
}

func demoCmd() *cobra.Command {
	o := lab.DemoOptions{Out: os.Stdout}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a cluster that heals itself under steady writes, and the proof that nothing was lost",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Live = term.IsTerminal(int(os.Stdout.Fd()))
			return lab.Demo(cmd.Context(), o)
		},
	}
	engineFlag(cmd, &o.Engine)
	cmd.Flags().IntVar(&o.DataMB, "data", 220, "megabytes of data on each server")
	cmd.Flags().IntVar(&o.Rate, "rate", 50, "rows a second that are written meanwhile")
	binaryFlag(cmd, &o.Binary)
	return cmd
}
