package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Filter is one replication filter, as the server writes it.
type Filter struct {
	Name string `json:"name"` // such as REPLICATE_DO_DB
	Rule string `json:"rule"`
}

// filters reads the filters that were set by statement; one that was emptied
// counts as none.
func (mySQL) filters(ctx context.Context, ss *session, channel string) ([]Filter, error) {
	rows, err := ss.query(ctx, "read replication filters", `SELECT FILTER_NAME AS name, FILTER_RULE AS rule
		FROM performance_schema.replication_applier_filters
		WHERE CHANNEL_NAME = ? AND FILTER_RULE <> '' AND CONFIGURED_BY LIKE 'CHANGE\\_REPLICATION\\_FILTER%' ORDER BY 1`, channel)
	if err != nil {
		return nil, err
	}
	var out []Filter
	for _, r := range rows {
		out = append(out, Filter{Name: r.text("name"), Rule: r.text("rule")})
		if err := r.err(); err != nil {
			return nil, named("read replication filters", err)
		}
	}
	return out, nil
}

// setFilters makes the filters that are set by statement those in want, while
// the applier is stopped: RESET REPLICA ALL leaves the old ones standing. They
// are read back, because a name with a comma in it would not survive the way
// the server writes rules.
func (ss *session) setFilters(ctx context.Context, channel string, want []Filter) error {
	old, err := ss.version.filters(ctx, ss, channel)
	if err != nil {
		return err
	}
	var set []Filter
	for _, f := range old {
		if !slices.ContainsFunc(want, func(w Filter) bool { return w.Name == f.Name }) {
			set = append(set, Filter{Name: f.Name})
		}
	}
	for _, f := range append(set, want...) {
		st, err := ss.version.setFilter(channel, f)
		if err != nil {
			return named("set replication filter", err)
		}
		if st.text == "" { // it was set with the source
			continue
		}
		if err := ss.run(ctx, slowLimit, st); err != nil {
			return err
		}
	}
	got, err := ss.version.filters(ctx, ss, channel)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return errors.New("set replication filters: the server has others now")
	}
	return nil
}

func (mySQL) setFilter(channel string, f Filter) (statement, error) {
	rule, err := filterRule(f)
	text := "CHANGE REPLICATION FILTER " + f.Name + " = (" + rule + ") FOR CHANNEL ?"
	return statement{"set replication filter", text, []any{channel}}, err
}

// filterNames are all filters there are: a name comes from a server or a
// journal, and goes into a statement.
var filterNames = []string{"REPLICATE_DO_DB", "REPLICATE_IGNORE_DB", "REPLICATE_DO_TABLE", "REPLICATE_IGNORE_TABLE",
	"REPLICATE_WILD_DO_TABLE", "REPLICATE_WILD_IGNORE_TABLE", "REPLICATE_REWRITE_DB"}

// filterRule writes a rule as the statement wants it.
func filterRule(f Filter) (string, error) {
	if !slices.Contains(filterNames, f.Name) {
		return "", fmt.Errorf("filter %q is not known", f.Name)
	}
	if f.Rule == "" {
		return "", nil
	}
	var parts []string
	switch f.Name {
	case "REPLICATE_DO_DB", "REPLICATE_IGNORE_DB":
		for _, db := range strings.Split(f.Rule, ",") {
			parts = append(parts, identifier(db))
		}
	case "REPLICATE_DO_TABLE", "REPLICATE_IGNORE_TABLE":
		for _, name := range strings.Split(f.Rule, ",") {
			db, table, ok := strings.Cut(name, ".")
			if !ok {
				return "", fmt.Errorf("rule %q of %s cannot be read", f.Rule, f.Name)
			}
			parts = append(parts, identifier(db)+"."+identifier(table))
		}
	case "REPLICATE_WILD_DO_TABLE", "REPLICATE_WILD_IGNORE_TABLE":
		for _, pattern := range strings.Split(f.Rule, ",") {
			parts = append(parts, literal(pattern))
		}
	case "REPLICATE_REWRITE_DB":
		for _, pair := range strings.Split(strings.Trim(f.Rule, "()"), "),(") {
			from, to, ok := strings.Cut(pair, ",")
			if !ok {
				return "", fmt.Errorf("rule %q of %s cannot be read", f.Rule, f.Name)
			}
			parts = append(parts, "("+identifier(from)+", "+identifier(to)+")")
		}
	}
	return strings.Join(parts, ", "), nil
}

// identifier quotes a name.
func identifier(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// literal quotes a text where no placeholder can stand. Sessions here have an
// empty sql_mode, so the backslash escapes and the double quote quotes text.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
