package replica

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"resilver/watchdog"
)

// Observe looks at the server once: five statements at most, in one session,
// and one more in a new one. Nothing is written. Either everything could be
// read, or the observation is not reachable and says why.
func (s *Server) Observe(ctx context.Context) watchdog.Observation {
	obs := watchdog.Observation{At: time.Now()}
	err := s.observe(ctx, &obs)
	if err != nil {
		return watchdog.Observation{At: obs.At, Err: strings.Join(strings.Fields(err.Error()), " "), Trouble: troubleOf(err)}
	}
	obs.Reachable = true
	return obs
}

func (s *Server) observe(ctx context.Context, obs *watchdog.Observation) error {
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	obs.Flavor, obs.Version, obs.VersionNumber = ss.version.flavor, ss.version.text, ss.version.number
	return ss.version.observe(ctx, ss, obs)
}

func (mySQL) observe(ctx context.Context, ss *session, obs *watchdog.Observation) error {
	for _, part := range []func(context.Context, *watchdog.Observation) error{
		ss.observeVariables, ss.observeSources, ss.observeAttached, ss.observeStatus,
	} {
		if err := part(ctx, obs); err != nil {
			return err
		}
	}
	return nil
}

// observeVariables reads what needs no privilege.
func (ss *session) observeVariables(ctx context.Context, obs *watchdog.Observation) error {
	r, err := ss.one(ctx, "read variables", `SELECT @@GLOBAL.server_id AS server_id,
		@@GLOBAL.server_uuid AS server_uuid, @@GLOBAL.datadir AS datadir,
		@@GLOBAL.report_host AS report_host, @@GLOBAL.report_port AS report_port,
		@@GLOBAL.bind_address AS bind_address, @@GLOBAL.hostname AS hostname, @@GLOBAL.port AS port,
		@@GLOBAL.read_only AS read_only, @@GLOBAL.super_read_only AS super_read_only,
		@@GLOBAL.offline_mode AS offline_mode, @@GLOBAL.log_bin AS log_bin,
		@@GLOBAL.log_replica_updates AS log_updates, @@GLOBAL.gtid_executed AS gtid_executed, @@GLOBAL.gtid_purged AS gtid_purged`)
	if err != nil {
		return err
	}
	obs.ServerID, obs.ServerUUID, obs.Datadir = uint32(r.int("server_id")), r.text("server_uuid"), r.text("datadir")
	obs.Address = address(r)
	obs.ReadOnly, obs.SuperReadOnly = r.yes("read_only"), r.yes("super_read_only")
	obs.OfflineMode = r.yes("offline_mode")
	obs.LogBin, obs.LogUpdates = r.yes("log_bin"), r.yes("log_updates")
	obs.Executed, obs.Purged = r.gtids("gtid_executed"), r.gtids("gtid_purged")
	return named("read variables", r.err())
}

// address is where others find the server: report_host where it is set, or
// else the one address it binds to, or else the host's name.
func address(r *row) string {
	host, port := r.text("report_host"), r.int("report_port")
	if host == "" {
		host = r.text("bind_address")
		if host == "" || host == "*" || host == "0.0.0.0" || host == "::" || strings.ContainsAny(host, ",/") {
			host = r.text("hostname")
		}
	}
	if port == 0 {
		port = r.int("port")
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// observeAttached asks who is connected as a replica. SHOW REPLICAS is
// refused without REPLICATION SLAVE; it never answers an unprivileged account
// with an empty list.
func (ss *session) observeAttached(ctx context.Context, obs *watchdog.Observation) error {
	rows, err := ss.query(ctx, "read attached replicas", "SHOW REPLICAS")
	if err != nil {
		return err
	}
	for _, r := range rows {
		obs.Attached = append(obs.Attached, r.text("Replica_UUID"))
		if err := r.err(); err != nil {
			return named("read attached replicas", err)
		}
	}
	return nil
}

// observeStatus reads semi-sync, group membership and the time of the start.
// The names of semi-sync's variables changed with its plugin in 8.0.26.
func (ss *session) observeStatus(ctx context.Context, obs *watchdog.Observation) error {
	rows, err := ss.query(ctx, "read status", `SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value
			FROM performance_schema.global_variables WHERE VARIABLE_NAME LIKE 'rpl\\_semi\\_sync\\_%'
		UNION ALL SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_status
			WHERE VARIABLE_NAME LIKE 'Rpl\\_semi\\_sync\\_%' OR VARIABLE_NAME = 'Uptime'
		UNION ALL SELECT 'members', COUNT(*) FROM performance_schema.replication_group_members
			WHERE MEMBER_STATE NOT IN ('OFFLINE', '')`)
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, r := range rows {
		name := strings.ToLower(r.text("name"))
		name = strings.NewReplacer("master", "source", "slave", "replica").Replace(name)
		values[name] = r.text("value")
		if err := r.err(); err != nil {
			return named("read status", err)
		}
	}
	up, err := strconv.Atoi(values["uptime"])
	if err != nil {
		return fmt.Errorf("read status: uptime %q is not a number", values["uptime"])
	}
	obs.StartedAt = obs.At.Add(-time.Duration(up) * time.Second).Truncate(time.Second)
	obs.GroupMember = values["members"] != "0"
	obs.SemiSync = semiSync(values)
	return nil
}

func semiSync(values map[string]string) watchdog.SemiSync {
	number := func(name string) int { n, _ := strconv.Atoi(values[name]); return n }
	return watchdog.SemiSync{
		On:      isYes(values["rpl_semi_sync_source_enabled"]),
		Clients: number("rpl_semi_sync_source_clients"),
		Wants:   number("rpl_semi_sync_source_wait_for_replica_count"),
		Replica: isYes(values["rpl_semi_sync_replica_status"]),
	}
}

// DataBytes is the size of the data that a copy carries, without redo and
// temporary tables. It opens every file, so ask rarely. Needs PROCESS.
func (s *Server) DataBytes(ctx context.Context) (int64, error) {
	return in(ctx, s, func(ss *session) (int64, error) { return ss.version.dataBytes(ctx, ss) })
}

// dataBytes: all InnoDB tablespaces.
func (mySQL) dataBytes(ctx context.Context, ss *session) (int64, error) {
	return ss.bytes(ctx, `SELECT CAST(SUM(TOTAL_EXTENTS * EXTENT_SIZE) AS SIGNED) AS size
		FROM information_schema.FILES WHERE ENGINE = 'InnoDB' AND FILE_TYPE <> 'TEMPORARY'`)
}

// bytes reads one number, the column "size".
func (ss *session) bytes(ctx context.Context, text string) (int64, error) {
	const what = "read the size of the data"
	rows, err := ss.queryWithin(ctx, slowLimit, what, text)
	if err != nil {
		return 0, err
	}
	if len(rows) != 1 || rows[0].null("size") {
		return 0, fmt.Errorf("%s: the server answered nothing", what)
	}
	n := int64(rows[0].int("size"))
	return n, named(what, rows[0].err())
}

// named puts what was done before an error, and leaves nil alone.
func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
