package replica

import (
	"context"
	"errors"
	"path/filepath"
)

// Scattered lists tablespaces and tables whose files lie at absolute paths of
// their own: neither in the datadir, nor, for undo, in the directory for all
// undo. A copy would put them, or look for them, at the very same paths. Needs
// PROCESS.
func (s *Server) Scattered(ctx context.Context) ([]string, error) {
	return in(ctx, s, func(ss *session) ([]string, error) { return ss.version.scattered(ctx, ss) })
}

// Undo tablespaces are shown by absolute paths, all others in the datadir by
// relative ones. (Tried on 9.7.4: DATA DIRECTORY, general and undo tablespaces.)
func (mySQL) scattered(ctx context.Context, ss *session) ([]string, error) {
	return ss.beyondUndo(ctx, `SELECT FILE_NAME AS name, FILE_TYPE = 'UNDO LOG' AS of_undo FROM information_schema.FILES
		WHERE FILE_NAME LIKE '/%' OR FILE_NAME LIKE '../%'`)
}

// InnoDB's table lists also what was never opened since the start; tables of
// other engines are known by their options alone. (Tried on 10.11.18.)
func (mariaDB) scattered(ctx context.Context, ss *session) ([]string, error) {
	out, err := ss.beyondUndo(ctx, `SELECT FILENAME AS name, NAME LIKE 'innodb\_undo%' AS of_undo FROM information_schema.INNODB_SYS_TABLESPACES
		WHERE FILENAME LIKE '/%' OR FILENAME LIKE '../%'`)
	if err != nil {
		return nil, err
	}
	tables, err := ss.names(ctx, "list tables with directories", `SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) AS name FROM information_schema.TABLES
		WHERE ENGINE <> 'InnoDB' AND CREATE_OPTIONS LIKE '% DIRECTORY=%'`)
	return append(out, tables...), err
}

// beyondUndo lists paths, but for those of undo in the directory for undo.
func (ss *session) beyondUndo(ctx context.Context, text string) ([]string, error) {
	const what = "list tablespaces elsewhere"
	dir, err := ss.one(ctx, what, "SELECT @@global.innodb_undo_directory AS dir")
	if err != nil {
		return nil, err
	}
	undo := filepath.Clean(dir.text("dir"))
	rows, err := ss.queryWithin(ctx, slowLimit, what, text)
	if err != nil {
		return nil, err
	}
	var out []string
	bad := dir.err()
	for _, r := range rows {
		if path := r.text("name"); !r.yes("of_undo") || filepath.Dir(path) != undo {
			out = append(out, path)
		}
		bad = errors.Join(bad, r.err())
	}
	return out, named(what, bad)
}
