package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// watchPace is how often `status --watch` asks.
const watchPace = time.Second

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "status", GroupID: "look", Args: cobra.NoArgs,
		Short: "show the cluster: nodes, lease, pause, breaker",
		RunE: func(c *cobra.Command, _ []string) error {
			if watch {
				return a.watchStatus(c.Context())
			}
			return show(a, c, "status", (*admin.Client).Status, func(s admin.Status) { statusText(a.Stdout, s) })
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every second, until Ctrl-C")
	return c
}

// watchStatus shows the status again and again: on a terminal in place, else
// one below the other, and as JSON one a line. A daemon that goes away is
// waited for; one that was never there is an error.
func (a *app) watchStatus(ctx context.Context) error {
	daemon, err := admin.Dial(a.socket)
	if err != nil {
		return err
	}
	defer daemon.Close()
	screen := &screen{w: a.Stdout, terminal: terminalWidth(a.Stdout) > 0}
	tick := time.NewTicker(watchPace)
	defer tick.Stop()
	for {
		if err := a.watchOnce(ctx, daemon, screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *app) watchOnce(ctx context.Context, daemon *admin.Client, screen *screen) error {
	ctx, cancel := context.WithTimeout(ctx, quickAnswer)
	defer cancel()
	raw, err := daemon.Get(ctx, "status")
	var silence *admin.Unreachable
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return nil
	case errors.As(err, &silence) && !a.json():
		screen.show(err.Error() + "\n")
		return nil
	case err != nil:
		return err
	case a.json():
		_, err := fmt.Fprintf(a.Stdout, "%s\n", strings.TrimSpace(string(raw)))
		return err
	}
	var s admin.Status
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read the daemon's status: %w", err)
	}
	var b strings.Builder
	statusText(&b, s)
	screen.show(b.String())
	return nil
}

// screen shows pages of text, on a terminal one in the place of the other.
type screen struct {
	w        io.Writer
	terminal bool
	shown    bool
}

func (s *screen) show(page string) {
	switch {
	case s.terminal:
		// Home, each line cleared to its end, then the rest of the screen.
		page = "\x1b[H" + strings.ReplaceAll(page, "\n", "\x1b[K\n") + "\x1b[J"
		if !s.shown {
			page = "\x1b[2J" + page
		}
	case s.shown:
		page = "\n" + page
	}
	s.shown = true
	_, _ = io.WriteString(s.w, page)
}

func statusText(w io.Writer, s admin.Status) {
	_, _ = fmt.Fprintf(w, "cluster %s, seen by %s at %s, leader %s\n\n", s.Cluster, s.Node, stampText(s.Time), orDash(s.Leader))
	rows := [][]string{{"NODE", "ROLE", "HEALTH", "LAG", "DONOR", "VERSION", "ADDRESS", "WHAT"}}
	for _, n := range s.Nodes {
		donor := "-"
		if n.DonorState == admin.DonorBackuping {
			donor = string(n.DonorState)
		}
		rows = append(rows, []string{n.Name, string(n.Role), string(n.Health), secondsOrDash(n.LagSeconds), donor,
			orDash(n.Version), orDash(n.Address), nodeText(n)})
	}
	table(w, rows)
	_, _ = fmt.Fprintln(w)
	if l := s.Lease; l != nil {
		what := "rebuilds"
		if watchdog.Drill(string(l.Trigger)) {
			what = "makes a " + string(l.Trigger)
		} else if l.Trigger == watchdog.TriggerRollback {
			what = "goes back to its old datadir"
		}
		if l.Donor != "" {
			what += " from " + string(l.Donor)
		}
		_, _ = fmt.Fprintf(w, "lease: %s %s, %s, token %d\n", l.Holder, what, l.Phase, l.Token)
	} else {
		_, _ = fmt.Fprintln(w, "lease: free")
	}
	for _, p := range s.Pauses {
		_, _ = fmt.Fprintln(w, pauseText(p))
	}
	if s.Breaker.Open {
		_, _ = fmt.Fprintf(w, "breaker: OPEN since %s: %s; look at it, then `resilver ack`\n", stampText(s.Breaker.Since), oneLine(string(s.Breaker.Reason)))
	}
}

// nodeText says in a few words what is going on with a node.
func nodeText(n admin.NodeStatus) string {
	if p := n.Rebuild; p != nil {
		switch text := progressText(*p); {
		case p.Trigger == watchdog.TriggerRollback:
			return "rollback: " + text
		case p.Drill():
			return p.Trigger + " from " + p.Donor + ": " + text
		default:
			return "from " + p.Donor + ": " + text
		}
	}
	if n.Health == watchdog.HealthHealthy {
		if n.Drill != nil && n.Drill.Outcome == watchdog.Failed {
			return fmt.Sprintf("%s failed at %s: %s", n.Drill.Trigger, stampText(n.Drill.Ended), oneLine(string(n.Drill.Error)))
		}
		return ""
	}
	return oneLine(string(n.Reason))
}

func pauseText(p admin.PauseStatus) string {
	what, until := "the cluster", "until `resilver resume`"
	if p.Node != "" {
		what, until = string(p.Node), "until `resilver resume --node "+string(p.Node)+"`"
	}
	if !p.Until.IsZero() {
		until = "until " + p.Until.String()
	}
	return fmt.Sprintf("paused: %s, by %s, %s: %s", what, orDash(p.By), until, oneLine(string(p.Reason)))
}
