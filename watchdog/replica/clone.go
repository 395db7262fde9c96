package replica

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// CloneOrder is what a scratch server is told to copy.
type CloneOrder struct {
	Host string // the relay's address, on this machine
	Port int
	User string // the donor's account for clones; it has no password
	Dir  string // absolute; must not exist, its parent must
}

// cloneOutcome is the last clone of a server, as it reports it.
type cloneOutcome struct {
	State string // Not Started | In Progress | Completed | Failed
	Dir   string
	Began time.Time
	Errno int
	Error string
}

// Clone has this scratch server copy a donor into a directory, and returns
// when the copy is complete. It has no deadline of its own: when ctx ends the
// statement is killed, and Clone returns about two seconds later; what was
// copied so far stays in the directory. The inner stream is not encrypted:
// the line it takes must be.
func (s *Server) Clone(ctx context.Context, o CloneOrder) error {
	if o.Host == "" || o.Port <= 0 || o.User == "" || !filepath.IsAbs(o.Dir) {
		return errors.New("clone: host, port, user and an absolute directory must be given")
	}
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	if ss.version.flavor != flavorMySQL {
		return fmt.Errorf("clone: %w: %s has no such statement", ErrVersion, ss.version.flavor)
	}
	list := fmt.Sprintf("%s:%d", o.Host, o.Port)
	if err := ss.exec(ctx, s.o.Timeout, "set the donor list", "SET GLOBAL clone_valid_donor_list = ?", list); err != nil {
		return err
	}
	r, err := ss.one(ctx, "read the time", "SELECT NOW(3) AS now")
	if err != nil {
		return err
	}
	start := r.stamp("now")
	// auth_socket asks for no password, but the statement must have one.
	if err := ss.exec(ctx, 0, "clone", `CLONE INSTANCE FROM ?@?:`+fmt.Sprint(o.Port)+
		` IDENTIFIED BY 'none' DATA DIRECTORY = ? REQUIRE NO SSL`, o.User, o.Host, o.Dir); err != nil {
		return err
	}
	out, err := ss.cloneResult(ctx)
	if err != nil {
		return err
	}
	// Rows of earlier clones stay in the table.
	if out.State != "Completed" || out.Errno != 0 || out.Began.Before(start) || filepath.Clean(out.Dir) != filepath.Clean(o.Dir) {
		return fmt.Errorf("clone: the server reports %s into %s, begun %s, error %d %s",
			out.State, out.Dir, out.Began.Format(time.RFC3339), out.Errno, out.Error)
	}
	return nil
}

// CloneProgress returns the bytes copied and expected so far. The total grows
// while a donor is written to; both are 0 before a clone.
func (s *Server) CloneProgress(ctx context.Context) (done, total int64, err error) {
	ss, err := s.session(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer ss.close()
	r, err := ss.one(ctx, "read clone progress", `SELECT CAST(COALESCE(SUM(DATA), 0) AS SIGNED) AS done,
		CAST(COALESCE(SUM(GREATEST(ESTIMATE, DATA)), 0) AS SIGNED) AS total FROM performance_schema.clone_progress`)
	if err != nil {
		return 0, 0, err
	}
	done, total = int64(r.int("done")), int64(r.int("total"))
	return done, total, named("read clone progress", r.err())
}

// cloneResult reads the outcome of the last clone. Compare Began with the
// time before it was ordered: the row of an earlier one may still be there.
func (ss *session) cloneResult(ctx context.Context) (cloneOutcome, error) {
	rows, err := ss.query(ctx, "read clone result", `SELECT STATE AS state, DESTINATION AS dir, BEGIN_TIME AS began,
		ERROR_NO AS errno, ERROR_MESSAGE AS message FROM performance_schema.clone_status`)
	if err != nil || len(rows) == 0 {
		return cloneOutcome{State: "Not Started"}, err
	}
	r := rows[0]
	out := cloneOutcome{State: r.text("state"), Dir: r.text("dir"), Began: r.stamp("began"),
		Errno: r.int("errno"), Error: r.text("message")}
	return out, named("read clone result", r.err())
}
