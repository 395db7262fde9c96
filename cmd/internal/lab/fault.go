package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Fault is one way to break the replication of a node, for real.
type Fault struct {
	Name    string
	Summary string // one line
	inject  func(context.Context, *injury) error
}

// Faults are all faults, by the order in which list-faults shows them.
func Faults() []Fault {
	return []Fault{
		{"row-missing", "a row is deleted on the replica behind replication's back, then updated on the primary", rowMissing},
		{"duplicate-key", "a row is inserted on the replica behind replication's back, then on the primary", duplicateKey},
		{"table-missing", "a table is dropped on the replica behind replication's back, then written on the primary", tableMissing},
		{"purged", "the primary purges binary logs that the stopped replica still needs", purged},
		{"threads-stopped", "both replication threads are stopped, as a person would", threadsStopped},
		{"wrong-password", "the replica is given a wrong password for its source", wrongPassword},
		{"source-unreachable", "the replica is given a port of its source where nobody listens", sourceUnreachable},
	}
}

// injury is a fault being injected.
type injury struct {
	cluster *Cluster
	engine  *engine
	primary *Node
	node    *Node
}

func (c *Cluster) injury(primary, n *Node) *injury {
	return &injury{cluster: c, engine: c.engine, primary: primary, node: n}
}

// Break injects a fault into a replica and returns when the node shows it.
func (c *Cluster) Break(ctx context.Context, n *Node, fault string) error {
	names := make([]string, 0, len(Faults()))
	for _, f := range Faults() {
		names = append(names, f.Name)
		if f.Name != fault {
			continue
		}
		primary, err := c.Primary(ctx)
		if err != nil {
			return err
		}
		if primary == n {
			return fmt.Errorf("break %s: it is the primary; faults are for replicas", n.Name)
		}
		if err := f.inject(ctx, c.injury(primary, n)); err != nil {
			return fmt.Errorf("break %s by %s: %w", n.Name, fault, err)
		}
		return nil
	}
	return fmt.Errorf("no fault %q: there are %s", fault, strings.Join(names, ", "))
}

// showDeadline bounds the wait for a fault to show itself.
const showDeadline = time.Minute

// locally runs statements on the replica without a trace in its binary log.
// read_only stays: no client without privileges could write in between, and
// nobody sees a writable server.
func (i *injury) locally(ctx context.Context, statements ...string) error {
	return i.node.Session(ctx, func(ctx context.Context, conn *sql.Conn) (err error) {
		if err := runAll(ctx, conn, i.engine.sneakIn...); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, runAll(ctx, conn, i.engine.sneakOut...)) }()
		return runAll(ctx, conn, statements...)
	})
}

// bystanders are the other replicas.
func (i *injury) bystanders() []*Node {
	var out []*Node
	for _, n := range i.cluster.others(i.node) {
		if n != i.primary {
			out = append(out, n)
		}
	}
	return out
}

// newRow inserts a row of lab.faults on the primary and returns its id once
// the replica has it too.
func (i *injury) newRow(ctx context.Context, note string) (int64, error) {
	var id int64
	err := i.primary.Session(ctx, func(ctx context.Context, conn *sql.Conn) error {
		result, err := conn.ExecContext(ctx, "INSERT INTO lab.faults (note) VALUES (?)", note)
		if err != nil {
			return wrapSQL("INSERT INTO lab.faults", err)
		}
		id, err = result.LastInsertId()
		return err
	})
	if err != nil {
		return 0, err
	}
	return id, i.caughtUp(ctx)
}

// caughtUp waits until the node has executed what the primary has now.
func (i *injury) caughtUp(ctx context.Context) error {
	gtids, err := i.primary.Executed(ctx)
	if err != nil {
		return err
	}
	return i.node.WaitExecuted(ctx, gtids, showDeadline)
}

// fails waits until the node's applier has stopped by an error, or by its
// number of a worker that only stopped because another had failed. The number
// is there a moment before the thread has ended.
func (i *injury) fails(ctx context.Context, errno string) error {
	errnos := []string{errno}
	if also := i.engine.followedSuit; also != "" {
		errnos = append(errnos, also)
	}
	if err := i.shows(ctx, "Last_SQL_Errno", errnos...); err != nil {
		return err
	}
	return i.shows(ctx, "Replica_SQL_Running", "No")
}

// shows waits until a column of the node's replica status holds a value.
func (i *injury) shows(ctx context.Context, column string, values ...string) error {
	what := fmt.Sprintf("%s of %s to be %s", column, i.node.Name, strings.Join(values, " or "))
	return WaitFor(ctx, showDeadline, what, func(ctx context.Context) (bool, string) {
		status, err := i.node.Replica(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, value := range values {
			if status[column] == value {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%q", status[column])
	})
}
