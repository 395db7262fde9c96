package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

func (a *app) planCommand() *cobra.Command {
	var all, rollback, wipe bool
	c := &cobra.Command{
		Use: "plan", GroupID: "look", Args: cobra.NoArgs,
		Short: "show what this node would do now, and every guard's reason",
		RunE: func(c *cobra.Command, _ []string) error {
			route, get := "plan", (*admin.Client).Plan
			switch {
			case rollback:
				route, get = "plan?rollback", (*admin.Client).PlanRollback
			case wipe:
				route, get = "plan?wipe_first", (*admin.Client).PlanWipeFirst
			}
			return show(a, c, route, get, func(p admin.Plan) { planText(a.Stdout, p, all) })
		},
	}
	c.Flags().BoolVar(&all, "all", false, "show guards and donors also where there is nothing to do")
	c.Flags().BoolVar(&rollback, "rollback", false, "show whether a rollback would be let begin, and where it would go")
	c.Flags().BoolVar(&wipe, "wipe-first", false, "show whether `rebuild --wipe-first` would be let begin")
	c.MarkFlagsMutuallyExclusive("rollback", "wipe-first")
	return c
}

// planText shows a plan; where there is nothing to do, its guards and donors
// only if all is asked for.
func planText(w io.Writer, p admin.Plan, all bool) {
	d := p.Diagnosis
	_, _ = fmt.Fprintf(w, "node %s is %s", p.Node, orDash(d.Class))
	if d.Reason != "" && string(d.Reason) != string(d.Class) {
		_, _ = fmt.Fprintf(w, " (%s)", d.Reason)
	}
	if !d.Since.IsZero() {
		_, _ = fmt.Fprintf(w, " since %s", d.Since)
	}
	if d.Detail != "" {
		_, _ = fmt.Fprintf(w, ": %s", oneLine(string(d.Detail)))
	}
	_, _ = fmt.Fprintf(w, "\n%s\n", verdictText(p))
	if p.Rung == "" && !all {
		if g := obstacle(p.Guards); g != nil {
			_, _ = fmt.Fprintf(w, "were it broken, it would not be rebuilt: %s: %s (--all shows every guard)\n", g.ID, oneLine(g.Reason))
		}
		return
	}
	if len(p.Guards) > 0 {
		_, _ = fmt.Fprintln(w)
		guardsTable(w, p.Guards)
	}
	if len(p.Donors) > 0 {
		_, _ = fmt.Fprintln(w)
		rows := [][]string{{"DONOR", "FIT", "SCORE", "WHY"}}
		for _, d := range p.Donors {
			fit := "no"
			if d.Fit {
				fit = "yes"
			}
			rows = append(rows, []string{d.Name, fit, fmt.Sprintf("%.2f", d.Score), oneLine(strings.Join(d.Reasons, "; "))})
		}
		table(w, rows)
	}
}

// obstacle is the first guard that would refuse even a broken node, nil for
// none.
func obstacle(guards []watchdog.Guard) *watchdog.Guard {
	for _, g := range watchdog.Failing(guards) {
		if g.ID != "fixable-by-rebuild" && g.ID != "broken-long-enough" {
			return &g
		}
	}
	return nil
}

func verdictText(p admin.Plan) string {
	if p.Rung == "" {
		return "nothing to do"
	}
	text := "would " + string(p.Rung)
	if string(p.Rung) == string(watchdog.RungRollback) {
		text = "would go back"
	}
	if string(p.Rung) == string(watchdog.RungRebuild) {
		if p.Method != "" {
			text += " by " + string(p.Method)
		}
		if e := p.Estimate; e.Bytes != nil {
			text += ", about " + bytesText(*e.Bytes)
			if e.CopySeconds != nil {
				text += " in " + secondsText(*e.CopySeconds)
			}
			if e.OutageSeconds != nil {
				text += ", away for " + secondsText(*e.OutageSeconds)
			}
		}
	}
	if !p.WouldAct && string(p.Rung) != string(watchdog.RungWait) {
		text += fmt.Sprintf(", but not now: %d of %d guards do not pass", len(watchdog.Failing(p.Guards)), len(p.Guards))
	}
	return text
}

// guardsTable shows guards, those that do not pass first. What raft refused
// has a reason alone.
func guardsTable(w io.Writer, guards []watchdog.Guard) {
	seen := slices.ContainsFunc(guards, func(g watchdog.Guard) bool { return g.Value != "" || g.Want != "" })
	row := func(id, verdict, value, want, reason string) []string {
		if !seen {
			return []string{id, verdict, reason}
		}
		return []string{id, verdict, value, want, reason}
	}
	rows := [][]string{row("GUARD", "VERDICT", "SEEN", "WANTED", "REASON")}
	for _, pass := range []bool{false, true} {
		for _, g := range guards {
			if (g.Verdict == watchdog.Pass) == pass {
				rows = append(rows, row(g.ID, string(g.Verdict), orDash(oneLine(g.Value)), orDash(oneLine(g.Want)), oneLine(g.Reason)))
			}
		}
	}
	table(w, rows)
}
