package peer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// authority is a CA read from its directory, able to sign.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func loadCA(dir, cluster string) (authority, error) {
	cert, text, err := readCert(filepath.Join(dir, CACertFile))
	if err != nil {
		return authority{}, err
	}
	c, node, err := names(cert)
	if err != nil {
		return authority{}, fmt.Errorf("read the CA in %s: %w", dir, err)
	}
	if !cert.IsCA || node != "" {
		return authority{}, fmt.Errorf("read the CA in %s: it is the certificate of a node", dir)
	}
	if c != cluster {
		return authority{}, fmt.Errorf("read the CA in %s: %w", dir,
			&NameError{What: "cluster", Want: cluster, Seen: c})
	}
	key, err := readKey(filepath.Join(dir, CAKeyFile))
	if err != nil {
		return authority{}, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return authority{}, fmt.Errorf("read the CA in %s: %s is not the key of %s", dir, CAKeyFile, CACertFile)
	}
	return authority{cert: cert, key: key, pem: text}, nil
}

func readCert(file string) (*x509.Certificate, []byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read a certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemCert {
		return nil, nil, fmt.Errorf("read %s: no PEM certificate in it", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", file, err)
	}
	return cert, text, nil
}

// readKey reads a private key. Its errors never quote the file.
func readKey(file string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemKey {
		return nil, fmt.Errorf("read %s: no PEM private key in it", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: not a PKCS #8 private key", file)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read %s: not an ECDSA key", file)
	}
	return key, nil
}

// copyCA puts the CA's certificate beside those it signed; the same one may
// be there already.
func copyCA(text []byte, outDir string) error {
	file := filepath.Join(outDir, CACertFile)
	have, err := os.ReadFile(file)
	switch {
	case err == nil && bytes.Equal(have, text):
		return nil
	case err == nil:
		return fmt.Errorf("write %s: %w, and is another CA's", file, os.ErrExist)
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("write %s: %w", file, err)
	}
	return writeNew(file, text, 0o644)
}

// writeNew writes a file that must not exist, whole or not at all.
func writeNew(file string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(perm), tmp.Sync(), tmp.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Link(tmp.Name(), file); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("write %s: %w; move it away first", file, os.ErrExist)
		}
		return fmt.Errorf("write %s: %w", file, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
