package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// replUser replicates in every lab.
const replUser = "repl"

// createAccounts makes the accounts on db1, from where they replicate.
func (c *Cluster) createAccounts(ctx context.Context) error {
	password, err := c.secret(replPassword)
	if err != nil {
		return err
	}
	statements := []string{
		fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", replUser, password),
		fmt.Sprintf("GRANT REPLICATION SLAVE ON *.* TO '%s'@'%%'", replUser),
	}
	grants, err := c.engine.grants(c)
	if err != nil {
		return err
	}
	return c.Node(1).SQL(ctx, append(statements, grants...)...)
}

// Attach makes the node replicate from source, whatever it did before.
func (n *Node) Attach(ctx context.Context, source *Node) error {
	e := n.cluster.engine
	password, err := n.cluster.secret(replPassword)
	if err != nil {
		return err
	}
	status, err := n.Replica(ctx)
	if err != nil {
		return err
	}
	statements := []string{"STOP REPLICA"}
	if status == nil {
		statements = append(statements, e.begin...)
	}
	return n.SQL(ctx, append(statements,
		e.change+fmt.Sprintf("%[1]sHOST='%[2]s', %[1]sPORT=%[3]d, %[1]sUSER='%[4]s', %[1]sPASSWORD='%[5]s', %[6]s",
			e.prefix, source.Address, source.Port, replUser, password, e.auto),
		"START REPLICA")...)
}

// Promote makes the node the primary, as a person would by force: without
// waiting for what it lacks. The old primary, where it runs, and all others
// follow it.
func (c *Cluster) Promote(ctx context.Context, n *Node) error {
	old, err := c.Primary(ctx)
	if err != nil {
		return err
	}
	if err := old.SQL(ctx, c.engine.shut...); err != nil {
		return err
	}
	err = n.SQL(ctx, append([]string{"STOP REPLICA", "RESET REPLICA ALL"}, c.engine.open...)...)
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

// columnNames renames what MariaDB calls otherwise.
var columnNames = strings.NewReplacer("Slave", "Replica", "Master", "Source")

// Replica is SHOW REPLICA STATUS, by column; nil on a node without a source.
// MariaDB's columns have the names that MySQL has for them.
func (n *Node) Replica(ctx context.Context) (map[string]string, error) {
	rows, err := n.Rows(ctx, "SHOW REPLICA STATUS")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	status := make(map[string]string, len(rows[0]))
	for column, value := range rows[0] {
		status[columnNames.Replace(column)] = value
	}
	return status, nil
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

// Executed are the transactions that the node has: MySQL's gtid_executed, or
// MariaDB's position, the last transaction of each domain.
func (n *Node) Executed(ctx context.Context) (string, error) {
	return n.Value(ctx, n.cluster.engine.executed)
}

// WaitExecuted waits until the node has executed a set of transactions.
func (n *Node) WaitExecuted(ctx context.Context, gtids string, within time.Duration) error {
	return WaitFor(ctx, within, n.Name+" to execute "+gtids, func(ctx context.Context) (bool, string) {
		have, err := n.Executed(ctx)
		if err != nil {
			return false, err.Error()
		}
		missing, err := n.cluster.engine.missing(ctx, n, gtids, have)
		if err != nil {
			return false, err.Error()
		}
		_, threads := n.Replicating(ctx)
		return missing == "", "it lacks " + missing + ", " + threads
	})
}
