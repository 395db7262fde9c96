package replica

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sourceConfig reads what the server tells of its one connection. What it does
// not tell, the password, is in a file of its own.
func (d mariaDB) sourceConfig(ctx context.Context, ss *session) (SourceConfig, error) {
	const what = "read source configuration"
	rows, err := ss.query(ctx, what, d.words().status)
	if err != nil {
		return SourceConfig{}, err
	}
	switch len(rows) {
	case 0:
		return SourceConfig{}, fmt.Errorf("%s: %w", what, ErrNotReplica)
	case 1:
	default:
		return SourceConfig{}, fmt.Errorf("%s: %w", what, ErrManySources)
	}
	r := rows[0]
	c := SourceConfig{
		Channel: r.text("Connection_name"), Host: r.text("Master_Host"), Port: r.int("Master_Port"), User: r.text("Master_User"),
		AutoPosition: r.text("Using_Gtid") != "No", ConnectRetry: r.int("Connect_Retry"),
		Heartbeat: r.text("Slave_heartbeat_period"), Delay: r.int("SQL_Delay"),
		TLS: r.yes("Master_SSL_Allowed"), TLSVerify: r.yes("Master_SSL_Verify_Server_Cert"), TLSCA: r.text("Master_SSL_CA_File"),
		TLSCAPath: r.text("Master_SSL_CA_Path"), TLSCert: r.text("Master_SSL_Cert"), TLSKey: r.text("Master_SSL_Key"),
		TLSCipher: r.text("Master_SSL_Cipher"), TLSCRL: r.text("Master_SSL_Crl"), TLSCRLPath: r.text("Master_SSL_Crlpath"),
	}
	if _, err := strconv.ParseFloat(c.Heartbeat, 64); err != nil {
		return c, fmt.Errorf("%s: heartbeat period %q is not a number", what, c.Heartbeat)
	}
	if err := r.err(); err != nil {
		return SourceConfig{}, named(what, err)
	}
	c.Filters, err = d.filters(ctx, ss, c.Channel)
	return c, err
}

func (d mariaDB) resetSource(ctx context.Context, ss *session) error {
	if err := ss.exec(ctx, stopLimit, "stop replica", d.words().stopReplica); err != nil {
		return err
	}
	rows, err := ss.status(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		name := r.text("Connection_name")
		if err := r.err(); err != nil {
			return named("read replica status", err)
		}
		if err := ss.exec(ctx, slowLimit, "reset replica", "RESET SLAVE ? ALL", name); err != nil {
			return err
		}
	}
	return nil
}

// changeSource is always by gtid_slave_pos: current_pos, which a server may
// have been told to use, also counts transactions of its own.
func (mariaDB) changeSource(c SourceConfig) (string, []any, error) {
	var o options
	o.add("MASTER_HOST", c.Host)
	o.add("MASTER_PORT", c.Port)
	o.add("MASTER_USER", c.User)
	o.add("MASTER_PASSWORD", c.Password.Reveal())
	o.word("MASTER_USE_GTID", "slave_pos")
	o.add("MASTER_CONNECT_RETRY", c.ConnectRetry)
	o.seconds("MASTER_HEARTBEAT_PERIOD", c.Heartbeat)
	o.add("MASTER_DELAY", c.Delay)
	o.flag("MASTER_SSL", c.TLS)
	o.flag("MASTER_SSL_VERIFY_SERVER_CERT", c.TLSVerify)
	// Empty ones too: RESET SLAVE ALL leaves these standing (tried on 10.11).
	o.add("MASTER_SSL_CA", c.TLSCA)
	o.add("MASTER_SSL_CAPATH", c.TLSCAPath)
	o.add("MASTER_SSL_CERT", c.TLSCert)
	o.add("MASTER_SSL_KEY", c.TLSKey)
	o.add("MASTER_SSL_CIPHER", c.TLSCipher)
	o.add("MASTER_SSL_CRL", c.TLSCRL)
	o.add("MASTER_SSL_CRLPATH", c.TLSCRLPath)
	for _, f := range c.Filters {
		if !slices.Contains(idFilters, f.Name) {
			continue
		}
		if !idList.MatchString(f.Rule) {
			return "", nil, fmt.Errorf("rule %q of %s cannot be read", f.Rule, f.Name)
		}
		o.word(f.Name, "("+f.Rule+")")
	}
	return "CHANGE MASTER ? TO " + strings.Join(o.set, ", "), append([]any{c.Channel}, o.args...), nil
}

// Filters of MariaDB: variables of the server, and lists of numbers that
// belong to the configuration of the source.
var (
	idFilters       = []string{"IGNORE_SERVER_IDS", "DO_DOMAIN_IDS", "IGNORE_DOMAIN_IDS"}
	variableFilters = []string{"REPLICATE_DO_DB", "REPLICATE_IGNORE_DB", "REPLICATE_DO_TABLE", "REPLICATE_IGNORE_TABLE",
		"REPLICATE_WILD_DO_TABLE", "REPLICATE_WILD_IGNORE_TABLE", "REPLICATE_REWRITE_DB"}
	idList = regexp.MustCompile(`^[0-9]+( *, *[0-9]+)*$`)
)

// filters reads the lists and the variables that were set by a statement. The
// server tells that apart for the connection without a name only; another one
// that filters by variables cannot be set up again, and is refused.
func (d mariaDB) filters(ctx context.Context, ss *session, channel string) ([]Filter, error) {
	const what = "read replication filters"
	rows, err := ss.query(ctx, what, d.words().status)
	if err != nil {
		return nil, err
	}
	var out []Filter
	for _, r := range rows {
		if r.text("Connection_name") != channel {
			continue
		}
		for _, name := range idFilters {
			if rule := r.text(map[string]string{"IGNORE_SERVER_IDS": "Replicate_Ignore_Server_Ids",
				"DO_DOMAIN_IDS": "Replicate_Do_Domain_Ids", "IGNORE_DOMAIN_IDS": "Replicate_Ignore_Domain_Ids"}[name]); rule != "" {
				out = append(out, Filter{Name: name, Rule: rule})
			}
		}
		if line := mariadbFilterLine(r); channel != "" && len(out) == 0 && line != "" {
			return nil, fmt.Errorf("%s: connection %q has filters (%s), and whether a statement or an option file set them cannot be told", what, channel, line)
		}
		if err := r.err(); err != nil {
			return nil, named(what, err)
		}
	}
	if channel != "" {
		return out, nil
	}
	rows, err = ss.query(ctx, what, `SELECT VARIABLE_NAME AS name, GLOBAL_VALUE AS rule FROM information_schema.SYSTEM_VARIABLES
		WHERE VARIABLE_NAME IN ('`+strings.Join(variableFilters, "', '")+`') AND GLOBAL_VALUE_ORIGIN = 'SQL' AND GLOBAL_VALUE <> '' ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out = append(out, Filter{Name: r.text("name"), Rule: r.text("rule")})
		if err := r.err(); err != nil {
			return nil, named(what, err)
		}
	}
	return out, nil
}

// setFilter leaves the lists to changeSource.
func (mariaDB) setFilter(_ string, f Filter) (statement, error) {
	switch {
	case slices.Contains(idFilters, f.Name):
		return statement{}, nil
	case !slices.Contains(variableFilters, f.Name):
		return statement{}, fmt.Errorf("filter %q is not known", f.Name)
	}
	return statement{"set replication filter", "SET GLOBAL " + f.Name + " = ?", []any{f.Rule}}, nil
}
