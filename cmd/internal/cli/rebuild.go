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
	c := a.copyCommand("rebuild", "rebuild this node now; returns when the lease is granted, or a guard refused", &req, (*admin.Client).Rebuild)
	c.Flags().BoolVar(&req.WipeFirst, "wipe-first", false, "remove the data of this node before the copy is made, where there is no room for both")
	c.Long = "Copy the data of a healthy node, rehearse the copy, and exchange it for the data of this one, which are kept.\n\n" +
		"With --wipe-first the data of this node are removed before the copy is made: there is nothing to go back to. It\n" +
		"wants two other healthy nodes, a donor that gives, nothing that exists only here, and a datadir that holds all of\n" +
		"the data (guard wipe-first, see `plan --wipe-first`). From then on mysqld is not started until a copy is in its\n" +
		"place; whatever fails is tried again, by itself where policy.mode is heal, else at the next `rebuild`."
	return c
}

func (a *app) drillCommand() *cobra.Command {
	return a.copyCommand("drill", "rehearse a rebuild of this node and throw the copy away: its server goes on as it is",
		new(admin.RebuildRequest), (*admin.Client).Drill)
}

func (a *app) backupCommand() *cobra.Command {
	var req admin.RebuildRequest
	c := a.copyCommand("backup", "as drill, but leave the rehearsed copy in a directory, with a manifest", &req, (*admin.Client).Backup)
	c.Flags().StringVar(&req.To, "to", "", "directory, one of backup.dirs or below, on this node")
	if err := c.MarkFlagRequired("to"); err != nil {
		panic(err) // there is no such flag
	}
	return c
}

func (a *app) rollbackCommand() *cobra.Command {
	c := a.actCommand("rollback", "go back to the datadir that this node's last rebuild set aside; no rebuild begins until `ack`",
		new(admin.RebuildRequest), (*admin.Client).Rollback)
	c.Long = "Exchange the datadir of this node for the one that its last rebuild, or rollback, set aside, and start its\n" +
		"server. Refused where that would lose what the server in service has: transactions that the primary lacks,\n" +
		"objects made by SQL here alone, or where the primary has purged logs that the old server needs. The datadir\n" +
		"that was in service is kept in its place, so that a second rollback goes forward again. The breaker is open\n" +
		"then: no rebuild begins before `resilver ack`."
	return c
}

// asking is the client's method for one of these commands.
type asking func(*admin.Client, context.Context, admin.RebuildRequest) (admin.RebuildAnswer, error)

func (a *app) copyCommand(name, short string, req *admin.RebuildRequest, ask asking) *cobra.Command {
	c := a.actCommand(name, short, req, ask)
	c.Flags().StringVar(&req.From, "from", "", "copy from this node")
	c.Flags().StringVar(&req.Method, "method", "", "copy by this method, such as clone")
	return c
}

// actCommand is one whose guards can be overridden, and that can be followed.
func (a *app) actCommand(name, short string, req *admin.RebuildRequest, ask asking) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: name, GroupID: "act", Args: cobra.NoArgs, Short: short,
		RunE: func(c *cobra.Command, _ []string) error { return a.act(c, ask, *req, follow) },
	}
	c.Flags().StringSliceVar(&req.Override, "override", nil, "go on although this guard does not pass; may be given several times")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "show the progress, and return by the outcome")
	return c
}

func (a *app) act(c *cobra.Command, ask asking, req admin.RebuildRequest, follow bool) error {
	daemon, err := admin.Dial(a.socket)
	if err != nil {
		return err
	}
	defer daemon.Close()
	ctx, cancel := context.WithTimeout(c.Context(), weighAnswer)
	defer cancel()
	answer, err := ask(daemon, ctx, req)
	if err != nil {
		return a.refused(c.Name(), err)
	}
	switch {
	case !follow && a.json():
		return a.printJSON(answer)
	case !a.json() && answer.Donor == "":
		a.printf("%s %s has the lease, token %d: going back to the datadir that the last rebuild set aside\n", c.Name(), answer.ID, answer.Token)
	case !a.json():
		a.printf("%s %s has the lease, token %d: copying from %s by %s\n", c.Name(), answer.ID, answer.Token, answer.Donor, orDash(answer.Method))
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
func (a *app) refused(what string, err error) error {
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
	return &reworded{fmt.Sprintf("%s refused by %s; %s", what, strings.Join(all, ", "), cure), no}
}

// reworded is an error in other words.
type reworded struct {
	text string
	err  error
}

func (e *reworded) Error() string { return e.text }
func (e *reworded) Unwrap() error { return e.err }

// outcomeError is nil for a healed node, a drill that passed, and a rollback
// that went back.
func outcomeError(r watchdog.Record) error {
	if r.Outcome == watchdog.Healed || r.Outcome == watchdog.Passed || r.Rollback() && r.Outcome == watchdog.RolledBack {
		return nil
	}
	reason := oneLine(r.Error)
	if reason == "" {
		reason = "no reason is recorded"
	}
	return fmt.Errorf("%s %s of %s ended %s: %s; see `resilver history %s`", nameOf(r.Trigger), r.ID, r.Node, r.Outcome, reason, r.ID)
}

// nameOf is what a person calls what that trigger began.
func nameOf(trigger string) string {
	if watchdog.Drill(trigger) || trigger == watchdog.TriggerRollback {
		return trigger
	}
	return "rebuild"
}
