package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"resilver/config/secret"
)

// SourceConfig is all that is needed to set a replica up again as it was:
// what the server stores of its one channel, without positions, because
// attaching is by GTID. Its JSON does not contain the password.
type SourceConfig struct {
	Channel      string        `json:"channel"`
	Host         string        `json:"host"`
	Port         int           `json:"port"`
	User         string        `json:"user"`
	Password     secret.Secret `json:"-"`
	AutoPosition bool          `json:"auto_position"`

	ConnectRetry     int    `json:"connect_retry"` // seconds
	RetryCount       int    `json:"retry_count"`
	Heartbeat        string `json:"heartbeat"` // seconds, a decimal as the server keeps it
	Delay            int    `json:"delay"`     // seconds
	Bind             string `json:"bind"`
	NetworkNamespace string `json:"network_namespace"`

	TLS                bool    `json:"tls"`
	TLSVerify          bool    `json:"tls_verify"`
	TLSCA              string  `json:"tls_ca"`
	TLSCAPath          string  `json:"tls_ca_path"`
	TLSCert            string  `json:"tls_cert"`
	TLSKey             string  `json:"tls_key"`
	TLSCipher          string  `json:"tls_cipher"`
	TLSCRL             string  `json:"tls_crl"`
	TLSCRLPath         string  `json:"tls_crl_path"`
	TLSVersion         string  `json:"tls_version"`
	TLSCiphersuites    *string `json:"tls_ciphersuites"` // nil: the server's default
	GetSourcePublicKey bool    `json:"get_source_public_key"`
	PublicKeyPath      string  `json:"public_key_path"`

	Compression     string `json:"compression"`
	ZstdLevel       int    `json:"zstd_level"`
	AutoFailover    bool   `json:"auto_failover"`
	GTIDOnly        bool   `json:"gtid_only"`
	PrivilegeUser   string `json:"privilege_user"` // PRIVILEGE_CHECKS_USER, empty: none
	PrivilegeHost   string `json:"privilege_host"`
	RowFormatOnly   bool   `json:"row_format_only"`
	PrimaryKeyCheck string `json:"primary_key_check"`
	AnonymousGTIDs  string `json:"anonymous_gtids"` // OFF, LOCAL or a UUID

	// Filters are those set by statement: a restart of the server loses them.
	// Those of option files come back by themselves. MariaDB's lists of server
	// and domain ids, parts of CHANGE MASTER, are here too.
	Filters []Filter `json:"filters"`
}

// Changes says in words how c differs from what it was, one line for each
// setting, by its name in JSON; of a password only that it is another.
func (c SourceConfig) Changes(was SourceConfig) []string {
	var out []string
	now, before := reflect.ValueOf(c), reflect.ValueOf(was)
	for i := range now.NumField() {
		is, old, field := now.Field(i).Interface(), before.Field(i).Interface(), now.Type().Field(i)
		if reflect.DeepEqual(is, old) {
			continue
		}
		if field.Type == reflect.TypeFor[secret.Secret]() {
			out = append(out, strings.ToLower(field.Name)+" is another")
			continue
		}
		from, _ := json.Marshal(old) // of texts, numbers and their lists
		to, _ := json.Marshal(is)
		out = append(out, fmt.Sprintf("%s was %s, is %s", field.Tag.Get("json"), from, to))
	}
	return out
}

// SourceConfig reads the configuration of the one channel; ErrNotReplica
// where there is none. On MySQL it includes the password that the server has
// stored. MariaDB keeps that in a file and tells it to nobody: there Password
// is empty, and whoever attaches must know it from elsewhere.
func (s *Server) SourceConfig(ctx context.Context) (SourceConfig, error) {
	return in(ctx, s, func(ss *session) (SourceConfig, error) { return ss.version.sourceConfig(ctx, ss) })
}

func (d mySQL) sourceConfig(ctx context.Context, ss *session) (SourceConfig, error) {
	const what = "read source configuration"
	rows, err := ss.query(ctx, what, `SELECT * FROM mysql.slave_master_info`)
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
	c, err := connectionConfig(rows[0])
	if err != nil {
		return SourceConfig{}, named(what, err)
	}
	r, err := ss.one(ctx, "read applier configuration",
		`SELECT * FROM mysql.slave_relay_log_info WHERE Channel_name = ?`, c.Channel)
	if err != nil {
		return SourceConfig{}, err
	}
	c.Delay, c.RowFormatOnly = r.int("Sql_delay"), r.yes("Require_row_format")
	c.PrivilegeUser, c.PrivilegeHost = r.text("Privilege_checks_username"), r.text("Privilege_checks_hostname")
	c.PrimaryKeyCheck = r.text("Require_table_primary_key_check")
	if c.AnonymousGTIDs = r.text("Assign_gtids_to_anonymous_transactions_type"); c.AnonymousGTIDs == "UUID" {
		c.AnonymousGTIDs = r.text("Assign_gtids_to_anonymous_transactions_value")
	}
	if r.err() != nil {
		return SourceConfig{}, named("read applier configuration", r.err())
	}
	if c.Filters, err = d.filters(ctx, ss, c.Channel); err != nil {
		return SourceConfig{}, err
	}
	return c, nil
}

// connectionConfig reads a row of mysql.slave_master_info. The table keeps
// its old names in every version so far.
func connectionConfig(r *row) (SourceConfig, error) {
	c := SourceConfig{
		Channel: r.text("Channel_name"), Host: r.text("Host"), Port: r.int("Port"),
		User: r.text("User_name"), Password: secret.New(r.text("User_password")),
		AutoPosition: r.yes("Enabled_auto_position"), ConnectRetry: r.int("Connect_retry"),
		RetryCount: r.int("Retry_count"), Heartbeat: r.text("Heartbeat"), Bind: r.text("Bind"),
		NetworkNamespace: r.text("Network_namespace"),
		TLS:              r.yes("Enabled_ssl"), TLSVerify: r.yes("Ssl_verify_server_cert"), TLSCA: r.text("Ssl_ca"),
		TLSCAPath: r.text("Ssl_capath"), TLSCert: r.text("Ssl_cert"), TLSKey: r.text("Ssl_key"),
		TLSCipher: r.text("Ssl_cipher"), TLSCRL: r.text("Ssl_crl"), TLSCRLPath: r.text("Ssl_crlpath"),
		TLSVersion: r.text("Tls_version"), GetSourcePublicKey: r.yes("Get_public_key"),
		PublicKeyPath: r.text("Public_key_path"), Compression: r.text("Master_compression_algorithm"),
		ZstdLevel: r.int("Master_zstd_compression_level"), AutoFailover: r.yes("Source_connection_auto_failover"),
	}
	if _, ok := r.cells["Gtid_only"]; ok { // since 8.0.27
		c.GTIDOnly = r.yes("Gtid_only")
	}
	if suites := r.text("Tls_ciphersuites"); !r.null("Tls_ciphersuites") {
		c.TLSCiphersuites = &suites
	}
	if _, err := strconv.ParseFloat(c.Heartbeat, 64); err != nil {
		return c, fmt.Errorf("heartbeat period %q is not a number", c.Heartbeat)
	}
	// Refused by the server where gtid_mode is on (error 3139), so it could
	// not be set again. The list is written with its length before it.
	if ids := r.text("Ignored_server_ids"); ids != "0" && ids != "" {
		return c, fmt.Errorf("server ids are ignored (%s): that cannot be set again with GTIDs", ids)
	}
	return c, r.err()
}
