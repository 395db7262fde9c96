package lab

import (
	"context"
	"fmt"

	"resilver/watchdog/replica"
)

// grants are the statements that make resilver's accounts, those that
// resilver grants prints.
func (c *Cluster) grants() ([]string, error) {
	var all []string
	for _, o := range []replica.GrantsOptions{
		{Account: replica.AccountSidecar, Name: "resilver", OSUser: c.id.Self},
		{Account: replica.AccountClone, Name: "resilver_clone", OSUser: c.id.Donor},
	} {
		o.Flavor = c.setup.Engine
		statements, err := replica.Grants(o)
		if err != nil {
			return nil, fmt.Errorf("make the accounts: %w", err)
		}
		all = append(all, statements...)
	}
	return all, nil
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
