package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"resilver/watchdog"
)

// refusedTLS is a client that the port must refuse; it returns what the client
// saw. In TLS 1.3 a refusal shows at the first read, not at the handshake.
func refusedTLS(t *testing.T, address string, cfg *tls.Config) error {
	t.Helper()
	raw, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
	conn := tls.Client(raw, cfg)
	if err := conn.Handshake(); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /v1/state HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func TestStrangersRefused(t *testing.T) {
	c := newCluster(t, "orders")
	p := c.port("db1")
	h := refuse()
	h.State = func(context.Context, string) (watchdog.PeerState, error) {
		t.Error("a stranger reached the API")
		return watchdog.PeerState{}, nil
	}
	handle(t, p, h)
	layer := p.Raft()
	c.issue("db2")
	own, err := loadIdentity(c.options("db2"))
	if err != nil {
		t.Fatal(err)
	}
	otherCA := newCluster(t, "orders")
	otherCA.issue("db2")
	wrongCA, err := loadIdentity(otherCA.options("db2"))
	if err != nil {
		t.Fatal(err)
	}
	// The same CA's certificate for another cluster: signed as a mistake would.
	foreignCert := foreignCluster(t, c, "payments", "db2")
	good := func(id *identity) *tls.Config {
		cfg := id.clientConfig(protoPeer, "")
		cfg.VerifyConnection = nil
		return cfg
	}
	for name, change := range map[string]func() *tls.Config{
		"wrong CA":       func() *tls.Config { return good(wrongCA) },
		"wrong cluster":  func() *tls.Config { cfg := good(own); cfg.Certificates = foreignCert; return cfg },
		"no ALPN":        func() *tls.Config { cfg := good(own); cfg.NextProtos = nil; return cfg },
		"other ALPN":     func() *tls.Config { cfg := good(own); cfg.NextProtos = []string{"h2"}; return cfg },
		"no certificate": func() *tls.Config { cfg := good(own); cfg.Certificates = nil; return cfg },
		"TLS 1.2": func() *tls.Config {
			cfg := good(own)
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return cfg
		},
	} {
		err := refusedTLS(t, p.Address(), change())
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	select {
	case <-layer.incoming:
		t.Error("a stranger reached raft")
	default:
	}
	// The other way: the client refuses a server of another CA or cluster.
	q := otherCA.port("db3")
	c.call("db3", q.Address())
	if _, err := p.Client().State(within(t), "db3"); err == nil {
		t.Error("the client took a server of another CA")
	}
}

// foreignCluster makes a certificate of another cluster with c's CA.
func foreignCluster(t *testing.T, c *cluster, name, node string) []tls.Certificate {
	t.Helper()
	ca, err := loadCA(c.ca, c.name)
	if err != nil {
		t.Fatal(err)
	}
	template, err := newTemplate(node, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	template.URIs = append(template.URIs, nameURI(name, node))
	pair, err := sign(template, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{cert}
}

// A node that answers at another's address is not taken for it.
func TestNameMismatchRefused(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	handle(t, b, refuse())
	c.call("db3", b.Address())
	c.call("db2", "127.0.0.1:1")
	var wrong *NameError
	if _, err := a.Client().State(within(t), "db3"); !errors.As(err, &wrong) || wrong.Seen != "db2" {
		t.Errorf("state: %v", err)
	}
	if _, err := a.Client().Tunnel(within(t), "db3", "c", 1); !errors.As(err, &wrong) {
		t.Errorf("tunnel: %v", err)
	}
	if _, err := a.Client().Call(within(t), b.Address(), nil); !errors.As(err, &wrong) {
		t.Errorf("call: %v", err)
	}
	if _, err := a.Raft().Dial(raft.ServerAddress(b.Address()), time.Second); !errors.As(err, &wrong) {
		t.Errorf("raft: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	c := newCluster(t, "orders")
	c.issue("db1")
	for name, change := range map[string]func(*Options){
		"another node's certificate": func(o *Options) { o.Node = "db2" },
		"another cluster's":          func(o *Options) { o.Cluster = "payments" },
		"missing file":               func(o *Options) { o.KeyFile += ".gone" },
		"readable key": func(o *Options) {
			text, err := os.ReadFile(o.KeyFile)
			if err != nil {
				t.Fatal(err)
			}
			o.KeyFile = filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(o.KeyFile, text, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"another CA": func(o *Options) {
			dir := t.TempDir()
			if err := InitCA(dir, "orders"); err != nil {
				t.Fatal(err)
			}
			o.CAFile = filepath.Join(dir, CACertFile)
		},
		"nothing to advertise": func(o *Options) { o.Address = "0.0.0.0:0" },
		"no nodes":             func(o *Options) { o.Nodes = nil },
	} {
		o := c.options("db1")
		change(&o)
		if p, err := Listen(o); err == nil {
			t.Errorf("%s: accepted", name)
			_ = p.Close()
		}
	}
}

// Certificates are read again when they change; a half-made change is not.
func TestCertificateReload(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("db1"), c.port("db2")
	handle(t, b, refuse())
	shown := func() string {
		conn, err := a.dial(within(t), protoPeer, b.Address(), "db2")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
	}
	first := shown()
	next := t.TempDir()
	if err := Issue(c.ca, next, "orders", "db2", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	info, err := Show(filepath.Join(next, "db2.crt"))
	if err != nil {
		t.Fatal(err)
	}
	replace := func(name string) {
		if err := os.Rename(filepath.Join(next, name), filepath.Join(c.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	replace("db2.key")
	if got := shown(); got != first {
		t.Errorf("with a new key beside the old certificate: %s", got)
	}
	replace("db2.crt")
	if got := shown(); got != info.Serial || got == first {
		t.Errorf("serial %s, want %s", got, info.Serial)
	}
}
