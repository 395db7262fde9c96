package peer

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// uriScheme is the scheme of the URI in a certificate that binds its key to a
// node of a cluster: resilver://CLUSTER/NODE. The CA's names only the cluster.
const uriScheme = "resilver"

var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)

// checkName says whether a cluster's or node's name can stand in a certificate.
func checkName(what, name string) error {
	if !namePattern.MatchString(name) || strings.Contains(name, "..") {
		return fmt.Errorf("%s name %q: want 1 to 63 letters, digits, dots, hyphens and underscores, "+
			"beginning and ending with a letter or digit", what, name)
	}
	return nil
}

func nameURI(cluster, node string) *url.URL {
	u := &url.URL{Scheme: uriScheme, Host: cluster}
	if node != "" {
		u.Path = "/" + node
	}
	return u
}

// names reads the cluster and the node that a certificate is bound to. The
// node is empty in the certificate of a CA.
func names(cert *x509.Certificate) (cluster, node string, err error) {
	var found *url.URL
	for _, u := range cert.URIs {
		if u.Scheme != uriScheme {
			continue
		}
		if found != nil {
			return "", "", errors.New("certificate names more than one node")
		}
		found = u
	}
	if found == nil {
		return "", "", errors.New("certificate names no node: it was not made by resilver certs")
	}
	return found.Host, strings.TrimPrefix(found.Path, "/"), nil
}

// NameError says that a certificate is good, but not that of the node wanted.
type NameError struct {
	What       string // cluster | node
	Want, Seen string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("certificate of %s %q, want %q", e.What, e.Seen, e.Want)
}

// checkPeer verifies that a certificate belongs to the cluster and, where
// node is not empty, to that node. It returns the node that it names.
func checkPeer(cert *x509.Certificate, cluster, node string) (string, error) {
	c, n, err := names(cert)
	switch {
	case err != nil:
		return "", err
	case c != cluster:
		return "", &NameError{What: "cluster", Want: cluster, Seen: c}
	case n == "":
		return "", errors.New("certificate names a cluster, but no node")
	case node != "" && n != node:
		return "", &NameError{What: "node", Want: node, Seen: n}
	}
	return n, nil
}
