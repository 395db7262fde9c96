package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// closedVariables are what keeps a freshly started server closed. read_only
// is among them because a persisted read_only=OFF, applied after
// super_read_only=ON, would turn that off too.
var closedVariables = []string{"super_read_only", "read_only", "offline_mode"}

// Persisted is what mysqld-auto.cnf said of the closing variables before
// PersistClosed: nil where it said nothing.
type Persisted map[string]*string

// PersistClosed makes a private server's mysqld-auto.cnf start the server
// closed the next time, and returns what it said before. Other settings in
// the file are kept, also by a server that was started with
// --persisted-globals-load=OFF (tried on 9.7: it reads the file all the same).
// MariaDB has no such file, and nothing is done: there only the option files
// can close a server that starts; see StartsReadOnly.
func (s *Server) PersistClosed(ctx context.Context) (Persisted, error) {
	ss, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	defer ss.close()
	if err := ss.mustBePrivate(ctx); err != nil {
		return nil, fmt.Errorf("persist closed: %w", err)
	}
	return ss.version.persistClosed(ctx, ss)
}

func (mySQL) persistClosed(ctx context.Context, ss *session) (Persisted, error) {
	all, err := ss.persisted(ctx)
	if err != nil {
		return nil, err
	}
	before := Persisted{}
	for _, name := range closedVariables {
		before[name] = nil
		if v, ok := all[name]; ok {
			before[name] = &v
		}
		if err := ss.exec(ctx, closeLimit, "persist "+name, "SET PERSIST_ONLY "+name+" = ON"); err != nil {
			return nil, err
		}
		all[name] = "ON"
	}
	now, err := ss.persisted(ctx)
	if err != nil {
		return nil, err
	}
	for name, v := range all {
		if now[name] != v {
			return nil, fmt.Errorf("persist closed: %s was %q in mysqld-auto.cnf and is %q now", name, v, now[name])
		}
	}
	return before, nil
}

func (ss *session) persisted(ctx context.Context) (map[string]string, error) {
	rows, err := ss.query(ctx, "read persisted variables",
		"SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM performance_schema.persisted_variables")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, r := range rows {
		out[r.text("name")] = r.text("value")
		if err := r.err(); err != nil {
			return nil, named("read persisted variables", err)
		}
	}
	return out, nil
}

// OpenForClients lets clients in again and puts mysqld-auto.cnf back to what
// it said before PersistClosed. super_read_only stays on, whatever was
// persisted; wasOffline leaves offline_mode as it is. On MariaDB read_only
// stays on, and there is nothing else to open.
func (s *Server) OpenForClients(ctx context.Context, before Persisted, wasOffline bool) error {
	_, err := in(ctx, s, func(ss *session) (struct{}, error) {
		return struct{}{}, ss.version.openForClients(ctx, ss, before, wasOffline)
	})
	return err
}

func (d mySQL) openForClients(ctx context.Context, ss *session, before Persisted, wasOffline bool) error {
	for name := range before {
		if !slices.Contains(closedVariables, name) {
			return fmt.Errorf("open for clients: %s is not a variable that closing changes", name)
		}
	}
	if err := ss.exec(ctx, closeLimit, "set super_read_only", "SET GLOBAL super_read_only = ON"); err != nil {
		return err
	}
	for name, v := range before {
		text := "RESET PERSIST IF EXISTS " + name
		if v != nil {
			if *v != "ON" && *v != "OFF" {
				return fmt.Errorf("open for clients: %s was persisted as %q", name, *v)
			}
			text = "SET PERSIST_ONLY " + name + " = " + *v
		}
		if err := ss.exec(ctx, closeLimit, "restore persisted "+name, text); err != nil {
			return err
		}
	}
	if !wasOffline {
		if err := ss.exec(ctx, closeLimit, "set offline_mode", "SET GLOBAL offline_mode = OFF"); err != nil {
			return err
		}
	}
	now, err := d.openness(ctx, ss)
	if err != nil {
		return err
	}
	if !now.SuperReadOnly || now.OfflineMode && !wasOffline {
		return errors.New("open for clients: the server is not as it should be: super_read_only " +
			onOff(now.SuperReadOnly) + ", offline_mode " + onOff(now.OfflineMode))
	}
	return nil
}

// Protection is where the server has its super_read_only from; on MariaDB its
// read_only.
type Protection struct {
	On     bool   // now
	Source string // COMPILED, GLOBAL, EXPLICIT, COMMAND_LINE, PERSISTED, DYNAMIC …; CONFIG, COMMAND-LINE, SQL … on MariaDB
	Path   string // the option file, where one says it
}

// ByOptionFile says that the server's next start will be read-only too, by an
// option file or its command line. A value set at run time hides what the
// files say, so it does not count.
func (p Protection) ByOptionFile() bool {
	switch p.Source {
	case "GLOBAL", "SERVER", "EXPLICIT", "EXTRA", "USER", "COMMAND_LINE", // MySQL
		"CONFIG", "COMMAND-LINE": // MariaDB
		return p.On
	}
	return false
}

// Hidden says that the variable was set at run time, so that the server no
// longer tells what its option files say.
func (p Protection) Hidden() bool { return p.Source == "DYNAMIC" || p.Source == "SQL" }

func (mySQL) protection(ctx context.Context, ss *session) (Protection, error) {
	r, err := ss.one(ctx, "read the origin of super_read_only", `SELECT @@GLOBAL.super_read_only AS value,
		VARIABLE_SOURCE AS source, VARIABLE_PATH AS path
		FROM performance_schema.variables_info WHERE VARIABLE_NAME = 'super_read_only'`)
	if err != nil {
		return Protection{}, err
	}
	p := Protection{On: r.yes("value"), Source: r.text("source"), Path: r.text("path")}
	return p, named("read the origin of super_read_only", r.err())
}

// StartsReadOnly says in one line what keeps this server, or a copy that takes
// its place, from coming up closed to writers the next time; empty where
// nothing does. MySQL is closed by its option files or by mysqld-auto.cnf
// (PersistClosed), so it is enough that it reads that file. MariaDB is closed
// by its option files alone.
func (s *Server) StartsReadOnly(ctx context.Context) (string, error) {
	return in(ctx, s, func(ss *session) (string, error) { return ss.version.startsReadOnly(ctx, ss) })
}

func (d mySQL) startsReadOnly(ctx context.Context, ss *session) (string, error) {
	loads, err := d.loadsPersisted(ctx, ss)
	if err != nil || loads {
		return "", err
	}
	p, err := d.protection(ctx, ss)
	if err != nil || p.ByOptionFile() {
		return "", err
	}
	return "persisted_globals_load is OFF, and no option file says super_read_only=ON", nil
}

// loadsPersisted says whether the server reads mysqld-auto.cnf when it starts
// (persisted_globals_load). One that is run with --no-defaults does not either
// way (MySQL 9.7 manual, "Persisted System Variables").
func (mySQL) loadsPersisted(ctx context.Context, ss *session) (bool, error) {
	r, err := ss.one(ctx, "read persisted_globals_load", "SELECT @@GLOBAL.persisted_globals_load AS loads")
	if err != nil {
		return false, err
	}
	return r.yes("loads"), named("read persisted_globals_load", r.err())
}
