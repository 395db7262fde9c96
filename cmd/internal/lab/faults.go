package lab

import (
	"context"
	"fmt"
)

func rowMissing(ctx context.Context, i *injury) error {
	id, err := i.newRow(ctx, "row-missing")
	if err != nil {
		return err
	}
	if err := i.locally(ctx, fmt.Sprintf("DELETE FROM lab.faults WHERE id=%d", id)); err != nil {
		return err
	}
	if err := i.primary.SQL(ctx, fmt.Sprintf("UPDATE lab.faults SET note='updated' WHERE id=%d", id)); err != nil {
		return err
	}
	return i.fails(ctx, "1032")
}

func duplicateKey(ctx context.Context, i *injury) error {
	id, err := i.newRow(ctx, "duplicate-key")
	if err != nil {
		return err
	}
	insert := fmt.Sprintf("INSERT INTO lab.faults (id, note) VALUES (%d, 'twice')", id+1)
	if err := i.locally(ctx, insert); err != nil {
		return err
	}
	if err := i.primary.SQL(ctx, insert); err != nil {
		return err
	}
	return i.fails(ctx, "1062")
}

func tableMissing(ctx context.Context, i *injury) error {
	id, err := i.newRow(ctx, "table-missing")
	if err != nil {
		return err
	}
	table := fmt.Sprintf("lab.missing_%d", id)
	if err := i.primary.SQL(ctx, "CREATE TABLE "+table+" (id BIGINT NOT NULL PRIMARY KEY)"); err != nil {
		return err
	}
	if err := i.caughtUp(ctx); err != nil {
		return err
	}
	if err := i.locally(ctx, "DROP TABLE "+table); err != nil {
		return err
	}
	if err := i.primary.SQL(ctx, "INSERT INTO "+table+" VALUES (1)"); err != nil {
		return err
	}
	return i.fails(ctx, "1146")
}

// purged lets the primary forget what only this replica still needs: the
// others must have received it first, or they would break too.
func purged(ctx context.Context, i *injury) error {
	if err := i.node.SQL(ctx, "STOP REPLICA"); err != nil {
		return err
	}
	if err := i.primary.SQL(ctx, "INSERT INTO lab.faults (note) VALUES ('purged')"); err != nil {
		return err
	}
	if err := i.purge(ctx); err != nil {
		return err
	}
	if err := i.node.SQL(ctx, "START REPLICA"); err != nil {
		return err
	}
	if err := i.shows(ctx, "Last_IO_Errno", i.engine.purged); err != nil {
		return err
	}
	return i.shows(ctx, "Replica_IO_Running", "No")
}

// purge closes the primary's binary log and removes it and all before it. A
// log that some dump thread still reads stays, so it is tried again.
func (i *injury) purge(ctx context.Context) error {
	if err := i.primary.SQL(ctx, "FLUSH BINARY LOGS"); err != nil {
		return err
	}
	logs, err := i.primary.Rows(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return err
	}
	inUse := logs[len(logs)-1]["Log_name"]
	older, err := i.primary.Executed(ctx) // all that the closed logs hold, and perhaps more
	if err != nil {
		return err
	}
	for _, other := range i.bystanders() {
		if err := other.WaitReceived(ctx, older); err != nil {
			return err
		}
	}
	return WaitFor(ctx, showDeadline, "the primary to purge its binary logs", func(ctx context.Context) (bool, string) {
		if err := i.primary.SQL(ctx, fmt.Sprintf("PURGE BINARY LOGS TO '%s'", inUse)); err != nil {
			return false, err.Error()
		}
		left, err := i.primary.Rows(ctx, "SHOW BINARY LOGS")
		if err != nil {
			return false, err.Error()
		}
		return left[0]["Log_name"] == inUse, "it still has " + left[0]["Log_name"]
	})
}

// WaitReceived waits until a node has received a set of transactions, applied
// or not. A node whose receiver is stopped for good receives nothing and has
// nothing to lose.
func (n *Node) WaitReceived(ctx context.Context, gtids string) error {
	return WaitFor(ctx, showDeadline, n.Name+" to receive "+gtids, func(ctx context.Context) (bool, string) {
		status, err := n.Replica(ctx)
		if err != nil {
			return false, err.Error()
		}
		if status == nil || status["Replica_IO_Running"] == "No" {
			return true, ""
		}
		missing, err := n.cluster.engine.missing(ctx, n, gtids, n.cluster.engine.received(status))
		if err != nil {
			return false, err.Error()
		}
		return missing == "", "it lacks " + missing
	})
}

func threadsStopped(ctx context.Context, i *injury) error {
	if err := i.node.SQL(ctx, "STOP REPLICA"); err != nil {
		return err
	}
	return i.shows(ctx, "Replica_SQL_Running", "No")
}

func wrongPassword(ctx context.Context, i *injury) error {
	err := i.node.SQL(ctx, "STOP REPLICA", i.engine.change+i.engine.prefix+"PASSWORD='wrong'", "START REPLICA")
	if err != nil {
		return err
	}
	return i.shows(ctx, "Last_IO_Errno", "1045")
}

// deadPort is one below every port a lab listens on.
const deadPort = 3305

func sourceUnreachable(ctx context.Context, i *injury) error {
	err := i.node.SQL(ctx, "STOP REPLICA", fmt.Sprintf("%s%sPORT=%d", i.engine.change, i.engine.prefix, deadPort), "START REPLICA")
	if err != nil {
		return err
	}
	return i.shows(ctx, "Last_IO_Errno", "2003")
}
