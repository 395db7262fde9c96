package lab

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// tree is a YAML mapping by key.
type tree map[string]any

// sidecarConfig is the configuration of a node's sidecar: quick, because a
// lab's faults are meant and its data is small.
func (c *Cluster) sidecarConfig(n *Node) tree {
	join := []string{}
	for _, other := range c.Nodes {
		join = append(join, other.gossip())
	}
	certs := c.certs()
	mysql := tree{"socket": n.Socket, "user": sidecarAccount, "service": tree{"kind": "supervise"}}
	maps.Copy(mysql, c.engine.login(c))
	return tree{
		"node": tree{"name": n.Name},
		"cluster": tree{
			"name": "lab", "join": join, "bind": n.Address, "advertise": n.Address,
			"gossip_port": gossipPort, "peer_port": peerPort,
			"gossip_key_file": filepath.Join(certs, "gossip.key"),
			"tls": tree{
				"ca":   filepath.Join(certs, "ca.crt"),
				"cert": filepath.Join(certs, n.Name+".crt"),
				"key":  filepath.Join(certs, n.Name+".key"),
			},
		},
		"lease": tree{"ttl": "20s"},
		"mysql": mysql,
		"policy": tree{
			"broken_for": "5s", "cooldown": "5s", "systemic_window": "1m", "errant_confirm": "2s",
			"budget": tree{"node_per_day": 100, "cluster_per_hour": 100},
		},
		"donor":     tree{"os_user": c.id.Donor},
		"admin":     tree{"socket": n.AdminSocket, "writers": []string{c.id.Self}},
		"http":      tree{"listen": n.HTTPAddress()},
		"log":       tree{"level": "debug"},
		"state_dir": n.StateDir(),
	}
}

// certs is the folder of the lab's certificates and gossip key.
func (c *Cluster) certs() string { return filepath.Join(c.Dir, "certs") }

// put sets the value at a dotted path; the text is read as YAML, so that 5
// is a number and [a, b] a list.
func (t tree) put(path, text string) error {
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return fmt.Errorf("set %s: %w", path, err)
	}
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		child, ok := t[key].(tree)
		if !ok {
			child = tree{}
			t[key] = child
		}
		t = child
	}
	t[keys[len(keys)-1]] = value
	return nil
}

// Set changes configuration keys of this node alone, such as
// "policy.mode": "observe". Its sidecar reads them when it is started next.
func (n *Node) Set(keys map[string]string) error {
	maps.Copy(n.set, keys)
	return n.writeConfig()
}

// Env sets what is added to the environment of the sidecar when it is
// started next, such as RESILVER_FAILPOINT=swap.
func (n *Node) Env(env ...string) { n.env = env }

func (n *Node) writeConfig() error {
	conf := n.cluster.sidecarConfig(n)
	for _, set := range []map[string]string{n.cluster.setup.Set, n.set} {
		for _, key := range slices.Sorted(maps.Keys(set)) {
			if err := conf.put(key, set[key]); err != nil {
				return err
			}
		}
	}
	text, err := yaml.Marshal(conf)
	if err != nil {
		return fmt.Errorf("%s: write the sidecar's configuration: %w", n.Name, err)
	}
	if err := os.WriteFile(n.Config, text, 0o644); err != nil {
		return fmt.Errorf("%s: write the sidecar's configuration: %w", n.Name, err)
	}
	return nil
}
