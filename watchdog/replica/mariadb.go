package replica

import (
	"context"
	"errors"
	"fmt"

	"resilver/watchdog"
)

// mariaDB is the dialect of MariaDB 10.6 to 11.
type mariaDB struct{}

func (mariaDB) words() words {
	return words{
		stopReceiver: "STOP ALL SLAVES IO_THREAD", startReceiver: "START ALL SLAVES IO_THREAD",
		stopReplica: "STOP ALL SLAVES", startReplica: "START ALL SLAVES",
		startChannel: "START SLAVE ?", status: "SHOW ALL SLAVES STATUS",
	}
}

func (mariaDB) openness(ctx context.Context, ss *session) (Openness, error) {
	const what = "read read_only"
	r, err := ss.one(ctx, what, "SELECT @@GLOBAL.read_only AS read_only")
	if err != nil {
		return Openness{}, err
	}
	o := Openness{ReadOnly: r.yes("read_only"), SuperReadOnly: r.yes("read_only")}
	if err := r.err(); err != nil {
		return Openness{}, named(what, err)
	}
	o.ReceiverRunning, err = ss.receives(ctx, "Slave_IO_Running")
	return o, err
}

// shut turns read_only on and ends the sessions of clients: there is no
// offline_mode to do either. A value that is there already is not set again,
// because the server would no longer know that its option file says so.
func (mariaDB) shut(ctx context.Context, ss *session, before Openness) error {
	if !before.ReadOnly {
		if err := ss.exec(ctx, closeLimit, "set read_only", "SET GLOBAL read_only = ON"); err != nil {
			return err
		}
	}
	return ss.endClients(ctx)
}

// endClients ends every session but those of this account, of replication and
// of the server itself. Replicas that are attached stay: who they are has been
// looked at by then.
func (ss *session) endClients(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	rows, err := ss.query(ctx, "list sessions", `SELECT ID AS id FROM information_schema.PROCESSLIST
		WHERE ID <> CONNECTION_ID() AND USER NOT IN (SUBSTRING_INDEX(USER(), '@', 1), 'system user', 'event_scheduler')
		AND COMMAND NOT IN ('Binlog Dump', 'Daemon')`)
	if err != nil {
		return err
	}
	for _, r := range rows {
		id := r.int("id")
		if err := r.err(); err != nil {
			return named("list sessions", err)
		}
		err := ss.exec(ctx, closeLimit, "end a client's session", "KILL CONNECTION ?", id)
		if err != nil && errno(err) != 1094 { // ER_NO_SUCH_THREAD: it has gone by itself
			return err
		}
	}
	return nil
}

func (mariaDB) shuts(now Openness) bool { return now.ReadOnly }

func (mariaDB) reopening(before Openness) []statement {
	if before.ReadOnly {
		return nil
	}
	return []statement{{what: "restore read_only", text: "SET GLOBAL read_only = OFF"}}
}

func (mariaDB) protection(ctx context.Context, ss *session) (Protection, error) {
	const what = "read the origin of read_only"
	r, err := ss.one(ctx, what, `SELECT GLOBAL_VALUE AS value, GLOBAL_VALUE_ORIGIN AS source, GLOBAL_VALUE_PATH AS path
		FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME = 'READ_ONLY'`)
	if err != nil {
		return Protection{}, err
	}
	p := Protection{On: r.yes("value"), Source: r.text("source"), Path: r.text("path")}
	return p, named(what, r.err())
}

func (d mariaDB) startsReadOnly(ctx context.Context, ss *session) (string, error) {
	p, err := d.protection(ctx, ss)
	switch {
	case err != nil || p.ByOptionFile():
		return "", err
	case p.Hidden():
		return "read_only was set by a statement, which hides what the option files say", nil
	}
	return "no option file says read_only=ON: add that line under [mariadbd]", nil
}

// persistClosed has nowhere to write to.
func (mariaDB) persistClosed(context.Context, *session) (Persisted, error) { return Persisted{}, nil }

func (d mariaDB) openForClients(ctx context.Context, ss *session, before Persisted, _ bool) error {
	if len(before) > 0 {
		return errors.New("open for clients: MariaDB persists no variables, and these were persisted")
	}
	now, err := d.openness(ctx, ss)
	if err != nil || now.ReadOnly {
		return err
	}
	return ss.exec(ctx, closeLimit, "set read_only", "SET GLOBAL read_only = ON")
}

// disableEvents writes to the table of events itself. ALTER EVENT would give
// each the character set and collation of this session (seen on 10.11), and
// with it another meaning to what is quoted in its body; the server is private,
// so nobody has the events in memory.
func (mariaDB) disableEvents(ctx context.Context, ss *session) (int, error) {
	const what, enabled = "list events", "SELECT COUNT(*) AS n FROM mysql.event WHERE status = 'ENABLED'"
	r, err := ss.one(ctx, what, enabled)
	if err != nil {
		return 0, err
	}
	count := r.int("n")
	if err := r.err(); err != nil || count == 0 {
		return 0, named(what, err)
	}
	if err := ss.exec(ctx, closeLimit, "disable events",
		"UPDATE mysql.event SET status = 'SLAVESIDE_DISABLED' WHERE status = 'ENABLED'"); err != nil {
		return 0, err
	}
	if r, err = ss.one(ctx, what, enabled); err != nil {
		return 0, err
	}
	if left := r.int("n"); left > 0 || r.err() != nil {
		return 0, fmt.Errorf("disable events: %d are still enabled", left)
	}
	return count, nil
}

// observe takes five statements.
func (d mariaDB) observe(ctx context.Context, ss *session, obs *watchdog.Observation) error {
	for _, part := range []func(context.Context, *session, *watchdog.Observation) error{
		d.observeServer, d.observeSources, d.observeAttached,
	} {
		if err := part(ctx, ss, obs); err != nil {
			return err
		}
	}
	return nil
}
