package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

func (a *app) planCommand() *cobra.Command {
	return &cobra.Command{
		Use: "plan", GroupID: "look", Args: cobra.NoArgs,
		Short: "show what this node would do now, and every guard's reason",
		RunE: func(c *cobra.Command, _ []string) error {
			return show(a, c, "plan", (*admin.Client).Plan, func(p admin.Plan) { planText(a.Stdout, p) })
		},
	}
}

func planText(w io.Writer, p admin.Plan) {
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

func verdictText(p admin.Plan) string {
	if p.Rung == "" {
		return "nothing to do"
	}
	text := "would " + string(p.Rung)
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
		if !p.WouldAct {
			text += fmt.Sprintf(", but not now: %d of %d guards do not pass", len(watchdog.Failing(p.Guards)), len(p.Guards))
		}
	}
	return text
}

// guardsTable shows guards, those that do not pass first.
func guardsTable(w io.Writer, guards []watchdog.Guard) {
	rows := [][]string{{"GUARD", "VERDICT", "SEEN", "WANTED", "REASON"}}
	add := func(pass bool) {
		for _, g := range guards {
			if (g.Verdict == watchdog.Pass) == pass {
				rows = append(rows, []string{g.ID, string(g.Verdict), orDash(oneLine(g.Value)), orDash(oneLine(g.Want)), oneLine(g.Reason)})
			}
		}
	}
	add(false)
	add(true)
	table(w, rows)
}
