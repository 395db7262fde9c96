package replica

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"resilver/watchdog"
)

// identity stands in for the server_uuid that MariaDB does not have. Within a
// cluster server_id must be unique in any case, a replica knows that of its
// source and a source those of its replicas, so that it serves to find one by
// the other. But a person can change it at run time, and a copy has none of its
// own: it comes from the option file.
func identity(serverID int) string {
	if serverID == 0 {
		return ""
	}
	return "server-id:" + strconv.Itoa(serverID)
}

// observeServer reads variables and status at once. wsrep_on is not there in
// every build.
func (d mariaDB) observeServer(ctx context.Context, ss *session, obs *watchdog.Observation) error {
	const what = "read variables and status"
	r, err := ss.one(ctx, what, `SELECT @@GLOBAL.server_id AS server_id, @@GLOBAL.datadir AS datadir,
		@@GLOBAL.report_host AS report_host, @@GLOBAL.report_port AS report_port,
		@@GLOBAL.bind_address AS bind_address, @@GLOBAL.hostname AS hostname, @@GLOBAL.port AS port,
		@@GLOBAL.read_only AS read_only, @@GLOBAL.log_bin AS log_bin,
		@@GLOBAL.log_slave_updates AS log_updates, @@GLOBAL.gtid_binlog_state AS state, @@GLOBAL.gtid_slave_pos AS pos,
		@@GLOBAL.rpl_semi_sync_master_enabled AS semi_sync,
		(SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'WSREP_ON') AS galera,
		clients, acknowledges, uptime
		FROM (SELECT MAX(IF(VARIABLE_NAME = 'RPL_SEMI_SYNC_MASTER_CLIENTS', VARIABLE_VALUE, NULL)) AS clients,
			MAX(IF(VARIABLE_NAME = 'RPL_SEMI_SYNC_SLAVE_STATUS', VARIABLE_VALUE, NULL)) AS acknowledges,
			MAX(IF(VARIABLE_NAME = 'UPTIME', VARIABLE_VALUE, NULL)) AS uptime FROM information_schema.GLOBAL_STATUS
			WHERE VARIABLE_NAME IN ('RPL_SEMI_SYNC_MASTER_CLIENTS', 'RPL_SEMI_SYNC_SLAVE_STATUS', 'UPTIME')) AS status`)
	if err != nil {
		return err
	}
	id := r.int("server_id")
	obs.ServerID, obs.ServerUUID, obs.Datadir = uint32(id), identity(id), r.text("datadir")
	obs.Address, obs.GroupMember = address(r), r.yes("galera")
	obs.LogBin, obs.LogUpdates = r.yes("log_bin"), r.yes("log_updates")
	obs.ReadOnly, obs.SuperReadOnly = r.yes("read_only"), r.yes("read_only")
	// One acknowledgement is all that a source here ever waits for.
	obs.SemiSync = watchdog.SemiSync{On: r.yes("semi_sync"), Clients: r.int("clients"), Wants: 1,
		Replica: r.yes("acknowledges")}
	obs.StartedAt = obs.At.Add(-time.Duration(r.int("uptime")) * time.Second).Truncate(time.Second)
	state, pos := r.gtids("state"), r.gtids("pos")
	if r.null("uptime") {
		r.fail(errors.New("no uptime in the answer"))
	}
	if err := r.err(); err != nil {
		return named(what, err)
	}
	return d.observeSets(ctx, ss, obs, state, pos)
}

func (d mariaDB) observeSets(ctx context.Context, ss *session, obs *watchdog.Observation, state, pos string) error {
	executed, err := readGTIDs(state, pos)
	if err != nil {
		return named("read gtid_binlog_state and gtid_slave_pos", err)
	}
	replicated, err := readGTIDs(pos)
	if err != nil {
		return named("read gtid_slave_pos", err)
	}
	obs.Executed, obs.Replicated = executed.String(), replicated.String()
	obs.Purged, err = d.purged(ctx, ss, state, pos, obs.LogBin)
	return err
}

// observeSources reads every connection. It is refused without SLAVE MONITOR,
// so an empty answer means that there is none.
func (d mariaDB) observeSources(ctx context.Context, ss *session, obs *watchdog.Observation) error {
	rows, err := ss.status(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		src, err := d.sourceStatus(r, ss.s)
		if err != nil {
			return named("read replica status", err)
		}
		obs.Sources = append(obs.Sources, src)
	}
	return nil
}

func (mariaDB) sourceStatus(r *row, s *Server) (watchdog.SourceStatus, error) {
	src := watchdog.SourceStatus{
		Channel: r.text("Connection_name"), Host: r.text("Master_Host"), Port: r.int("Master_Port"), User: r.text("Master_User"),
		Receiver: watchdog.ThreadStatus{Running: thread(r.text("Slave_IO_Running")),
			State: r.text("Slave_IO_State"), Errno: r.int("Last_IO_Errno"), Message: r.text("Last_IO_Error")},
		Applier: watchdog.ThreadStatus{Running: thread(r.text("Slave_SQL_Running")),
			State: r.text("Slave_SQL_Running_State"), Errno: r.int("Last_SQL_Errno"), Message: r.text("Last_SQL_Error")},
		Delay: time.Duration(r.int("SQL_Delay")) * time.Second, AutoPosition: r.text("Using_Gtid") != "No", Filters: mariadbFilterLine(r),
	}
	src.Lag = watchdog.Lag{Behind: time.Duration(r.int("Seconds_Behind_Master")) * time.Second, Known: !r.null("Seconds_Behind_Master")}
	src.UUID = s.proven.identity(src.Channel+"|"+src.Address(), r.int("Master_Server_Id"), connected(&src, r.text("Master_Log_File")))
	received, err := parseGTIDs(r.gtids("Gtid_IO_Pos"))
	if err != nil {
		return src, err
	}
	applied, err := parseGTIDs(r.gtids("Gtid_Slave_Pos"))
	if err != nil {
		return src, err
	}
	src.Retrieved = received.String()
	if src.Applier.Errno != 0 {
		src.Applier.GTID = next(applied, received)
	}
	return src, r.err()
}

// connected says that the receiver has spoken with its present source: it
// reads from it, or was told by it why not. "Yes" comes after it has asked the
// source for its server_id. An error outlives CHANGE MASTER, and so proves
// something only where that cannot have been since: it needs both threads
// stopped, and takes the name of the source's log away.
func connected(src *watchdog.SourceStatus, log string) bool {
	switch src.Receiver.Errno {
	case 1236, 1593, 1595, 1597:
		return log != "" || src.Applier.Running == watchdog.ThreadRunning
	}
	return src.Receiver.Running == watchdog.ThreadRunning
}

// next is the transaction that the applier stands at, which MariaDB does not
// name: the one after what it has applied, where only one domain has more and
// the same server wrote on. Empty where that is not so.
func next(applied, received gtids) string {
	ahead := received.minus(applied)
	if len(ahead) != 1 {
		return ""
	}
	for w := range ahead {
		if n, ok := applied[w]; ok {
			return gtids{w: n + 1}.String()
		}
	}
	return ""
}

// mariadbFilterLine is all that keeps a part of the source's data out, in one
// line. Replicate_Rewrite_DB is not there before 10.11.
func mariadbFilterLine(r *row) string {
	var set []string
	for _, name := range []string{"Replicate_Do_DB", "Replicate_Ignore_DB", "Replicate_Do_Table",
		"Replicate_Ignore_Table", "Replicate_Wild_Do_Table", "Replicate_Wild_Ignore_Table", "Replicate_Rewrite_DB",
		"Replicate_Ignore_Server_Ids", "Replicate_Do_Domain_Ids", "Replicate_Ignore_Domain_Ids"} {
		if _, ok := r.cells[name]; !ok && name == "Replicate_Rewrite_DB" {
			continue
		}
		if v := r.text(name); v != "" {
			set = append(set, name+"="+v)
		}
	}
	return strings.Join(set, "; ")
}

// observeAttached is refused without REPLICATION MASTER ADMIN; it never
// answers an unprivileged account with an empty list.
func (mariaDB) observeAttached(ctx context.Context, ss *session, obs *watchdog.Observation) error {
	rows, err := ss.query(ctx, "read attached replicas", "SHOW SLAVE HOSTS")
	if err != nil {
		return err
	}
	for _, r := range rows {
		obs.Attached = append(obs.Attached, identity(r.int("Server_id")))
		if err := r.err(); err != nil {
			return named("read attached replicas", err)
		}
	}
	return nil
}
