package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"resilver/healing/binlog"
	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// Sets is GTID set arithmetic by a server.
type Sets interface {
	GTIDSubtract(ctx context.Context, a, b string) (string, error)
	GTIDUnion(ctx context.Context, a, b string) (string, error)
	// GTIDBeyond is the errant rule: what of set, held by the server with that
	// id, the primary does not have.
	GTIDBeyond(ctx context.Context, set string, id uint32, primary watchdog.Observation) (string, error)
}

// Trail is where a server's transactions can be found.
type Trail struct {
	Datadir  string
	Paths    map[string]string    // the variables that name places on disk
	Program  []string             // its command line through mysqld, by which the tool is found,
	ToolDirs []string             // or else in these
	Self     watchdog.Observation // with all that it has executed
	Primary  watchdog.Observation
	Sets     Sets
}

// ImpossibleError is why what only a node has cannot be archived, now or later.
type ImpossibleError struct{ Reason string }

func (e *ImpossibleError) Error() string { return e.Reason }

// Found are the transactions of a set, each one whole in the server's logs.
type Found struct {
	trail *Trail
	set   string
	logs  *binlog.Reader
	list  []binlog.Transaction
}

// Transactions are how many they are.
func (f *Found) Transactions() int { return len(f.list) }

// Bytes are how long their events are.
func (f *Found) Bytes() (n int64) {
	for _, t := range f.list {
		for _, p := range t.Events {
			n += p.Length
		}
	}
	return n
}

// Find finds, in a server's own logs, the transactions of set, which the
// primary lacks; kept are those that are archived already. An answer is all of
// them: what was executed comes from the binary logs, which are read back to a
// file that begins before all of set, and what was only received from the
// relay logs. An *ImpossibleError does not pass by asking again.
func (t *Trail) Find(ctx context.Context, set, kept string) (*Found, error) {
	dir, err := datadir.Inspect(t.Datadir)
	if err != nil {
		return nil, err
	}
	logs, err := binlog.New(binlog.Options{Flavor: t.Self.Flavor, Server: t.Program, Dirs: t.ToolDirs, UID: dir.UID, GID: dir.GID})
	if err != nil {
		return nil, err
	}
	known, err := t.Sets.GTIDUnion(ctx, t.Primary.Executed, kept)
	if err != nil {
		return nil, err
	}
	q := binlog.Query{Settled: func(ctx context.Context, head string) (bool, error) {
		before, err := t.Sets.GTIDBeyond(ctx, head, t.Self.ServerID, t.Primary)
		if err == nil {
			before, err = t.Sets.GTIDSubtract(ctx, before, kept)
		}
		return before == "", err
	}}
	if q.Want, err = binlog.Within(t.Self.Flavor, set, known); err != nil {
		return nil, err
	}
	list, err := t.executed(ctx, logs, q)
	if err != nil {
		return nil, definite(err)
	}
	left, err := t.without(ctx, set, list)
	if err == nil && left != "" {
		list, err = t.received(ctx, logs, q, list)
	}
	if err == nil {
		err = t.whole(ctx, set, known, list)
	}
	if err != nil {
		return nil, definite(err)
	}
	return &Found{t, set, logs, list}, nil
}

// definite tells what asking again does not cure.
func definite(err error) error {
	if errors.Is(err, binlog.ErrEncrypted) {
		return &ImpossibleError{err.Error()}
	}
	return err
}

func (t *Trail) executed(ctx context.Context, logs *binlog.Reader, q binlog.Query) ([]binlog.Transaction, error) {
	if !t.Self.LogBin {
		return nil, nil
	}
	list, settled, err := logs.Find(ctx, binlog.LogsOf(t.Datadir, t.Paths, "log_bin", false), q)
	if err != nil {
		return nil, fmt.Errorf("its binary logs: %w", err)
	}
	if !settled {
		return nil, &ImpossibleError{"its binary logs do not go back far enough: the first of them were purged"}
	}
	return list, nil
}

// received adds what is in the relay logs alone.
func (t *Trail) received(ctx context.Context, logs *binlog.Reader, q binlog.Query, list []binlog.Transaction) ([]binlog.Transaction, error) {
	channels, err := binlog.Channels(binlog.LogsOf(t.Datadir, t.Paths, "relay_log", true))
	if err != nil {
		return nil, fmt.Errorf("its relay logs: %w", err)
	}
	have := map[string]bool{}
	for _, tx := range list {
		have[tx.GTID] = true
	}
	for _, channel := range channels {
		found, _, err := logs.Find(ctx, channel, q)
		if err != nil {
			return nil, fmt.Errorf("its relay logs: %w", err)
		}
		for _, tx := range found {
			if !have[tx.GTID] {
				have[tx.GTID], list = true, append(list, tx)
			}
		}
	}
	return list, nil
}

// whole proves that nothing of set is missing. On MariaDB a number stands for
// all before it of the same writer. What this server wrote itself is all in its
// binary logs, from the file on that begins before it; what came from others
// must be there number by number.
func (t *Trail) whole(ctx context.Context, set, known string, list []binlog.Transaction) error {
	left, err := t.without(ctx, set, list)
	if err != nil {
		return err
	}
	if left != "" {
		return &ImpossibleError{"whole in none of its logs: " + left}
	}
	if t.Self.Flavor != "mariadb" {
		return nil
	}
	executed, err := binlog.Within(t.Self.Flavor, t.Self.Executed, "")
	if err != nil {
		return err
	}
	foreign := slices.DeleteFunc(strings.Split(set, ","), func(gtid string) bool {
		return strings.Contains(gtid, fmt.Sprintf("-%d-", t.Self.ServerID)) && executed(gtid)
	})
	logged := ""
	if t.Self.LogBin && t.Self.LogUpdates {
		logged = t.Self.Replicated
	}
	if err := binlog.Unbroken(strings.Join(foreign, ","), known, logged, list); err != nil {
		return &ImpossibleError{err.Error()}
	}
	return nil
}

// without is what of set is not in a list.
func (t *Trail) without(ctx context.Context, set string, list []binlog.Transaction) (string, error) {
	have, err := binlog.SetOf(t.Self.Flavor, list)
	if err != nil {
		return "", err
	}
	return t.Sets.GTIDSubtract(ctx, set, have)
}

// Reissued refuses to archive a set whose numbers the rebuilt server, with a
// copy that has executed copied, could give to other transactions. On MySQL
// nothing is refused: it gets another server_uuid, see replica.Reissuable.
func Reissued(set, copied string, self watchdog.Observation) error {
	again, err := replica.Reissuable(set, copied, self)
	if err == nil && again != "" && self.Flavor == "mariadb" {
		err = &ImpossibleError{fmt.Sprintf("a rebuilt server would number its own transactions by %s once more: it passes once the primary has written further in this domain, or give this server another server_id", again)}
	}
	return err
}
