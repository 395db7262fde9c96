package replica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// ErrRefused means that a source refuses an account as it is now.
var ErrRefused = errors.New("the source refuses the account")

// loginLimit bounds one attempt to log in, all in all.
const loginLimit = 3 * time.Second

// refusals are the numbers by which a source refuses an account for a reason
// that lasts (the servers' error references): password or TLS 1045, no login
// by password 1698, a host without account 1130 or blocked 1129, expired 1820
// and 1862, locked 3118, after failed logins 3955, and on MariaDB 4151, and
// TLS wanted of everybody 3159.
var refusals = []uint16{1045, 1129, 1130, 1698, 1820, 1862, 3118, 3159, 3955, 4151}

// TryLogin logs in at the source that c names as a replica attached with c
// would, over TCP and with its TLS options, and asks whether the account has
// REPLICATION SLAVE. It returns nil if so, and ErrRefused with the source's
// words if the account or its password is definitely refused.
//
// Any other error means that nothing was learnt: the source is out of reach or
// slow, or c has options that only the server itself has alike (another
// network, ciphers, revocation lists, a file that is not to be read here), or
// the password would have to be encrypted with a key of whoever answers
// (sha256_password without TLS; c.PublicKeyPath, which is not read here).
// Attach goes by the server's own client, not by this one, so that such an
// error is no reason against it. A few seconds at most.
func TryLogin(ctx context.Context, c SourceConfig) error {
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	err := login(ctx, c)
	if slices.Contains(refusals, errno(err)) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return fmt.Errorf("log in at %s as %s: %w", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), c.User, scrub(err, c.Password))
	}
	return nil
}

func login(ctx context.Context, c SourceConfig) (err error) {
	var raw net.Conn
	defer func() { // the driver trusts the lengths in what it reads, and the kind of a key
		if p := recover(); p != nil {
			err = fmt.Errorf("what answers there is no source: %v", p)
			if raw != nil {
				_ = raw.Close()
			}
		}
	}()
	if c.NetworkNamespace != "" || c.Host == "localhost" { // which the server's client takes for a socket
		return errors.New("only the server itself reaches its source")
	}
	conf := mysql.NewConfig()
	conf.Net, conf.Addr = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	conf.User, conf.Passwd = c.User, c.Password.Reveal()
	conf.Timeout, conf.ReadTimeout, conf.WriteTimeout = loginLimit, loginLimit, loginLimit
	conf.Logger = &mysql.NopLogger{}
	conf.ConnectionAttributes = "program_name:resilver"
	if conf.TLS, err = c.tls(); err != nil {
		return err
	}
	var plain *keyless
	dialer := net.Dialer{FallbackDelay: -1} // addresses in their order, as the server tries them
	if c.Bind != "" {
		ip := net.ParseIP(c.Bind)
		if ip == nil {
			return fmt.Errorf("SOURCE_BIND %q is no address", c.Bind)
		}
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		raw = conn
		// The server prefers a key of its own to the source's; that file is not read here.
		if err != nil || c.TLS || c.GetSourcePublicKey && c.PublicKeyPath == "" {
			return conn, err
		}
		plain = &keyless{Conn: conn}
		return plain, nil
	}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		switch {
		case plain == nil || !plain.held:
			return err
		case plain.wanted && c.PublicKeyPath == "":
			return fmt.Errorf("%w: caching_sha2_password wants TLS or GET_SOURCE_PUBLIC_KEY for this password, or it is wrong", ErrRefused)
		}
		return errKeyless
	}
	if plain != nil {
		plain.in = true
	}
	defer func() { _ = conn.Close() }()
	return mayReplicate(ctx, conn)
}

// tls is what the server's client would use: with a CA the chain is verified,
// with SOURCE_SSL_VERIFY_SERVER_CERT the name too; nil without TLS.
func (c SourceConfig) tls() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	if c.TLSCAPath+c.TLSCRL+c.TLSCRLPath+c.TLSCipher+c.TLSVersion != "" || c.TLSCiphersuites != nil {
		return nil, errors.New("its TLS options are the server's own")
	}
	for _, path := range []string{c.TLSCA, c.TLSCert, c.TLSKey} {
		if path != "" && !filepath.IsAbs(path) {
			return nil, fmt.Errorf("%s is relative to the server's own directory", path)
		}
	}
	// What a server without SOURCE_SSL_VERIFY_SERVER_CERT does not verify is not verified here.
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.Host, InsecureSkipVerify: !c.TLSVerify}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.TLSCA)
		}
		conf.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, conf.RootCAs) }
	}
	if c.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// verifyChain asks for a chain to the roots, whatever name the certificate has.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// mayReplicate asks for the account's own grants, for which no right is needed.
func mayReplicate(ctx context.Context, conn driver.Conn) error {
	q, ok := conn.(driver.QueryerContext)
	if !ok {
		return errors.New("read grants: the driver cannot ask")
	}
	rows, err := q.QueryContext(ctx, "SHOW GRANTS", nil)
	if err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var grants []string
	for cells := make([]driver.Value, len(rows.Columns())); ; {
		switch err := rows.Next(cells); {
		case errors.Is(err, io.EOF):
			return judgeGrants(grants)
		case err != nil:
			return fmt.Errorf("read grants: %w", err)
		}
		if text, ok := cells[0].([]byte); ok {
			grants = append(grants, string(text))
		}
	}
}

var grantLine = regexp.MustCompile(`^GRANT (.+) ON (.+) TO `)

// judgeGrants refuses an account that lacks REPLICATION SLAVE beyond doubt:
// one with a role may have it by that.
func judgeGrants(grants []string) error {
	for _, line := range grants {
		m := grantLine.FindStringSubmatch(line)
		if m == nil {
			return nil
		}
		rights := strings.Split(m[1], ", ")
		if m[2] == "*.*" && (slices.Contains(rights, "REPLICATION SLAVE") || slices.Contains(rights, "ALL PRIVILEGES")) {
			return nil
		}
	}
	if len(grants) == 0 {
		return errors.New("read grants: none are shown")
	}
	return fmt.Errorf("%w: it lacks REPLICATION SLAVE ON *.*", ErrRefused)
}
