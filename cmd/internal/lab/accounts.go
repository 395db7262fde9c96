package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"resilver/watchdog/replica"
)

// sidecarAccount is as whom a sidecar enters its own server.
const sidecarAccount = "resilver"

// grants are the statements that make these accounts.
func grants(accounts ...replica.GrantsOptions) ([]string, error) {
	var all []string
	for _, o := range accounts {
		statements, err := replica.Grants(o)
		if err != nil {
			return nil, fmt.Errorf("make the accounts: %w", err)
		}
		all = append(all, statements...)
	}
	return all, nil
}

// compares says that sidecars hold copies against the primary.
func (c *Cluster) compares() bool {
	mode := strings.Trim(c.setup.Set["verify.checksum"], `"'`)
	return mode != "" && mode != "off"
}

// secret reads one of the lab's passwords.
func (c *Cluster) secret(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, name))
	if err != nil {
		return "", fmt.Errorf("read a password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// makeCerts makes the lab's CA, a certificate for each node and the gossip
// key, as a person would.
func (c *Cluster) makeCerts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandDeadline)
	defer cancel()
	if _, err := output(ctx, c.setup.Resilver, "certs", "init", "--dir", c.certs(), "--cluster", "lab"); err != nil {
		return fmt.Errorf("make the lab's CA: %w", err)
	}
	for _, n := range c.Nodes {
		_, err := output(ctx, c.setup.Resilver, "certs", "issue", "--dir", c.certs(), "--out", c.certs(),
			"--cluster", "lab", "--node", n.Name, "--host", n.Address)
		if err != nil {
			return fmt.Errorf("make the certificate of %s: %w", n.Name, err)
		}
	}
	return nil
}
