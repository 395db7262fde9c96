package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"resilver/watchdog/admin"
)

func (a *app) leaseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lease", GroupID: "look", Args: cobra.NoArgs,
		Short: "show what this node's copy of the raft log says of the lease",
		RunE: func(c *cobra.Command, _ []string) error {
			return show(a, c, "lease", (*admin.Client).Lease, func(l admin.Lease) { leaseText(a.Stdout, l) })
		},
	}
}

func leaseText(w io.Writer, l admin.Lease) {
	quorum := "yes"
	if !l.Quorum {
		quorum = "no: nobody can rebuild"
	}
	rows := [][]string{
		{"cluster id", orDash(l.ClusterID)}, {"quorum", quorum}, {"leader", orDash(l.Leader)},
		{"voters", orDash(strings.Join(l.Voters, ", "))}, {"applied", fmt.Sprint(l.Applied)}, {"last token", fmt.Sprint(l.LastToken)},
	}
	if h := l.Lease; h != nil {
		rows = append(rows, []string{"holder", h.Holder}, []string{"donor", orDash(h.Donor)}, []string{"token", fmt.Sprint(h.Token)},
			[]string{"phase", string(h.Phase)}, []string{"rebuild", h.ID}, []string{"since", stampText(h.Since)})
	} else {
		rows = append(rows, []string{"holder", "-"})
	}
	table(w, rows)
	for _, p := range l.Pauses {
		_, _ = fmt.Fprintln(w, pauseText(p))
	}
	if l.Breaker.Open {
		_, _ = fmt.Fprintf(w, "breaker: OPEN since %s: %s\n", stampText(l.Breaker.Since), oneLine(string(l.Breaker.Reason)))
	}
}
