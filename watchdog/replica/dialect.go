package replica

import (
	"context"
	"time"

	"resilver/watchdog"
)

// dialect is all in which MySQL and MariaDB differ: statements, what their
// answers mean, and how GTID sets are counted. Everything else, deadlines and
// order of steps above all, is the same for both. A method gets the session
// that it is to speak in; none keeps anything.
type dialect interface {
	words() words
	// observe reads all that an observation holds beside the version.
	observe(ctx context.Context, ss *session, obs *watchdog.Observation) error

	executed(ctx context.Context, ss *session) (string, error)
	subtract(ctx context.Context, ss *session, a, b string) (string, error)
	unite(ctx context.Context, ss *session, a, b string) (string, error)
	subset(ctx context.Context, ss *session, a, b string) (bool, error)
	// beyond is the errant rule: what of set, held by the server of that id,
	// the primary does not have.
	beyond(ctx context.Context, ss *session, set string, id uint32, primary watchdog.Observation) (string, error)
	// past is the part of history that ends at position.
	past(position, history string) (string, error)
	// wholeSet refuses a text that is not a whole set of this flavour.
	wholeSet(set string) error
	// restore makes set the executed set of a private server, logs and all,
	// and returns what that must be now.
	restore(ctx context.Context, ss *session, set string) (string, error)

	openness(ctx context.Context, ss *session) (Openness, error)
	// shut keeps writers and clients out, as far as variables and kills can.
	shut(ctx context.Context, ss *session, before Openness) error
	shuts(now Openness) bool
	// reopening are the statements that open what before had open.
	reopening(before Openness) []statement
	protection(ctx context.Context, ss *session) (Protection, error)
	// startsReadOnly is the obstacle to a next start that is read-only.
	startsReadOnly(ctx context.Context, ss *session) (string, error)
	persistClosed(ctx context.Context, ss *session) (Persisted, error)
	openForClients(ctx context.Context, ss *session, before Persisted, wasOffline bool) error

	sourceConfig(ctx context.Context, ss *session) (SourceConfig, error)
	resetSource(ctx context.Context, ss *session) error
	changeSource(c SourceConfig) (string, []any, error)
	filters(ctx context.Context, ss *session, channel string) ([]Filter, error)
	// snapshot begins a snapshot and returns its executed set; errBusy: try again.
	snapshot(ctx context.Context, ss *session) (string, error)
	// follow are the statements that have a replica stop at a position of its
	// source, follows says whether it has stopped, or else how far it is, and
	// standsAt whether it is there.
	follow(channel, position string) []statement
	follows(ctx context.Context, ss *session) (stopped bool, seen string, err error)
	standsAt(ctx context.Context, ss *session, position string) (bool, error)
	// setFilter sets one filter of a stopped channel; an empty rule removes it.
	setFilter(channel string, f Filter) (statement, error)

	disableEvents(ctx context.Context, ss *session) (int, error)
	contents(ctx context.Context, ss *session) (Contents, error)
	// scattered are the tablespaces and tables at paths of their own.
	scattered(ctx context.Context, ss *session) ([]string, error)
	// sees are the rights without which a list of objects is cut short in
	// silence; objects is that list.
	sees() []string
	objects() string
	missingForDonor(ctx context.Context, ss *session, account string) ([]string, error)
	dataBytes(ctx context.Context, ss *session) (int64, error)
	// pathVariables name a place on disk also where their value does not show it.
	pathVariables() []string
}

// words are the statements that differ in their words only.
type words struct {
	stopReceiver, startReceiver string
	stopReplica, startReplica   string // of all channels
	startChannel                string // of one, a placeholder
	status                      string // of all channels
}

// statement is one statement that changes something, and what it does.
type statement struct {
	what, text string
	args       []any
}

// run executes statements one after the other, each within limit.
func (ss *session) run(ctx context.Context, limit time.Duration, list ...statement) error {
	for _, st := range list {
		if err := ss.exec(ctx, limit, st.what, st.text, st.args...); err != nil {
			return err
		}
	}
	return nil
}

// in runs a question to the server in a session of its own.
func in[T any](ctx context.Context, s *Server, ask func(ss *session) (T, error)) (T, error) {
	ss, err := s.session(ctx)
	if err != nil {
		var none T
		return none, err
	}
	defer ss.close()
	return ask(ss)
}
