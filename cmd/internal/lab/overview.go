package lab

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Overview is the lab in a table: what runs, what the servers say of
// themselves, and what the sidecars say of them.
func (c *Cluster) Overview(ctx context.Context) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tMYSQLD\tSIDECAR\tWRITES\tREPLICATION\tSIDECAR SAYS")
	for _, n := range c.Nodes {
		fmt.Fprintf(w, "%s\t%s:%d\t%s\t%s\t%s\n", n.Name, n.Address, n.Port,
			running(n.PID(Mysqld)), running(n.PID(Sidecar)), strings.Join(n.summary(ctx), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err.Error()
	}
	return text.String()
}

func running(pid int) string {
	if pid == 0 {
		return "off"
	}
	return fmt.Sprintf("pid %d", pid)
}

// summary is what the node's server and sidecar say, in three short texts.
func (n *Node) summary(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out := []string{"?", "?", "-"}
	if readOnly, err := n.Value(ctx, "SELECT @@global.read_only"); err == nil {
		out[0] = map[string]string{"0": "yes", "1": "no"}[readOnly]
	}
	switch status, err := n.Replica(ctx); {
	case err != nil:
	case status == nil:
		out[1] = "no source"
	default:
		out[1] = fmt.Sprintf("receiver %s, applier %s", status["Replica_IO_Running"], status["Replica_SQL_Running"])
		for _, errno := range []string{status["Last_IO_Errno"], status["Last_SQL_Errno"]} {
			if errno != "0" {
				out[1] += ", error " + errno
			}
		}
	}
	if self, err := n.Self(ctx); err == nil {
		out[2] = fmt.Sprintf("%s, %s", self.Role, self.Health)
		if self.Reason != "" {
			out[2] += fmt.Sprintf(" (%s)", self.Reason)
		}
		if self.Rebuild != nil {
			out[2] += fmt.Sprintf(", rebuild at %s", self.Rebuild.Step)
		}
	}
	return out
}
