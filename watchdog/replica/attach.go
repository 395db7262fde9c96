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
	return ss.resetSource(ctx)
}

func (ss *session) resetSource(ctx context.Context) error {
	if err := ss.exec(ctx, stopLimit, "stop replica", "STOP REPLICA"); err != nil {
		return err
	}
	return ss.exec(ctx, slowLimit, "reset replica", "RESET REPLICA ALL")
}

// Attach makes the server a replica as c says, from nothing: what source
// configuration there was is gone. Positions are by GTID. That the threads
// were started says nothing of whether they keep running: observe.
func (s *Server) Attach(ctx context.Context, c SourceConfig) error {
	if c.Host == "" || c.Port <= 0 || c.User == "" {
		return errors.New("attach: host, port and user must be given")
	}
	ss, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer ss.close()
	if err := ss.resetSource(ctx); err != nil {
		return err
	}
	text, args := changeSource(c, ss.version)
	if err := ss.exec(ctx, slowLimit, "change replication source", text, args...); err != nil {
		if errno(err) == 1064 { // its text quotes a part of the statement, perhaps half a password
			return errors.New("change replication source: the server does not understand the statement (error 1064)")
		}
		return scrub(err, c.Password)
	}
	if err := ss.setFilters(ctx, c.Channel, c.Filters); err != nil {
		return err
	}
	return ss.exec(ctx, slowLimit, "start replica", "START REPLICA FOR CHANNEL ?", c.Channel)
}

// changeSource writes the statement. Values are placeholders, which the
// driver quotes on this side: the server cannot prepare this statement.
func changeSource(c SourceConfig, v version) (string, []any) {
	var set []string
	var args []any
	add := func(option string, value any) {
		set, args = append(set, option+" = ?"), append(args, value)
	}
	text := func(option, value string) {
		if value != "" {
			add(option, value)
		}
	}
	word := func(option, value string) { set = append(set, option+" = "+value) }
	flag := func(option string, on bool) { word(option, map[bool]string{true: "1", false: "0"}[on]) }

	add("SOURCE_HOST", c.Host)
	add("SOURCE_PORT", c.Port)
	add("SOURCE_USER", c.User)
	add("SOURCE_PASSWORD", c.Password.Reveal())
	flag("SOURCE_AUTO_POSITION", true)
	add("SOURCE_CONNECT_RETRY", c.ConnectRetry)
	add("SOURCE_RETRY_COUNT", c.RetryCount)
	if f, err := strconv.ParseFloat(c.Heartbeat, 64); err == nil {
		word("SOURCE_HEARTBEAT_PERIOD", strconv.FormatFloat(f, 'f', 3, 64))
	}
	add("SOURCE_DELAY", c.Delay)
	text("SOURCE_BIND", c.Bind)
	text("NETWORK_NAMESPACE", c.NetworkNamespace)
	flag("SOURCE_SSL", c.TLS)
	flag("SOURCE_SSL_VERIFY_SERVER_CERT", c.TLSVerify)
	text("SOURCE_SSL_CA", c.TLSCA)
	text("SOURCE_SSL_CAPATH", c.TLSCAPath)
	text("SOURCE_SSL_CERT", c.TLSCert)
	text("SOURCE_SSL_KEY", c.TLSKey)
	text("SOURCE_SSL_CIPHER", c.TLSCipher)
	text("SOURCE_SSL_CRL", c.TLSCRL)
	text("SOURCE_SSL_CRLPATH", c.TLSCRLPath)
	text("SOURCE_TLS_VERSION", c.TLSVersion)
	if c.TLSCiphersuites != nil {
		add("SOURCE_TLS_CIPHERSUITES", *c.TLSCiphersuites)
	}
	flag("GET_SOURCE_PUBLIC_KEY", c.GetSourcePublicKey)
	text("SOURCE_PUBLIC_KEY_PATH", c.PublicKeyPath)
	text("SOURCE_COMPRESSION_ALGORITHMS", c.Compression)
	if c.ZstdLevel > 0 {
		add("SOURCE_ZSTD_COMPRESSION_LEVEL", c.ZstdLevel)
	}
	flag("SOURCE_CONNECTION_AUTO_FAILOVER", c.AutoFailover)
	if c.GTIDOnly && v.hasGTIDOnly {
		flag("GTID_ONLY", true)
	}
	if c.PrivilegeUser != "" {
		set = append(set, "PRIVILEGE_CHECKS_USER = ?@?")
		args = append(args, c.PrivilegeUser, c.PrivilegeHost)
	}
	flag("REQUIRE_ROW_FORMAT", c.RowFormatOnly)
	switch c.PrimaryKeyCheck {
	case "STREAM", "ON", "OFF", "GENERATE":
		word("REQUIRE_TABLE_PRIMARY_KEY_CHECK", c.PrimaryKeyCheck)
	}
	switch c.AnonymousGTIDs {
	case "":
	case "OFF", "LOCAL":
		word("ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS", c.AnonymousGTIDs)
	default:
		add("ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS", c.AnonymousGTIDs)
	}
	return "CHANGE REPLICATION SOURCE TO " + strings.Join(set, ", ") + " FOR CHANNEL ?", append(args, c.Channel)
}
