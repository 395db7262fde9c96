package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// replUser replicates in every lab.
const replUser = "repl"

// createAccounts makes the accounts on db1, from where they replicate.
func (c *Cluster) createAccounts(ctx context.Context) error {
	password, err := c.replPassword()
	if err != nil {
		return err
	}
	statements := []string{
		fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", replUser, password),
		fmt.Sprintf("GRANT REPLICATION SLAVE ON *.* TO '%s'@'%%'", replUser),
	}
	grants, err := c.grants()
	if err != nil {
		return err
	}
	return c.Node(1).SQL(ctx, append(statements, grants...)...)
}

func (c *Cluster) replPassword() (string, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, passwordFile))
	if err != nil {
		return "", fmt.Errorf("read the replication password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Attach makes the node replicate from source, whatever it did before.
func (n *Node) Attach(ctx context.Context, source *Node) error {
	password, err := n.cluster.replPassword()
	if err != nil {
		return err
	}
	return n.SQL(ctx, "STOP REPLICA",
		fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d, SOURCE_USER='%s', SOURCE_PASSWORD='%s', "+
			"SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1",
			source.Address, source.Port, replUser, password),
		"START REPLICA")
}

// Promote makes the node the primary, as a person would by force: without
// waiting for what it lacks. The old primary, where it runs, and all others
// follow it.
func (c *Cluster) Promote(ctx context.Context, n *Node) error {
	old, err := c.Primary(ctx)
	if err != nil {
		return err
	}
	if err := old.SQL(ctx, "SET GLOBAL super_read_only=ON"); err != nil {
		return err
	}
	err = n.SQL(ctx, "STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
	if err != nil {
		return err
	}
	for _, other := range c.others(n) {
		if err := other.Attach(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// Primary is the node that accepts writes; an error where none or more than
// one does.
func (c *Cluster) Primary(ctx context.Context) (*Node, error) {
	var writable []*Node
	seen := make([]string, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		readOnly, err := n.Value(ctx, "SELECT @@global.read_only")
		switch {
		case err != nil:
			seen = append(seen, err.Error())
		case readOnly == "0":
			writable = append(writable, n)
			seen = append(seen, n.Name+" is writable")
		}
	}
	if len(writable) != 1 {
		return nil, fmt.Errorf("find the primary: %d nodes are writable: %s", len(writable), strings.Join(seen, "; "))
	}
	return writable[0], nil
}

// Replica is SHOW REPLICA STATUS, by column; nil on a node without a source.
func (n *Node) Replica(ctx context.Context) (map[string]string, error) {
	rows, err := n.Rows(ctx, "SHOW REPLICA STATUS")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// Replicating says whether both threads of the node run, and in words what
// was seen.
func (n *Node) Replicating(ctx context.Context) (bool, string) {
	status, err := n.Replica(ctx)
	switch {
	case err != nil:
		return false, err.Error()
	case status == nil:
		return false, n.Name + " has no source"
	}
	receiver, applier := status["Replica_IO_Running"], status["Replica_SQL_Running"]
	return receiver == "Yes" && applier == "Yes", fmt.Sprintf("receiver %s %s, applier %s %s",
		receiver, status["Last_IO_Error"], applier, status["Last_SQL_Error"])
}

// WaitReplicating waits until both threads of the node run.
func (n *Node) WaitReplicating(ctx context.Context, within time.Duration) error {
	return WaitFor(ctx, within, n.Name+" to replicate", n.Replicating)
}

// Executed is the node's gtid_executed.
func (n *Node) Executed(ctx context.Context) (string, error) {
	return n.Value(ctx, "SELECT @@global.gtid_executed")
}

// WaitExecuted waits until the node has executed a set of transactions.
func (n *Node) WaitExecuted(ctx context.Context, gtids string, within time.Duration) error {
	return WaitFor(ctx, within, n.Name+" to execute "+gtids, func(ctx context.Context) (bool, string) {
		missing, err := n.Value(ctx, "SELECT GTID_SUBTRACT(?, @@global.gtid_executed)", gtids)
		if err != nil {
			return false, err.Error()
		}
		_, threads := n.Replicating(ctx)
		return missing == "", "it lacks " + missing + ", " + threads
	})
}
