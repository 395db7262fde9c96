package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Files that InitCA writes into its directory, and Issue reads.
const (
	CACertFile = "ca.crt"
	CAKeyFile  = "ca.key"
)

const (
	caValidity = 10 * 365 * 24 * time.Hour
	// backdate allows for clocks that are a little behind.
	backdate = 5 * time.Minute

	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
)

// Info is what one certificate says.
type Info struct {
	Cluster     string
	Node        string // empty: a CA
	CA          bool
	Hosts       []string
	NotBefore   time.Time
	NotAfter    time.Time
	Issuer      string
	Serial      string
	Fingerprint string // SHA-256 of the certificate, hex
}

// InitCA makes a new certificate authority for a cluster: ca.crt and ca.key
// in dir, which is made where it is missing. It refuses to replace one.
func InitCA(dir, cluster string) error {
	if err := checkName("cluster", cluster); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the CA: %w", err)
	}
	template, err := newTemplate("resilver CA of "+cluster, caValidity)
	if err != nil {
		return err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.URIs = append(template.URIs, nameURI(cluster, ""))
	pair, err := sign(template, nil, nil)
	if err != nil {
		return err
	}
	return pair.write(filepath.Join(dir, CACertFile), filepath.Join(dir, CAKeyFile))
}

// Issue makes the certificate of one node, signed by the CA in dir: NODE.crt,
// NODE.key and a copy of ca.crt in outDir. Hosts are its host names and
// addresses, for people and other tools; resilver itself goes by the node's
// name. It refuses to replace a key or certificate.
func Issue(dir, outDir, cluster, node string, hosts []string, validity time.Duration) error {
	if err := errors.Join(checkName("cluster", cluster), checkName("node", node)); err != nil {
		return err
	}
	if validity <= 0 {
		return fmt.Errorf("validity %s of a certificate: want more than 0", validity)
	}
	ca, err := loadCA(dir, cluster)
	if err != nil {
		return err
	}
	template, err := newTemplate(node, validity)
	if err != nil {
		return err
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.URIs = append(template.URIs, nameURI(cluster, node))
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	pair, err := sign(template, ca.cert, ca.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(outDir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the certificates: %w", err)
	}
	if err := copyCA(ca.pem, outDir); err != nil {
		return err
	}
	return pair.write(filepath.Join(outDir, node+".crt"), filepath.Join(outDir, node+".key"))
}

// Show reads the first certificate in a PEM file.
func Show(file string) (Info, error) {
	cert, _, err := readCert(file)
	if err != nil {
		return Info{}, err
	}
	cluster, node, err := names(cert)
	if err != nil {
		return Info{}, fmt.Errorf("read %s: %w", file, err)
	}
	sum := sha256.Sum256(cert.Raw)
	info := Info{Cluster: cluster, Node: node, CA: cert.IsCA, Hosts: append([]string{}, cert.DNSNames...),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Issuer: cert.Issuer.CommonName,
		Serial: cert.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(sum[:])}
	for _, ip := range cert.IPAddresses {
		info.Hosts = append(info.Hosts, ip.String())
	}
	return info, nil
}

func newTemplate(common string, validity time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: common, Organization: []string{"resilver"}},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(validity),
		URIs:         []*url.URL{},
	}, nil
}

// keyPair is a new certificate and its key, both in PEM.
type keyPair struct{ cert, key []byte }

// sign makes a key and a certificate for it, self-signed where parent is nil,
// and reads it once more as a peer would.
func sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("make a key: %w", err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return keyPair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return keyPair{}, fmt.Errorf("read the new certificate: %w", err)
	}
	if _, _, err := names(cert); err != nil {
		return keyPair{}, fmt.Errorf("read the new certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keyPair{}, fmt.Errorf("encode a key: %w", err)
	}
	return keyPair{
		cert: pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: keyDER}),
	}, nil
}

// write puts both files in place, the key first, and neither over another.
func (p keyPair) write(certFile, keyFile string) error {
	if _, err := os.Lstat(certFile); err == nil {
		return fmt.Errorf("write %s: %w; move it away first", certFile, os.ErrExist)
	}
	if err := writeNew(keyFile, p.key, 0o600); err != nil {
		return err
	}
	if err := writeNew(certFile, p.cert, 0o644); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}
