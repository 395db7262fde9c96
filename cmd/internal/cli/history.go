package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history [ID]", GroupID: "look", Args: cobra.MaximumNArgs(1),
		Short: "show the cluster's rebuilds, newest first, or one of them in full",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return show(a, c, "history", (*admin.Client).History, func(rs []watchdog.Record) { historyText(a.Stdout, rs) })
			}
			return a.ask(c, quickAnswer, func(ctx context.Context, daemon *admin.Client) error {
				return a.oneRecord(ctx, daemon, args[0])
			})
		},
	}
}

// oneRecord shows the only rebuild whose id begins with id.
func (a *app) oneRecord(ctx context.Context, daemon *admin.Client, id string) error {
	raw, err := daemon.Get(ctx, "history")
	if err != nil {
		return err
	}
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("read the daemon's history: %w", err)
	}
	found := []json.RawMessage{}
	var record watchdog.Record
	for _, one := range all {
		var r watchdog.Record
		if err := json.Unmarshal(one, &r); err != nil {
			return fmt.Errorf("read the daemon's history: %w", err)
		}
		if r.ID == id {
			found, record = []json.RawMessage{one}, r
			break
		}
		if strings.HasPrefix(r.ID, id) {
			found, record = append(found, one), r
		}
	}
	switch {
	case len(found) == 0:
		return &usageError{fmt.Errorf("there is no rebuild %s in the history: `resilver history` lists them", id)}
	case len(found) > 1:
		return &usageError{fmt.Errorf("%d rebuilds begin with %s: give more of the id", len(found), id)}
	case a.json():
		return a.printJSON(found)
	}
	recordText(a.Stdout, record)
	return nil
}

func historyText(w io.Writer, records []watchdog.Record) {
	if len(records) == 0 {
		_, _ = fmt.Fprintln(w, "nothing was rebuilt yet")
		return
	}
	rows := [][]string{{"ID", "STARTED", "NODE", "TRIGGER", "OUTCOME", "CAUSE", "DONOR", "METHOD", "BYTES", "TOTAL", "OUTAGE", "ERROR"}}
	for _, r := range records {
		rows = append(rows, []string{r.ID, stampText(r.Started), r.Node, orDash(r.Trigger), outcomeText(r), causeText(r.Cause), orDash(r.Donor),
			orDash(r.Method), bytesText(r.Bytes), totalText(r), secondsOrDash(r.OutageSeconds), oneLine(r.Error)})
	}
	table(w, rows)
}

func recordText(w io.Writer, r watchdog.Record) {
	rows := [][]string{
		{"id", r.ID}, {"node", r.Node}, {"outcome", outcomeText(r)}, {"error", orDash(oneLine(r.Error))},
		{"cause", causeText(r.Cause)}, {"trigger", orDash(r.Trigger)}, {"by", orDash(r.By)}, {"donor", orDash(r.Donor)},
		{"method", orDash(r.Method)}, {"token", fmt.Sprint(r.Token)}, {"started", stampText(r.Started)}, {"ended", stampText(r.Ended)},
		{"total", totalText(r)}, {"outage", secondsOrDash(r.OutageSeconds)}, {"bytes", bytesText(r.Bytes)}, {"backup", orDash(r.Backup)},
	}
	if a := r.Archive; a != nil {
		rows = append(rows, []string{"archive", fmt.Sprintf("%d transactions (%s, %s) and the definitions of %d objects that existed only here, in %s", a.Transactions, orDash(a.GTIDs), bytesText(a.Bytes), a.Objects, a.Path)})
	}
	if c := r.Compared; c != nil {
		rows = append(rows, []string{"compared", c.String()})
		for _, o := range c.LeftOut {
			rows = append(rows, []string{"left out", o.Table + ": " + o.Reason})
		}
	}
	table(w, rows)
	if len(r.Steps) > 0 {
		rows = [][]string{{"STEP", "TOOK"}}
		for _, s := range r.Steps {
			rows = append(rows, []string{string(s.Name), secondsText(s.Seconds)})
		}
		_, _ = fmt.Fprintln(w)
		table(w, rows)
	}
	if len(r.Guards) > 0 {
		_, _ = fmt.Fprintln(w)
		guardsTable(w, r.Guards)
	}
}

func outcomeText(r watchdog.Record) string {
	if r.Outcome == "" {
		return "running"
	}
	return string(r.Outcome)
}

func causeText(c watchdog.Cause) string {
	if c.Reason == "" || c.Reason == string(c.Class) {
		return orDash(c.Class)
	}
	return string(c.Class) + "/" + c.Reason
}

func totalText(r watchdog.Record) string {
	if r.Started.IsZero() || r.Ended.IsZero() {
		return "-"
	}
	return secondsText(r.Ended.Sub(r.Started.Time).Seconds())
}
