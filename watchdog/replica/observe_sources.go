package replica

import (
	"context"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"resilver/watchdog"
)

// observeSources reads every channel, and where one has an error its detail:
// the words of the failing worker, which SHOW REPLICA STATUS does not have.
// SHOW REPLICA STATUS is refused without REPLICATION CLIENT, and the tables
// without SELECT on performance_schema, so an empty answer means no channel.
func (ss *session) observeSources(ctx context.Context, obs *watchdog.Observation) error {
	rows, err := ss.status(ctx)
	if err != nil {
		return err
	}
	failed := false
	for _, r := range rows {
		src := sourceStatus(r)
		if err := r.err(); err != nil {
			return named("read replica status", err)
		}
		obs.Sources = append(obs.Sources, src)
		failed = failed || src.Receiver.Errno != 0 || src.Applier.Errno != 0
	}
	if !failed {
		return nil
	}
	return ss.explain(ctx, obs.Sources)
}

func sourceStatus(r *row) watchdog.SourceStatus {
	src := watchdog.SourceStatus{
		Channel: r.text("Channel_Name"), Host: r.text("Source_Host"), Port: r.int("Source_Port"),
		User: r.text("Source_User"), UUID: r.text("Source_UUID"),
		Receiver: watchdog.ThreadStatus{Running: thread(r.text("Replica_IO_Running")),
			State: r.text("Replica_IO_State"), Errno: r.int("Last_IO_Errno"), Message: r.text("Last_IO_Error")},
		Applier: watchdog.ThreadStatus{Running: thread(r.text("Replica_SQL_Running")),
			State: r.text("Replica_SQL_Running_State"), Errno: r.int("Last_SQL_Errno"), Message: r.text("Last_SQL_Error")},
		Retrieved: r.gtids("Retrieved_Gtid_Set"), Delay: time.Duration(r.int("SQL_Delay")) * time.Second,
		AutoPosition: r.yes("Auto_Position"), Filters: filterLine(r),
	}
	src.Applier.GTID = failedGTID(src.Applier.Message)
	seconds := r.int("Seconds_Behind_Source")
	src.Lag = watchdog.Lag{Behind: time.Duration(seconds) * time.Second, Known: !r.null("Seconds_Behind_Source")}
	return src
}

func thread(word string) watchdog.Thread {
	switch t := watchdog.Thread(strings.ToLower(word)); t {
	case watchdog.ThreadRunning, watchdog.ThreadStopped, watchdog.ThreadConnecting:
		return t
	case "preparing": // MariaDB: connected, and asking the source for its settings
		return watchdog.ThreadConnecting
	}
	return watchdog.ThreadUnknown
}

// filterLine is the replication filters of a channel in one line.
func filterLine(r *row) string {
	var set []string
	for _, name := range []string{"Replicate_Do_DB", "Replicate_Ignore_DB", "Replicate_Do_Table",
		"Replicate_Ignore_Table", "Replicate_Wild_Do_Table", "Replicate_Wild_Ignore_Table", "Replicate_Rewrite_DB"} {
		if v := r.text(name); v != "" {
			set = append(set, name+"="+v)
		}
	}
	return strings.Join(set, "; ")
}

// detail is one error as the performance schema words it.
type detail struct {
	place, channel, message, applying string
	errno                             int
	at                                time.Time
}

// explain gives the errors the worker's text, the failed transaction and the
// time. A row counts only where its number is the thread's, or the cause of it:
// between two statements the threads may have been started again.
func (ss *session) explain(ctx context.Context, sources []watchdog.SourceStatus) error {
	rows, err := ss.query(ctx, "read replication errors", `SELECT 'receiver' AS place, CHANNEL_NAME AS channel,
			LAST_ERROR_NUMBER AS errno, LAST_ERROR_MESSAGE AS message, LAST_ERROR_TIMESTAMP AS at, '' AS applying
			FROM performance_schema.replication_connection_status WHERE LAST_ERROR_NUMBER <> 0
		UNION ALL SELECT 'applier', CHANNEL_NAME, LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE, LAST_ERROR_TIMESTAMP,
			APPLYING_TRANSACTION FROM performance_schema.replication_applier_status_by_worker WHERE LAST_ERROR_NUMBER <> 0`)
	if err != nil {
		return err
	}
	var details []detail
	for _, r := range rows {
		details = append(details, detail{place: r.text("place"), channel: r.text("channel"), errno: r.int("errno"),
			message: r.text("message"), applying: r.text("applying"), at: r.stamp("at")})
		if err := r.err(); err != nil {
			return fmt.Errorf("read replication errors: %w", err)
		}
	}
	// Of several workers the first to fail is the cause.
	sort.SliceStable(details, func(i, j int) bool { return details[i].at.Before(details[j].at) })
	for i := range sources {
		src := &sources[i]
		refine(&src.Receiver, "receiver", src.Channel, details)
		refine(&src.Applier, "applier", src.Channel, details)
	}
	return nil
}

// stoppedByAnother is what a worker says that stopped only because another one
// had failed before it, where commits keep the source's order
// (ER_REPLICA_WORKER_STOPPED_PREVIOUS_THD_ERROR). When it is the last to stop,
// SHOW REPLICA STATUS shows it instead of the cause.
const stoppedByAnother = 3030

func refine(t *watchdog.ThreadStatus, place, channel string, details []detail) {
	for _, d := range details {
		follows := t.Errno == stoppedByAnother && d.errno != 0
		if t.Errno == 0 || d.place != place || d.channel != channel || d.errno == stoppedByAnother || (d.errno != t.Errno && !follows) {
			continue
		}
		t.Errno, t.Since = d.errno, watchdog.StampOf(d.at)
		if d.message != "" {
			t.Message = d.message
		}
		if id := failedGTID(d.message); id != "" {
			t.GTID = id
		} else if isGTID(d.applying) {
			t.GTID = d.applying
		}
		return
	}
}

// A worker names the transaction it failed at; so does the coordinator's
// generic text, in the same words. Tagged ones read uuid:tag:number.
var (
	failedAt = regexp.MustCompile(`failed executing transaction '([^']+)'`)
	oneGTID  = regexp.MustCompile(`^[0-9a-fA-F-]{36}:([a-z_][a-z0-9_]*:)?[0-9]+$`)
)

func failedGTID(message string) string {
	if m := failedAt.FindStringSubmatch(message); m != nil && isGTID(m[1]) {
		return m[1]
	}
	return ""
}

func isGTID(text string) bool { return oneGTID.MatchString(text) }
