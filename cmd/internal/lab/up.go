package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options say what lab to start.
type Options struct {
	Nodes  int    // 0: 3
	Engine string // mysql | mariadb; empty: mysql
	Layout string // one of Layouts; empty: flat
	Dir    string // must not exist, or be empty
	// Set are keys of the sidecars' configuration by dotted path, such as
	// "policy.broken_for": "10s", with values as YAML.
	Set map[string]string
	// Mysqld are lines added last to every server's option file, such as
	// "slave_parallel_threads=4".
	Mysqld []string
	// DataMB is how many megabytes of rows every node begins with.
	DataMB int
	// PoolMB is each server's buffer pool; 0: 128.
	PoolMB int
	// Binary is the path of resilver. Where it is empty, bare mysqlds run,
	// with neither supervisor nor sidecar.
	Binary string
	Out    io.Writer // progress, for a person
}

const maxNodes = 9

// maxPath keeps the longest socket path below dir within what a unix socket
// address holds (108 bytes), those of private servers beside a datadir included.
const maxPath = 60

func (o *Options) check() error {
	var errs []error
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Nodes < 1 || o.Nodes > maxNodes {
		errs = append(errs, fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, maxNodes))
	}
	if o.Engine == "" {
		o.Engine = MySQL
	}
	if _, err := engineOf(o.Engine); err != nil {
		errs = append(errs, err)
	}
	if o.Layout == "" {
		o.Layout = LayoutFlat
	}
	if o.PoolMB == 0 {
		o.PoolMB = 128
	}
	if o.PoolMB < 8 {
		errs = append(errs, fmt.Errorf("%d MB of buffer pool: want 8 or more", o.PoolMB))
	}
	if o.DataMB < 0 {
		errs = append(errs, fmt.Errorf("%d MB of data: want 0 or more", o.DataMB))
	}
	if o.Dir == "" || o.Out == nil {
		errs = append(errs, errors.New("no Dir or no Out given"))
	}
	if o.Binary != "" {
		path, err := filepath.Abs(o.Binary)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("look for resilver: %w; make build makes it", err))
		}
		o.Binary = path
	}
	if dir, err := filepath.Abs(o.Dir); err != nil || len(dir) > maxPath {
		errs = append(errs, fmt.Errorf("directory %s is too deep for unix sockets: want a path of at most %d letters", o.Dir, maxPath))
	} else {
		o.Dir = dir
	}
	return errors.Join(errs...)
}

// Up starts a new lab and returns once all nodes replicate and all sidecars
// agree on who is who. Where it cannot, it ends what it started and removes
// the directory; the error says what the logs say.
func Up(ctx context.Context, o Options) (_ *Cluster, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	id, err := whoami()
	if err != nil {
		return nil, err
	}
	if err := checkLayout(o.Layout, id); err != nil {
		return nil, err
	}
	server, err := Servers(ctx, o.Engine, o.Out)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: o.Dir, id: id, out: o.Out, engine: server.engine, setup: setup{
		Engine: server.Engine, Version: server.Version, Mysqld: server.Mysqld, Client: server.Client,
		Resilver: o.Binary, Sidecars: o.Binary != "", Nodes: o.Nodes, Layout: o.Layout, PoolMB: o.PoolMB, Set: o.Set, Options: o.Mysqld,
	}}
	if err := c.makeDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx) // whatever it was at then is no matter
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Down(ctx))
	}()
	c.say("%s, %d nodes in %s", server, o.Nodes, c.Dir)
	if err := c.prepare(ctx, server, o.DataMB); err != nil {
		return nil, err
	}
	if err := c.boot(ctx); err != nil {
		return nil, err
	}
	if c.setup.Sidecars {
		if err := c.startSidecars(ctx); err != nil {
			return nil, err
		}
	}
	return c, c.writeDescription()
}

func (c *Cluster) makeDir() error {
	if ok, err := c.id.mayReach(filepath.Dir(c.Dir)); err != nil || !ok {
		return errors.Join(fmt.Errorf("%s cannot be reached by %s, as whom mysqld runs: choose another directory", c.Dir, c.id.OS), err)
	}
	if exists(filepath.Join(c.Dir, setupFile)) {
		return fmt.Errorf("there is a lab in %s: resilver-lab start takes it up, resilver-lab down removes it", c.Dir)
	}
	if entries, err := os.ReadDir(c.Dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty and no lab: choose another directory", c.Dir)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("make the lab's directory: %w", err)
	}
	return nil
}

// prepare lays out everything that the programs of the lab read.
func (c *Cluster) prepare(ctx context.Context, server *Server, dataMB int) (err error) {
	if c.setup.Subnet, err = claim(ctx, c.Dir, c.setup.Nodes); err != nil {
		return err
	}
	if err := errors.Join(c.addNodes(), c.writeSetup()); err != nil {
		return err
	}
	for _, name := range []string{replPassword, sidecarPassword} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(rand.Text()), 0o600); err != nil {
			return fmt.Errorf("write a password: %w", err)
		}
	}
	template, err := server.template(ctx, c.id, dataMB)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if err := n.layOut(server, template); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	if c.setup.Resilver == "" {
		return nil
	}
	return errors.Join(c.makeCerts(ctx), c.checkConfigs(ctx))
}

// checkConfigs finds a wrong key of Options.Set before anything runs.
func (c *Cluster) checkConfigs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandDeadline)
	defer cancel()
	for _, n := range c.Nodes {
		if _, err := output(ctx, c.setup.Resilver, "check-config", n.Config); err != nil {
			return fmt.Errorf("check the sidecars' configuration: %w", err)
		}
	}
	return nil
}

func (n *Node) layOut(server *Server, template string) error {
	id := n.cluster.id
	for _, dir := range []string{n.dir, filepath.Join(n.dir, "sidecar")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
	}
	for _, dir := range []string{filepath.Dir(n.Socket), filepath.Dir(n.ErrorLog)} {
		if err := id.mkdirOwned(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(n.OptionFile(), []byte(n.optionFile(server, id)), 0o644); err != nil {
		return fmt.Errorf("write the option file: %w", err)
	}
	if err := n.writeConfig(); err != nil {
		return err
	}
	if err := copyTree(template, n.Datadir, id); err != nil {
		return err
	}
	return n.scatter()
}

// boot starts the mysqlds and makes them replicate.
func (c *Cluster) boot(ctx context.Context) error {
	c.say("starting %d servers on 127.0.%d.1 to %d", len(c.Nodes), c.setup.Subnet, len(c.Nodes))
	if err := c.startServers(ctx); err != nil {
		return err
	}
	if err := c.createAccounts(ctx); err != nil {
		return err
	}
	for _, n := range c.Nodes[1:] {
		if err := n.Attach(ctx, c.Node(1)); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes[1:] {
		if err := n.WaitReplicating(ctx, time.Minute); err != nil {
			return err
		}
	}
	c.say("%d replicas replicate", len(c.Nodes)-1)
	return nil
}
