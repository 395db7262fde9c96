package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

func (a *app) rebuildCommand() *cobra.Command {
	var req admin.RebuildRequest
	var follow bool
	c := &cobra.Command{
		Use: "rebuild", GroupID: "act", Args: cobra.NoArgs,
		Short: "rebuild this node now; returns when the lease is granted, or a guard refused",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.rebuild(c, req, follow)
		},
	}
	c.Flags().StringVar(&req.From, "from", "", "copy from this node")
	c.Flags().StringVar(&req.Method, "method", "", "copy by this method, such as clone")
	c.Flags().StringSliceVar(&req.Override, "override", nil, "go on although this guard does not pass; may be given several times")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "show the progress, and return by the outcome")
	return c
}

func (a *app) rebuild(c *cobra.Command, req admin.RebuildRequest, follow bool) error {
	daemon, err := admin.Dial(a.socket)
	if err != nil {
		return err
	}
	defer daemon.Close()
	ctx, cancel := context.WithTimeout(c.Context(), weighAnswer)
	defer cancel()
	answer, err := daemon.Rebuild(ctx, req)
	if err != nil {
		return a.refused(err)
	}
	switch {
	case !follow && a.json():
		return a.printJSON(answer)
	case !a.json():
		a.printf("rebuild %s has the lease, token %d: copying from %s by %s\n", answer.ID, answer.Token, answer.Donor, orDash(answer.Method))
	}
	if !follow {
		return nil
	}
	f := follower{ask: daemon, out: a.Stdout, width: terminalWidth(a.Stdout), quiet: a.json(), id: answer.ID}
	record, err := f.run(c.Context())
	if err != nil {
		return err
	}
	if a.json() {
		if err := a.oneRecord(c.Context(), daemon, record.ID); err != nil {
			return err
		}
	}
	return outcomeError(record)
}

// refused shows the guards that refused, and shortens the error to one line.
func (a *app) refused(err error) error {
	var no *admin.Error
	if !errors.As(err, &no) || no.Code != admin.CodeRefused {
		return err
	}
	if a.json() {
		if err := a.printJSON(no); err != nil {
			return err
		}
	} else {
		guardsTable(a.Stdout, no.Guards)
	}
	var all, may, firm []string
	for _, g := range no.Guards {
		all = append(all, g.ID)
		if g.Overridable {
			may = append(may, "--override "+g.ID)
		} else {
			firm = append(firm, g.ID)
		}
	}
	cure := "wait, mend it, or say " + strings.Join(may, " ")
	if len(firm) > 0 {
		cure = "nobody may override " + strings.Join(firm, ", ")
	}
	if len(no.Guards) == 1 && no.Guards[0].Reason != "" { // of several, the table has the reasons
		all[0] += ": " + oneLine(no.Guards[0].Reason)
	}
	return &reworded{fmt.Sprintf("rebuild refused by %s; %s", strings.Join(all, ", "), cure), no}
}

// reworded is an error in other words.
type reworded struct {
	text string
	err  error
}

func (e *reworded) Error() string { return e.text }
func (e *reworded) Unwrap() error { return e.err }

// outcomeError is nil for a healed node.
func outcomeError(r watchdog.Record) error {
	if r.Outcome == watchdog.Healed {
		return nil
	}
	reason := oneLine(r.Error)
	if reason == "" {
		reason = "no reason is recorded"
	}
	return fmt.Errorf("rebuild %s of %s ended %s: %s; see `resilver history %s`", r.ID, r.Node, r.Outcome, reason, r.ID)
}
