package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// chore is something that the sidecar's account must be able to do, tried on a
// private server where nothing can be spoiled.
type chore struct {
	name string
	do   func(context.Context, *Server) error
}

// firstChores and lastChore are those of both engines.
var firstChores = []chore{
	{"observe", func(ctx context.Context, s *Server) error {
		if obs := s.Observe(ctx); !obs.Reachable {
			return fmt.Errorf("%w: %s", ErrDenied, obs.Err)
		}
		return nil
	}},
	{"size", func(ctx context.Context, s *Server) error { _, err := s.DataBytes(ctx); return err }},
	{"donor", func(ctx context.Context, s *Server) error { _, err := s.MissingForDonor(ctx, "x"); return err }},
	{"threads", func(ctx context.Context, s *Server) error { return s.StartReplica(ctx) }},
	{"close", func(ctx context.Context, s *Server) error {
		before, err := s.Openness(ctx)
		if err != nil {
			return err
		}
		c, err := s.CloseToClients(ctx, before)
		if errors.Is(err, ErrDown) { // thrown out by its own offline_mode
			return fmt.Errorf("%w: %w", ErrDenied, err)
		}
		if err != nil {
			return err
		}
		return c.Undo(ctx)
	}},
}

var lastChore = chore{"read-only off", func(ctx context.Context, s *Server) error { return s.Reopen(ctx, Openness{}) }}

var mysqlChores = []chore{
	{"contents", func(ctx context.Context, s *Server) error { _, err := s.MayHold(ctx); return err }},
	{"objects", func(ctx context.Context, s *Server) error {
		list, err := s.Objects(ctx)
		for _, o := range list {
			if _, wrong := s.Definition(ctx, o); wrong != nil && o.Kind != "view" && o.Kind != "event" {
				err = errors.Join(err, wrong)
			}
		}
		return err
	}},
	{"protection", func(ctx context.Context, s *Server) error { _, err := protection(ctx, s); return err }},
	{"source", func(ctx context.Context, s *Server) error {
		c, err := s.SourceConfig(ctx)
		if err != nil {
			return err
		}
		return s.Attach(ctx, c)
	}},
	{"gtids", func(ctx context.Context, s *Server) error {
		return errors.Join(stopReplica(ctx, s), s.RestoreGTIDs(ctx, "11111111-1111-1111-1111-111111111111:1-5:tag:1"))
	}},
	{"events", func(ctx context.Context, s *Server) error { _, err := s.DisableEvents(ctx); return err }},
	{"persist", func(ctx context.Context, s *Server) error {
		p, err := s.PersistClosed(ctx)
		if err != nil {
			return err
		}
		return s.OpenForClients(ctx, p, false)
	}},
}

// protection is what StartsReadOnly asks where nothing else closes the server.
func protection(ctx context.Context, s *Server) (Protection, error) {
	return in(ctx, s, func(ss *session) (Protection, error) { return ss.version.protection(ctx, ss) })
}

// stopReplica stops by the account of s, as Attach does.
func stopReplica(ctx context.Context, s *Server) error {
	_, err := in(ctx, s, func(ss *session) (struct{}, error) {
		return struct{}{}, ss.exec(ctx, stopLimit, "stop replica", ss.version.words().stopReplica)
	})
	return err
}

// The grants are enough for everything, and none of them can be left out.
func TestEveryGrantIsNeeded(t *testing.T) {
	n := scratch(t, "grants", "--event-scheduler=OFF", "--skip-replica-start")
	n.must(t, "CREATE DATABASE t", "CREATE USER gone@localhost", "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='x', SOURCE_AUTO_POSITION=1",
		"CREATE DEFINER=gone@localhost EVENT t.e1 ON SCHEDULE EVERY 1 DAY DO SELECT 1", "CREATE EVENT t.e2 ON SCHEDULE EVERY 1 DAY DO SELECT 1",
		"DROP USER gone@localhost", "CREATE TABLE t.a (id INT)", "CREATE TRIGGER t.r BEFORE INSERT ON t.a FOR EACH ROW SET NEW.id=1", "CREATE PROCEDURE t.p() SELECT 1")
	everyGrantIsNeeded(t, n, sidecarGrants, mysqlChores, func() {
		n.must(t, "SET GLOBAL offline_mode=OFF", "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF", "ALTER EVENT t.e2 ENABLE",
			"ALTER DEFINER=gone@localhost EVENT t.e1 ENABLE")
	})
}

// everyGrantIsNeeded does all chores with all grants, and with all but one;
// anew makes the server what it was before.
func everyGrantIsNeeded(t *testing.T, n *node, grants []grant, own []chore, anew func()) {
	denied := func(leave string) (out []string) {
		anew()
		n.must(t, "DROP USER IF EXISTS lean@localhost", "CREATE USER lean@localhost IDENTIFIED BY 'x'")
		for _, g := range grants {
			for _, right := range privileges(g.privileges) {
				if right+" ON "+g.on != leave {
					n.must(t, "GRANT "+right+" ON "+g.on+" TO lean@localhost")
				}
			}
		}
		s := open(t, Options{Socket: n.socket, User: "lean", Password: pw("x"), Timeout: 5 * time.Second})
		defer func() { _ = s.Disconnect() }()
		for _, c := range slices.Concat(firstChores, own, []chore{lastChore}) {
			switch err := c.do(t.Context(), s); {
			case errors.Is(err, ErrDenied), errno(err) == 1095: // ER_KILL_DENIED_ERROR
				out = append(out, c.name)
			case err != nil:
				t.Errorf("without %q: %s: %v", leave, c.name, err)
			}
		}
		return out
	}
	if failing := denied(""); len(failing) > 0 {
		t.Fatalf("with all grants, denied: %v", failing)
	}
	for _, g := range grants {
		for _, right := range privileges(g.privileges) {
			if failing := denied(right + " ON " + g.on); len(failing) == 0 {
				t.Errorf("%s ON %s is not needed", right, g.on)
			} else {
				t.Logf("%s ON %s: for %v", right, g.on, failing)
			}
		}
	}
}

// privileges splits a list; one of columns is one.
func privileges(list string) []string {
	if strings.Contains(list, "(") {
		return []string{list}
	}
	return strings.Split(list, ", ")
}

func TestGrants(t *testing.T) {
	text, err := grantsText(GrantsOptions{Flavor: "mysql", Account: AccountClone, Name: "o'clone", OSUser: "resilver-donor"})
	if err != nil || text != "CREATE USER IF NOT EXISTS 'o''clone'@'localhost' IDENTIFIED WITH auth_socket AS 'resilver-donor';\nGRANT BACKUP_ADMIN ON *.* TO 'o''clone'@'localhost';\n" {
		t.Errorf("%s, %v", text, err)
	}
	for _, flavor := range []string{"mysql", "mariadb"} {
		o := GrantsOptions{Flavor: flavor, Account: AccountSidecar, Name: "x"}
		without, err := grantsText(o)
		o.Checksum = true
		with, also := grantsText(o)
		if err != nil || also != nil || with != without+"GRANT SELECT ON *.* TO 'x'@'localhost';\n" {
			t.Errorf("%s: %s, %v, %v", flavor, with, err, also)
		}
	}
	for _, bad := range []GrantsOptions{{Flavor: "mariadb", Account: AccountClone, Name: "x"}, {Flavor: "mysql", Account: "other", Name: "x"}, {Flavor: "mysql", Account: AccountClone}} {
		if _, err := Grants(bad); err == nil {
			t.Errorf("%+v was granted", bad)
		}
	}
}

// grantsText is Grants as a script.
func grantsText(o GrantsOptions) (string, error) {
	statements, err := Grants(o)
	if err != nil {
		return "", err
	}
	return strings.Join(statements, ";\n") + ";\n", nil
}
