package replica

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// login tries an account; says is what a refusal must say, "" for a success
// and "?" for an attempt that tells nothing.
func (p *pair) login(t *testing.T, name string, c SourceConfig, says string) {
	t.Helper()
	err := TryLogin(t.Context(), c)
	t.Logf("%s: %v", name, err)
	refused := errors.Is(err, ErrRefused)
	switch says {
	case "":
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	case "?":
		if err == nil || refused {
			t.Errorf("%s: nothing can be known: %v", name, err)
		}
	default:
		if !refused || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a refusal that says %q", name, err, says)
		}
	}
	if err != nil && (strings.Contains(err.Error(), c.Password.Reveal()) || strings.Contains(err.Error(), "\n")) {
		t.Errorf("%s: the password shows, or it is no line: %v", name, err)
	}
}

func TestTryLogin(t *testing.T) {
	healthy(t)
	// Another account's login fills the source's cache; this one's is cold.
	lab.source.must(t, "CREATE USER cold@'%' IDENTIFIED BY 'cold-pw'", "GRANT REPLICATION SLAVE ON *.* TO cold@'%'")
	defer lab.source.must(t, "DROP USER cold@'%'")
	c := SourceConfig{Host: "127.0.0.1", Port: lab.source.port, User: "cold", Password: pw("cold-pw")}
	lab.login(t, "cold cache, neither TLS nor key", c, "wants TLS or GET_SOURCE_PUBLIC_KEY")
	c.PublicKeyPath = "/nowhere/key.pem"
	lab.login(t, "a key that the server has", c, "?")
	c.PublicKeyPath, c.GetSourcePublicKey = "", true
	lab.login(t, "with the key", c, "")
	c.GetSourcePublicKey = false
	lab.login(t, "warm cache", c, "")
	c.Password = pw("not-this")
	lab.login(t, "warm cache, wrong password", c, "or it is wrong")
	lab.tryLogin(t, "expired")
	lab.source.must(t, "CREATE ROLE r", "GRANT REPLICATION SLAVE ON *.* TO r", "REVOKE REPLICATION SLAVE ON *.* FROM cold@'%'", "GRANT r TO cold@'%'")
	defer lab.source.must(t, "DROP ROLE r")
	c.Password = pw("cold-pw")
	lab.login(t, "perhaps by a role", c, "")

	files := certificates(t)
	ca, cert, key := lab.source.value(t, "SELECT @@ssl_ca"), lab.source.value(t, "SELECT @@ssl_cert"), lab.source.value(t, "SELECT @@ssl_key")
	lab.source.must(t, "SET GLOBAL ssl_ca="+literal(files.ca), "SET GLOBAL ssl_cert="+literal(files.cert), "SET GLOBAL ssl_key="+literal(files.key), "ALTER INSTANCE RELOAD TLS")
	c, err := lab.replica.own.SourceConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lab.overTLS(t, lab.source, c, files)
	lab.source.must(t, "SET GLOBAL ssl_ca="+literal(ca), "SET GLOBAL ssl_cert="+literal(cert), "SET GLOBAL ssl_key="+literal(key), "ALTER INSTANCE RELOAD TLS")
	healthy(t)
}

func TestMariaDBTryLogin(t *testing.T) {
	p := mariaPair(t)
	p.tryLogin(t, "SET PASSWORD")
	p.source.must(t, "REVOKE REPLICATION SLAVE ON *.* FROM repl@'%'", "GRANT REPLICATION SLAVE ON *.* TO PUBLIC")
	c := SourceConfig{Host: "127.0.0.1", Port: p.source.port, User: "repl", Password: pw(replPassword)}
	p.login(t, "by PUBLIC", c, "")
	c.TLS = true
	p.login(t, "TLS configured, the source has none", c, "?")
	p.source.must(t, "REVOKE REPLICATION SLAVE ON *.* FROM PUBLIC", "GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
	p.healthy(t)

	files := certificates(t)
	n := mariaNode(t, "tls", 7, "ssl_ca="+files.ca, "ssl_cert="+files.cert, "ssl_key="+files.key)
	if err := n.fill(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.must(t, "CREATE USER repl@'%' IDENTIFIED BY "+literal(replPassword), "GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
	p.overTLS(t, n, c, files)
}

// tryLogin does to the account whatever a person might; expired is how the
// source words that.
func (p *pair) tryLogin(t *testing.T, expired string) {
	p.healthy(t)
	c, err := p.replica.own.SourceConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Password = pw(replPassword)
	set := "ALTER USER repl@'%' IDENTIFIED BY " + literal(replPassword)
	p.login(t, "as the replica does", c, "")
	wrong := c
	wrong.Password = pw("another one")
	p.login(t, "wrong password", wrong, "1045")
	wrong.User = "nobody"
	p.login(t, "no such user", wrong, "1045")
	p.source.must(t, "ALTER USER repl@'%' ACCOUNT LOCK")
	p.login(t, "locked", c, "locked")
	p.source.must(t, "ALTER USER repl@'%' ACCOUNT UNLOCK", "ALTER USER repl@'%' PASSWORD EXPIRE")
	p.login(t, "expired", c, expired)
	p.source.must(t, set, "REVOKE REPLICATION SLAVE ON *.* FROM repl@'%'", "GRANT SELECT ON t.* TO repl@'%'")
	p.login(t, "without the right", c, "REPLICATION SLAVE")
	p.source.must(t, "REVOKE SELECT ON t.* FROM repl@'%'", "GRANT ALL ON *.* TO repl@'%'")
	p.login(t, "all rights", c, "")
	p.source.must(t, "REVOKE ALL ON *.* FROM repl@'%'", "GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
	p.source.must(t, "RENAME USER repl@'%' TO repl@'192.0.2.1'")
	p.login(t, "from another host only", c, "refuses")
	p.source.must(t, "RENAME USER repl@'192.0.2.1' TO repl@'%'")
	p.unreachable(t, c)
	p.healthy(t)
}

// unreachable: what does not answer says nothing, and costs seconds at most.
func (p *pair) unreachable(t *testing.T, c SourceConfig) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.Addr().(*net.TCPAddr).Port
	silent := c
	silent.Port = port
	began := time.Now()
	p.login(t, "accepts and is silent", silent, "?")
	if took := time.Since(began); took > 2*loginLimit {
		t.Errorf("that took %s", took)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	p.login(t, "nobody listens", silent, "?")
	for name, change := range map[string]func(*SourceConfig){
		"by a socket":         func(c *SourceConfig) { c.Host = "localhost" },
		"no such name":        func(c *SourceConfig) { c.Host = "source.invalid" },
		"another network":     func(c *SourceConfig) { c.NetworkNamespace = "ns" },
		"from no address":     func(c *SourceConfig) { c.Bind = "eth0" },
		"ciphers":             func(c *SourceConfig) { c.TLS, c.TLSCipher = true, "ECDHE-RSA-AES128-GCM-SHA256" },
		"a CA of the server":  func(c *SourceConfig) { c.TLS, c.TLSCA = true, "ca.pem" },
		"a CA that is absent": func(c *SourceConfig) { c.TLS, c.TLSCA = true, "/nowhere/ca.pem" },
		"a revocation list":   func(c *SourceConfig) { c.TLS, c.TLSCRL = true, "/nowhere/crl.pem" },
	} {
		c := c
		change(&c)
		p.login(t, name, c, "?")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := TryLogin(ctx, c); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("ended: %v", err)
	}
}

// overTLS logs in at a source with a certificate of its own CA.
func (p *pair) overTLS(t *testing.T, at *node, c SourceConfig, files tlsFiles) {
	c.Port, c.TLS = at.port, false
	for _, require := range []string{"NONE", "SSL"} {
		at.must(t, "ALTER USER repl@'%' REQUIRE "+require)
		says := ""
		if require == "SSL" {
			says = "1045"
		}
		p.login(t, "REQUIRE "+require+", without TLS", c, says)
		with := c
		with.TLS = true
		p.login(t, "REQUIRE "+require+", TLS", with, "")
		with.TLSCA = files.ca
		p.login(t, "REQUIRE "+require+", its CA", with, "")
		with.TLSVerify = true
		p.login(t, "REQUIRE "+require+", verified", with, "")
		wrong := with
		wrong.Password = pw("another one")
		p.login(t, "REQUIRE "+require+", wrong password", wrong, "1045")
		with.TLSCA = ""
		p.login(t, "REQUIRE "+require+", verified by nobody", with, "?")
		with.TLSCA, with.TLSVerify = files.stranger, false
		p.login(t, "REQUIRE "+require+", another CA", with, "?")
	}
	c.TLS = true
	at.must(t, "ALTER USER repl@'%' REQUIRE X509")
	p.login(t, "a certificate is wanted", c, "1045")
	c.TLSCert, c.TLSKey = files.cert, files.key
	p.login(t, "a certificate", c, "")
	at.must(t, "ALTER USER repl@'%' REQUIRE NONE")
}

type tlsFiles struct{ ca, cert, key, stranger string }

// certificates makes a CA, a certificate of it for 127.0.0.1, and another CA.
func certificates(t *testing.T) (f tlsFiles) {
	t.Helper()
	dir, err := os.MkdirTemp(lab.dir, "tls-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	made := 0
	issue := func(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		made++
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(made)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true}
		if parent == nil {
			parent, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	ca, caKey := issue("ca", nil, nil)
	stranger, _ := issue("stranger", nil, nil)
	cert, key := issue("source", ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return tlsFiles{write("ca.pem", "CERTIFICATE", ca.Raw), write("cert.pem", "CERTIFICATE", cert.Raw), write("key.pem", "PRIVATE KEY", der), write("stranger.pem", "CERTIFICATE", stranger.Raw)}
}
