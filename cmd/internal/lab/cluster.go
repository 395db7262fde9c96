package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Cluster is a lab: its nodes on this machine, db1 the primary at first.
type Cluster struct {
	Dir   string // absolute
	Nodes []*Node

	setup  setup
	engine *engine
	id     identity
	out    io.Writer
}

// The files that describe a lab: one for everybody, one for the lab itself.
const (
	descriptionFile = "lab.json"
	setupFile       = "setup.json"

	// Secrets, one for all nodes: of replication, and of the sidecars where
	// they need one.
	replPassword    = "repl.password"
	sidecarPassword = "sidecar.password"
)

// setup is what a lab must remember to be started again.
type setup struct {
	Engine   string            `json:"engine"`
	Version  string            `json:"version"`
	Mysqld   string            `json:"mysqld"`
	Client   string            `json:"client"`
	Resilver string            `json:"resilver"` // empty: bare mysqlds
	Sidecars bool              `json:"sidecars"`
	Subnet   int               `json:"subnet"`
	Nodes    int               `json:"nodes"`
	Layout   string            `json:"layout"`
	PoolMB   int               `json:"pool_mb"`
	Set      map[string]string `json:"set"`
	Options  []string          `json:"options"` // of the servers
}

// description is lab.json.
type description struct {
	Engine  string        `json:"engine"`
	Version string        `json:"version"`
	Client  []string      `json:"client"`
	Nodes   []Description `json:"nodes"`
}

// Open takes up the lab in dir, whatever of it runs. What it does later is
// told to out.
func Open(dir string, out io.Writer) (*Cluster, error) {
	id, err := whoami()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("make a path absolute: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, setupFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no lab in %s: start one with resilver-lab up --dir %s", dir, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the lab's setup: %w", err)
	}
	c := &Cluster{Dir: dir, id: id, out: out}
	if err := json.Unmarshal(text, &c.setup); err != nil {
		return nil, fmt.Errorf("read the lab's setup: %w", err)
	}
	if c.engine, err = engineOf(c.setup.Engine); err != nil {
		return nil, fmt.Errorf("read the lab's setup: %w", err)
	}
	return c, c.addNodes()
}

func (c *Cluster) addNodes() error {
	for i := 1; i <= c.setup.Nodes; i++ {
		n, err := newNode(c, c.Dir, c.setup.Subnet, i)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, n)
	}
	return nil
}

// Close gives back this process's connections; the lab goes on.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.db.Close())
	}
	return errors.Join(errs...)
}

// Node returns node number i, from 1: Node(2) is db2. It panics where there
// is none.
func (c *Cluster) Node(i int) *Node { return c.Nodes[i-1] }

// Named returns the node of that name.
func (c *Cluster) Named(name string) (*Node, error) {
	names := make([]string, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return nil, fmt.Errorf("no node %q: this lab has %v", name, names)
}

// Engine is what the lab's servers are: MySQL or MariaDB.
func (c *Cluster) Engine() string { return c.setup.Engine }

// Version names the engine and its version, for a test's output.
func (c *Cluster) Version() string { return c.setup.Engine + " " + c.setup.Version }

// Binary is the path of resilver, empty in a lab of bare mysqlds.
func (c *Cluster) Binary() string { return c.setup.Resilver }

// others are all nodes but n.
func (c *Cluster) others(n *Node) []*Node {
	var out []*Node
	for _, other := range c.Nodes {
		if other != n {
			out = append(out, other)
		}
	}
	return out
}

// JSON is the text of lab.json.
func (c *Cluster) JSON() ([]byte, error) {
	d := description{Engine: c.setup.Engine, Version: c.setup.Version, Client: []string{c.setup.Client, "-u" + c.engine.user(c.id)}}
	for _, n := range c.Nodes {
		d.Nodes = append(d.Nodes, n.Description)
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("describe the lab: %w", err)
	}
	return append(text, '\n'), nil
}

func (c *Cluster) writeDescription() error {
	text, err := c.JSON()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(c.Dir, descriptionFile), text, 0o644); err != nil {
		return fmt.Errorf("write lab.json: %w", err)
	}
	return nil
}

func (c *Cluster) writeSetup() error {
	text, err := json.MarshalIndent(c.setup, "", "  ")
	if err != nil {
		return fmt.Errorf("write the lab's setup: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(c.Dir, setupFile), text, 0o644); err != nil {
		return fmt.Errorf("write the lab's setup: %w", err)
	}
	return nil
}

// say tells a person what happens.
func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.out, format+"\n", args...)
}
