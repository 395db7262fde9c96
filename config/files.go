package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"resilver/config/secret"
)

// checkFiles looks at the files that c names, without reading them.
func (c *Config) checkFiles(k *checker) {
	for path, file := range map[string]string{
		"cluster.gossip_key_file":         c.Cluster.GossipKeyFile,
		"cluster.tls.key":                 c.Cluster.TLS.Key,
		"mysql.password_file":             c.MySQL.PasswordFile,
		"mysql.replication.password_file": c.MySQL.Replication.PasswordFile,
	} {
		if file == "" {
			continue
		}
		k.path(path, file, false)
		switch err := secret.CheckFile(file); {
		case errors.Is(err, fs.ErrNotExist):
			k.bad(path, file+" does not exist", "make it, with mode 0600")
		case errors.Is(err, fs.ErrPermission):
			k.bad(path, file+" cannot be seen by this user", "check as the user that runs the sidecar")
		case errors.Is(err, secret.ErrExposed):
			k.bad(path, err.Error(), "chmod 600 "+file)
		case err != nil:
			k.bad(path, err.Error(), "write the secret into it")
		}
	}
	for path, file := range map[string]string{"cluster.tls.ca": c.Cluster.TLS.CA, "cluster.tls.cert": c.Cluster.TLS.Cert} {
		if file == "" {
			continue
		}
		k.path(path, file, false)
		if info, err := os.Stat(file); err != nil {
			k.bad(path, fmt.Sprintf("%s cannot be seen: %v", file, errors.Unwrap(err)), "make it with `resilver certs`")
		} else if !info.Mode().IsRegular() {
			k.bad(path, file+" is not a regular file", "name the PEM file itself")
		}
	}
}

// Unprotected returns what a daemon refuses to run with, and check-config only
// warns of: a cluster that others could join or listen to.
func (c *Config) Unprotected() Problems {
	k := &checker{origin: c.origin}
	if c.Cluster.GossipKeyFile == "" && !c.loopback() {
		k.bad("cluster.gossip_key_file", "gossip off loopback has no key, so anybody could join",
			"make one with `resilver certs init`, and name it here")
	}
	if !c.Cluster.TLS.Configured() {
		k.bad("cluster.tls", "the peer port has no certificates",
			"make them with `resilver certs init` and `resilver certs issue`, and name ca, cert and key here")
	}
	return k.found
}

// Warnings returns what is allowed but hardly meant, Unprotected included.
func (c *Config) Warnings() Problems {
	k := &checker{origin: c.origin, found: c.Unprotected()}
	if !c.inOwnList() {
		k.bad("cluster.join", fmt.Sprintf("this node, %s, is not in its own list: it joins a cluster but never forms one", c.Node.Name),
			"add its gossip address")
	}
	if n := len(c.Cluster.Join); n > 0 && c.Policy.KeepServing >= n {
		k.bad("policy.keep_serving", fmt.Sprintf("%d of %d nodes have to serve, so none may be rebuilt", c.Policy.KeepServing, n), "lower it, or add nodes")
	}
	if _, err := user.Lookup(c.Donor.OSUser); err != nil && os.Geteuid() == 0 {
		k.bad("donor.os_user", fmt.Sprintf("there is no system user %s on this machine, so nobody can copy from it", c.Donor.OSUser),
			"make one without a shell or a home, or name another")
	}
	for path, names := range map[string][]string{"admin.readers": c.Admin.Readers, "admin.writers": c.Admin.Writers} {
		for i, name := range names {
			if !known(name) {
				k.bad(fmt.Sprintf("%s[%d]", path, i), name+" is nobody on this machine", "correct the name; a group begins with %")
			}
		}
	}
	k.found.sort()
	return k.found
}

// known says that this machine has a user of that name, or a group behind a
// %. A number needs no name.
func known(name string) bool {
	bare, isGroup := strings.CutPrefix(name, "%")
	_, err := strconv.ParseUint(bare, 10, 32)
	switch {
	case err == nil:
	case isGroup:
		_, err = user.LookupGroup(bare)
	default:
		_, err = user.Lookup(bare)
	}
	return err == nil
}

// loopback says that no other machine can reach the cluster's ports.
func (c *Config) loopback() bool {
	bind, err := netip.ParseAddr(c.Cluster.Bind)
	return err == nil && bind.IsLoopback()
}

// inOwnList says whether one of the addresses in cluster.join looks like this
// node's own.
func (c *Config) inOwnList() bool {
	own := []string{c.Node.Name, hostName(), c.Cluster.Advertise, c.Cluster.Bind}
	if ip, err := netip.ParseAddr(c.Cluster.Bind); err == nil && ip.IsUnspecified() {
		addresses, _ := net.InterfaceAddrs()
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				own = append(own, n.IP.String())
			}
		}
	}
	return slices.ContainsFunc(c.Cluster.Join, func(address string) bool {
		host, port, err := net.SplitHostPort(address)
		return err == nil && port == fmt.Sprint(c.Cluster.GossipPort) && host != "" && slices.Contains(own, host)
	})
}
