package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// DisableEvents leaves every enabled event of a private server to the source,
// as on a replica that got it by replication, and returns how many there
// were. A copy of the primary brings its events enabled: on a replica they
// would run, also under read_only, and make transactions of their own. Their
// definers are kept.
func (s *Server) DisableEvents(ctx context.Context) (int, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return 0, err
	}
	defer ss.close()
	if err := ss.mustBePrivate(ctx); err != nil {
		return 0, fmt.Errorf("disable events: %w", err)
	}
	return ss.version.disableEvents(ctx, ss)
}

func (d mySQL) disableEvents(ctx context.Context, ss *session) (int, error) {
	// Without EVENT the list would be empty instead of refused.
	if err := ss.mustHold(ctx, "EVENT"); err != nil {
		return 0, fmt.Errorf("disable events: %w", err)
	}
	enabled, err := ss.enabledEvents(ctx)
	if err != nil {
		return 0, err
	}
	for _, r := range enabled {
		user, host, ok := cutLast(r.text("definer"), "@")
		event := identifier(r.text("db")) + "." + identifier(r.text("name"))
		if err := r.err(); err != nil || !ok {
			return 0, errors.Join(fmt.Errorf("disable event %s: definer %q cannot be read", event, r.text("definer")), err)
		}
		text := "ALTER DEFINER = " + identifier(user) + "@" + identifier(host) + " EVENT " + event + " " + d.disableOnPeer
		if err := ss.exec(ctx, closeLimit, "disable event "+event, text); err != nil {
			return 0, err
		}
	}
	left, err := ss.enabledEvents(ctx)
	if err != nil {
		return 0, err
	}
	if len(left) > 0 {
		return 0, fmt.Errorf("disable events: %d are still enabled", len(left))
	}
	return len(enabled), nil
}

func (ss *session) enabledEvents(ctx context.Context) ([]*row, error) {
	return ss.query(ctx, "list events", `SELECT EVENT_SCHEMA AS db, EVENT_NAME AS name, DEFINER AS definer
		FROM information_schema.EVENTS WHERE STATUS = 'ENABLED' ORDER BY 1, 2`)
}

// mustHold refuses unless the account holds the privilege globally, with no
// schema taken out: information_schema hides the rest without a word.
func (ss *session) mustHold(ctx context.Context, privilege string) error {
	rows, err := ss.query(ctx, "read own grants", "SHOW GRANTS")
	if err != nil {
		return err
	}
	held, revoked := false, false
	for _, r := range rows {
		for _, cell := range r.cells {
			list, isGrant := strings.CutPrefix(cell.String, "GRANT ")
			list, _, global := strings.Cut(list, " ON *.* TO ")
			words := strings.Split(strings.ReplaceAll(list, ", ", ","), ",")
			held = held || isGrant && global && (slices.Contains(words, privilege) || slices.Contains(words, "ALL PRIVILEGES"))
			revoked = revoked || strings.HasPrefix(cell.String, "REVOKE ")
		}
	}
	if !held || revoked {
		return fmt.Errorf("%w: it needs %s on *.*, without partial revokes", ErrDenied, privilege)
	}
	return nil
}

// cutLast cuts at the last sep: a user's name may contain an @.
func cutLast(text, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}
