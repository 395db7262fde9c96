package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"resilver/watchdog/admin"
)

// change asks the daemon for a change and says that it is done.
func (a *app) change(c *cobra.Command, done string, do func(ctx context.Context, daemon *admin.Client) error) error {
	return a.ask(c, quickAnswer, func(ctx context.Context, daemon *admin.Client) error {
		if err := do(ctx, daemon); err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(struct{}{})
		}
		a.printf("%s\n", done)
		return nil
	})
}

func (a *app) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel", GroupID: "act", Args: cobra.NoArgs,
		Short: "end this node's rebuild, while the old server still runs",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.change(c, "if a rebuild of this node was under way, it is given up; `resilver history` has its end", func(ctx context.Context, daemon *admin.Client) error {
				return daemon.Cancel(ctx)
			})
		},
	}
}

func (a *app) pauseCommand() *cobra.Command {
	var req admin.PauseRequest
	var length time.Duration
	c := &cobra.Command{
		Use: "pause --reason R", GroupID: "brake", Args: cobra.NoArgs,
		Short: "let no rebuild begin, on any node or on one; one under way goes on",
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case req.Reason == "":
				return &usageError{errors.New("the reason is empty: others will ask, give --reason")}
			case length < 0:
				return &usageError{fmt.Errorf("--for %v is negative", length)}
			}
			req.ForSeconds = length.Seconds()
			what, until := "every node is", "`resilver resume`"
			if req.Node != "" {
				what, until = req.Node+" is", "`resilver resume --node "+req.Node+"`"
			}
			if length > 0 {
				until = "in " + secondsText(req.ForSeconds) + ", or " + until
			}
			return a.change(c, what+" paused, until "+until, func(ctx context.Context, daemon *admin.Client) error {
				return daemon.Pause(ctx, req)
			})
		},
	}
	c.Flags().StringVar(&req.Reason, "reason", "", "why, for the others (required)")
	c.Flags().DurationVar(&length, "for", 0, "for how long, such as 2h; without it until resume")
	c.Flags().StringVar(&req.Node, "node", "", "only this node")
	_ = c.MarkFlagRequired("reason")
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	var req admin.ResumeRequest
	c := &cobra.Command{
		Use: "resume", GroupID: "brake", Args: cobra.NoArgs,
		Short: "end the pause of the cluster, or of one node",
		RunE: func(c *cobra.Command, _ []string) error {
			done := "the cluster is not paused"
			if req.Node != "" {
				done = req.Node + " is not paused by itself"
			}
			return a.change(c, done, func(ctx context.Context, daemon *admin.Client) error { return daemon.Resume(ctx, req) })
		},
	}
	c.Flags().StringVar(&req.Node, "node", "", "the pause of this node")
	return c
}

func (a *app) ackCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ack", GroupID: "brake", Args: cobra.NoArgs,
		Short: "close the breaker, once a person has looked at what opened it",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.change(c, "the breaker is closed", func(ctx context.Context, daemon *admin.Client) error {
				return daemon.Ack(ctx)
			})
		},
	}
}
