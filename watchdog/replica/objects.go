package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Object is something that was made by SQL: a schema, table, view, sequence,
// routine, trigger, event or account.
type Object struct {
	Kind   string // as SHOW CREATE calls it, in lower case; account
	Schema string // of an account, its user
	Name   string // empty for a schema; of an account, its host
	Engine string // of a table
}

// Key names it, whatever it is made of: "table shop.orders".
func (o Object) Key() string {
	switch {
	case o.Kind == "account":
		return o.Kind + " " + o.Schema + "@" + o.Name
	case o.Name == "":
		return o.Kind + " " + o.Schema
	}
	return o.Kind + " " + o.Schema + "." + o.Name
}

func (o Object) String() string {
	if o.Engine == "" {
		return o.Key()
	}
	return o.Key() + " (" + o.Engine + ")"
}

// Objects lists all that was made by SQL in people's schemas, and all accounts.
// An account that would not be shown everything is refused. It takes long where
// there are many tables.
func (s *Server) Objects(ctx context.Context) ([]Object, error) {
	return in(ctx, s, func(ss *session) ([]Object, error) {
		for _, right := range ss.version.sees() {
			if err := ss.mustHold(ctx, right); err != nil {
				return nil, fmt.Errorf("list objects: %w", err)
			}
		}
		return ss.objects(ctx, ss.version.objects())
	})
}

func (ss *session) objects(ctx context.Context, text string) ([]Object, error) {
	const what = "list objects"
	rows, err := ss.queryWithin(ctx, slowLimit, what, "SELECT kind, db, name, engine FROM ("+text+
		") AS o WHERE kind = 'account' OR db NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1, 2, 3")
	if err != nil {
		return nil, err
	}
	out := make([]Object, 0, len(rows))
	var bad error
	for _, r := range rows {
		out = append(out, Object{r.text("kind"), r.text("db"), r.text("name"), r.text("engine")})
		bad = errors.Join(bad, r.err())
	}
	return out, named(what, bad)
}

// commonObjects are listed alike by both engines.
const commonObjects = `SELECT 'schema' AS kind, SCHEMA_NAME AS db, '' AS name, '' AS engine FROM information_schema.SCHEMATA
	UNION ALL SELECT CASE TABLE_TYPE WHEN 'VIEW' THEN 'view' WHEN 'SEQUENCE' THEN 'sequence' ELSE 'table' END, TABLE_SCHEMA, TABLE_NAME, COALESCE(ENGINE, '')
		FROM information_schema.TABLES WHERE TABLE_TYPE NOT IN ('SYSTEM VIEW', 'TEMPORARY')
	UNION ALL SELECT 'trigger', TRIGGER_SCHEMA, TRIGGER_NAME, '' FROM information_schema.TRIGGERS `

func (mySQL) sees() []string { return []string{"REFERENCES", "TRIGGER", "SHOW_ROUTINE", "EVENT"} }

func (mySQL) objects() string {
	return commonObjects + `UNION ALL SELECT LOWER(ROUTINE_TYPE), ROUTINE_SCHEMA, ROUTINE_NAME, '' FROM information_schema.ROUTINES
		UNION ALL SELECT 'event', EVENT_SCHEMA, EVENT_NAME, '' FROM information_schema.EVENTS
		UNION ALL SELECT 'account', User, Host, '' FROM mysql.user`
}

func (mariaDB) sees() []string { return []string{"REFERENCES", "TRIGGER"} }

func (mariaDB) objects() string {
	return commonObjects + `UNION ALL SELECT LOWER(type), db, name, '' FROM mysql.proc
		UNION ALL SELECT 'event', db, name, '' FROM mysql.event
		UNION ALL SELECT 'account', User, Host, '' FROM mysql.global_priv`
}

// Definition is how an object was made, as statements that make it again; of an
// account with the hash of its password: it is nothing for a log.
func (s *Server) Definition(ctx context.Context, o Object) ([]string, error) {
	return in(ctx, s, func(ss *session) ([]string, error) {
		if o.Kind == "account" {
			return ss.account(ctx, o)
		}
		name := identifier(o.Schema)
		if o.Name != "" {
			name += "." + identifier(o.Name)
		}
		r, err := ss.one(ctx, "show "+o.Key(), "SHOW CREATE "+strings.ToUpper(o.Kind)+" "+name)
		if err != nil {
			return nil, err
		}
		for _, column := range []string{"Create Database", "Create Table", "Create View", "Create Procedure", "Create Function",
			"SQL Original Statement", "Create Event", "Create Package", "Create Package Body"} {
			if cell, ok := r.cells[column]; ok && cell.Valid {
				return []string{cell.String}, nil
			}
		}
		return nil, fmt.Errorf("show %s: %w", o.Key(), ErrDenied)
	})
}

func (ss *session) account(ctx context.Context, o Object) ([]string, error) {
	who := literal(o.Schema) + "@" + literal(o.Name)
	var out []string
	for _, text := range []string{"SHOW CREATE USER " + who, "SHOW GRANTS FOR " + who} {
		rows, err := ss.query(ctx, "show "+o.Key(), text)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			for _, cell := range r.cells {
				out = append(out, cell.String)
			}
		}
	}
	return out, nil
}
