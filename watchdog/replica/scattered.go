package replica

import (
	"context"
	"errors"
	"path/filepath"
)

// Scattered lists tablespaces and tables whose files lie at absolute paths of
// their own: neither in the datadir, nor in the directory for all of their
// kind, as undo and the system tablespace may have one. A copy would put them, or look for them, at the very same paths. Needs
// PROCESS.
func (s *Server) Scattered(ctx context.Context) ([]string, error) {
	return in(ctx, s, func(ss *session) ([]string, error) { return ss.version.scattered(ctx, ss) })
}

// Undo tablespaces are shown by absolute paths, all others in the datadir by
// relative ones. (Tried on 9.7.4: DATA DIRECTORY, general and undo tablespaces.)
func (mySQL) scattered(ctx context.Context, ss *session) ([]string, error) {
	return ss.beyondHomes(ctx, `SELECT FILE_NAME AS name, FILE_TYPE = 'UNDO LOG' AS of_undo,
			TABLESPACE_NAME IN ('innodb_system', 'innodb_temporary') AS of_system FROM information_schema.FILES
		WHERE FILE_NAME LIKE '/%' OR FILE_NAME LIKE '../%'`)
}

// InnoDB's table lists also what was never opened since the start; tables of
// other engines are known by their options alone. (Tried on 10.11.18.)
func (mariaDB) scattered(ctx context.Context, ss *session) ([]string, error) {
	out, err := ss.beyondHomes(ctx, `SELECT FILENAME AS name, NAME LIKE 'innodb\_undo%' AS of_undo,
			NAME IN ('innodb_system', 'innodb_temporary') AS of_system FROM information_schema.INNODB_SYS_TABLESPACES
		WHERE FILENAME LIKE '/%' OR FILENAME LIKE '../%'`)
	if err != nil {
		return nil, err
	}
	tables, err := ss.names(ctx, "list tables with directories", `SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) AS name FROM information_schema.TABLES
		WHERE ENGINE <> 'InnoDB' AND CREATE_OPTIONS LIKE '% DIRECTORY=%'`)
	return append(out, tables...), err
}

// beyondHomes lists paths, but for those of undo, and of the system and the
// temporary tablespace, in the directory for it.
func (ss *session) beyondHomes(ctx context.Context, text string) ([]string, error) {
	const what = "list tablespaces elsewhere"
	dirs, err := ss.one(ctx, what, "SELECT @@global.innodb_undo_directory AS undo_dir, IFNULL(@@global.innodb_data_home_dir, '') AS home_dir")
	if err != nil {
		return nil, err
	}
	undo, home := filepath.Clean(dirs.text("undo_dir")), filepath.Clean(dirs.text("home_dir"))
	rows, err := ss.queryWithin(ctx, slowLimit, what, text)
	if err != nil {
		return nil, err
	}
	var out []string
	bad := dirs.err()
	for _, r := range rows {
		path := r.text("name")
		dir := filepath.Dir(path)
		if !(r.yes("of_undo") && dir == undo || r.yes("of_system") && dir == home) {
			out = append(out, path)
		}
		bad = errors.Join(bad, r.err())
	}
	return out, named(what, bad)
}
