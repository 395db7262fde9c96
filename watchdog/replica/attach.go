package replica

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// ResetSource removes every source configuration, relay logs included. A
// server without one is left as it is.
func (s *Server) ResetSource(ctx context.Context) error {
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	return ss.version.resetSource(ctx, ss)
}

func (d mySQL) resetSource(ctx context.Context, ss *session) error {
	if err := ss.exec(ctx, stopLimit, "stop replica", d.words().stopReplica); err != nil {
		return err
	}
	return ss.exec(ctx, slowLimit, "reset replica", "RESET REPLICA ALL")
}

// Attach makes the server a replica as c says, from nothing: what source
// configuration there was is gone. Positions are by GTID. That the threads
// were started says nothing of whether they keep running: observe.
func (s *Server) Attach(ctx context.Context, c SourceConfig) error {
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	if err := ss.configure(ctx, c); err != nil {
		return err
	}
	return ss.exec(ctx, slowLimit, "start replica", ss.version.words().startChannel, c.Channel)
}

// configure does all of Attach but to start anything.
func (ss *session) configure(ctx context.Context, c SourceConfig) error {
	if c.Host == "" || c.Port <= 0 || c.User == "" {
		return errors.New("attach: host, port and user must be given")
	}
	d := ss.version
	text, args, err := d.changeSource(c)
	if err != nil {
		return named("attach", err)
	}
	if err := d.resetSource(ctx, ss); err != nil {
		return err
	}
	if err := ss.exec(ctx, slowLimit, "change replication source", text, args...); err != nil {
		if errno(err) == 1064 { // its text quotes a part of the statement, perhaps half a password
			return errors.New("change replication source: the server does not understand the statement (error 1064)")
		}
		return scrub(err, c.Password)
	}
	return ss.setFilters(ctx, c.Channel, c.Filters)
}

// options are the settings of a statement that configures a source. Values
// are placeholders, which the driver quotes on this side: a server cannot
// prepare these statements.
type options struct {
	set  []string
	args []any
}

func (o *options) add(option string, value any) {
	o.set, o.args = append(o.set, option+" = ?"), append(o.args, value)
}

// text leaves out what is empty.
func (o *options) text(option, value string) {
	if value != "" {
		o.add(option, value)
	}
}

func (o *options) word(option, value string) { o.set = append(o.set, option+" = "+value) }

func (o *options) flag(option string, on bool) {
	o.word(option, map[bool]string{true: "1", false: "0"}[on])
}

// seconds writes a decimal as the server keeps it.
func (o *options) seconds(option, value string) {
	if f, err := strconv.ParseFloat(value, 64); err == nil {
		o.word(option, strconv.FormatFloat(f, 'f', 3, 64))
	}
}

func (d mySQL) changeSource(c SourceConfig) (string, []any, error) {
	var o options
	o.add("SOURCE_HOST", c.Host)
	o.add("SOURCE_PORT", c.Port)
	o.add("SOURCE_USER", c.User)
	o.add("SOURCE_PASSWORD", c.Password.Reveal())
	o.flag("SOURCE_AUTO_POSITION", true)
	o.add("SOURCE_CONNECT_RETRY", c.ConnectRetry)
	o.add("SOURCE_RETRY_COUNT", c.RetryCount)
	o.seconds("SOURCE_HEARTBEAT_PERIOD", c.Heartbeat)
	o.add("SOURCE_DELAY", c.Delay)
	o.text("SOURCE_BIND", c.Bind)
	o.text("NETWORK_NAMESPACE", c.NetworkNamespace)
	o.flag("SOURCE_SSL", c.TLS)
	o.flag("SOURCE_SSL_VERIFY_SERVER_CERT", c.TLSVerify)
	o.text("SOURCE_SSL_CA", c.TLSCA)
	o.text("SOURCE_SSL_CAPATH", c.TLSCAPath)
	o.text("SOURCE_SSL_CERT", c.TLSCert)
	o.text("SOURCE_SSL_KEY", c.TLSKey)
	o.text("SOURCE_SSL_CIPHER", c.TLSCipher)
	o.text("SOURCE_SSL_CRL", c.TLSCRL)
	o.text("SOURCE_SSL_CRLPATH", c.TLSCRLPath)
	o.text("SOURCE_TLS_VERSION", c.TLSVersion)
	if c.TLSCiphersuites != nil {
		o.add("SOURCE_TLS_CIPHERSUITES", *c.TLSCiphersuites)
	}
	o.flag("GET_SOURCE_PUBLIC_KEY", c.GetSourcePublicKey)
	o.text("SOURCE_PUBLIC_KEY_PATH", c.PublicKeyPath)
	o.text("SOURCE_COMPRESSION_ALGORITHMS", c.Compression)
	if c.ZstdLevel > 0 {
		o.add("SOURCE_ZSTD_COMPRESSION_LEVEL", c.ZstdLevel)
	}
	o.flag("SOURCE_CONNECTION_AUTO_FAILOVER", c.AutoFailover)
	if c.GTIDOnly && d.hasGTIDOnly {
		o.flag("GTID_ONLY", true)
	}
	if c.PrivilegeUser != "" {
		o.set = append(o.set, "PRIVILEGE_CHECKS_USER = ?@?")
		o.args = append(o.args, c.PrivilegeUser, c.PrivilegeHost)
	}
	o.flag("REQUIRE_ROW_FORMAT", c.RowFormatOnly)
	switch c.PrimaryKeyCheck {
	case "STREAM", "ON", "OFF", "GENERATE":
		o.word("REQUIRE_TABLE_PRIMARY_KEY_CHECK", c.PrimaryKeyCheck)
	}
	switch c.AnonymousGTIDs {
	case "":
	case "OFF", "LOCAL":
		o.word("ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS", c.AnonymousGTIDs)
	default:
		o.add("ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS", c.AnonymousGTIDs)
	}
	return "CHANGE REPLICATION SOURCE TO " + strings.Join(o.set, ", ") + " FOR CHANNEL ?", append(o.args, c.Channel), nil
}
