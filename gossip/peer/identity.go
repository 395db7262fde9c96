package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// identity is this node's certificate and the CA it trusts, re-read when the
// files change. A change that cannot be read, such as a new key beside the old
// certificate, leaves the former identity in force until it can.
type identity struct {
	cluster, node   string
	ca, cert, key   string // files
	log             *slog.Logger
	mu              sync.Mutex
	stamps          [3]fileStamp
	failed          [3]fileStamp // the change that was complained of last
	pair            *tls.Certificate
	roots           *x509.CertPool
	lastExpiryAlarm time.Time
}

// fileStamp is what changes when a file is replaced or rewritten.
type fileStamp struct {
	mtime time.Time
	size  int64
	inode uint64
}

func stampFile(file string) (fileStamp, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return fileStamp{}, err
	}
	s := fileStamp{mtime: fi.ModTime(), size: fi.Size()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino
	}
	return s, nil
}

func loadIdentity(o Options) (*identity, error) {
	id := &identity{cluster: o.Cluster, node: o.Node, ca: o.CAFile, cert: o.CertFile, key: o.KeyFile, log: o.Logger}
	stamps, err := id.stampAll()
	if err != nil {
		return nil, err
	}
	if err := id.read(); err != nil {
		return nil, err
	}
	id.stamps = stamps
	return id, nil
}

func (id *identity) stampAll() ([3]fileStamp, error) {
	var out [3]fileStamp
	for i, f := range []string{id.ca, id.cert, id.key} {
		s, err := stampFile(f)
		if err != nil {
			return out, fmt.Errorf("look at the certificates: %w", err)
		}
		out[i] = s
	}
	return out, nil
}

// read loads the files and puts them in force if they are good.
func (id *identity) read() error {
	fi, err := os.Stat(id.key)
	if err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("read %s: others may read it (mode %04o): chmod 0600", id.key, fi.Mode().Perm())
	}
	text, err := os.ReadFile(id.ca)
	if err != nil {
		return fmt.Errorf("read the CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("read %s: no PEM certificate in it", id.ca)
	}
	pair, err := tls.LoadX509KeyPair(id.cert, id.key)
	if err != nil {
		return fmt.Errorf("read %s and its key: %w", id.cert, err)
	}
	if _, err := checkPeer(pair.Leaf, id.cluster, id.node); err != nil {
		return fmt.Errorf("read %s: %w", id.cert, err)
	}
	if err := verifyChain([]*x509.Certificate{pair.Leaf}, roots, x509.ExtKeyUsageServerAuth); err != nil {
		var invalid x509.CertificateInvalidError
		if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
			return fmt.Errorf("read %s: not signed by %s: %w", id.cert, id.ca, err)
		}
		return fmt.Errorf("read %s: it is valid from %s to %s only: issue a new one", id.cert,
			pair.Leaf.NotBefore.UTC().Format(time.RFC3339), pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	id.pair, id.roots = &pair, roots
	return nil
}

// current returns the identity in force, after a look at the files.
func (id *identity) current() (*tls.Certificate, *x509.CertPool) {
	id.mu.Lock()
	defer id.mu.Unlock()
	stamps, err := id.stampAll()
	switch {
	case err == nil && stamps == id.stamps:
	case err == nil:
		if err = id.read(); err == nil {
			id.stamps = stamps
			id.log.Info("certificates read again", "not_after", id.pair.Leaf.NotAfter.UTC())
		}
	}
	if err != nil && stamps != id.failed {
		id.failed = stamps
		id.log.Warn("certificates changed but cannot be used: the former ones stay in force", "err", err)
	}
	if left := time.Until(id.pair.Leaf.NotAfter); left < 14*24*time.Hour && time.Since(id.lastExpiryAlarm) > 6*time.Hour {
		id.lastExpiryAlarm = time.Now()
		id.log.Warn("certificate expires soon", "not_after", id.pair.Leaf.NotAfter.UTC())
	}
	return id.pair, id.roots
}

// serverConfig is the TLS configuration of one accepted connection.
func (id *identity) serverConfig() *tls.Config {
	pair, roots := id.current()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protoRaft, protoPeer},
		Certificates:           []tls.Certificate{*pair},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              roots,
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol == "" {
				return errNoProtocol
			}
			_, err := checkPeer(cs.PeerCertificates[0], id.cluster, "")
			return err
		},
	}
}

// clientConfig is the TLS configuration of one dialled connection. The
// other end is known by its node's name, not by its host's, so the chain is
// verified here and crypto/tls' check of host names is off.
func (id *identity) clientConfig(proto, node string) *tls.Config {
	pair, roots := id.current()
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{proto},
		Certificates:       []tls.Certificate{*pair},
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies chain, cluster and node
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != proto {
				return errNoProtocol
			}
			if err := verifyChain(cs.PeerCertificates, roots, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			_, err := checkPeer(cs.PeerCertificates[0], id.cluster, node)
			return err
		},
	}
}

func verifyChain(certs []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	if len(certs) == 0 {
		return errors.New("no certificate shown")
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}
