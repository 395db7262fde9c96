package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	bootDeadline = 2 * time.Minute
	endGrace     = time.Minute
)

// StartServer starts the node's mysqld where it does not run, under its
// supervisor if the lab has resilver, and waits until it answers.
func (n *Node) StartServer(ctx context.Context) error {
	ended, err := n.launchServer(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-ended:
			cancel(errors.New("it ended"))
		case <-stop:
		}
	}()
	if err := waitAnswer(ctx, n.db, bootDeadline); err != nil {
		return fmt.Errorf("%s: %w; its log ends:\n%s\n%s", n.Name, err, tail(n.ErrorLog, 8), tail(n.SuperviseLog(), 8))
	}
	return nil
}

// launchServer starts what is missing; nil where nothing is.
func (n *Node) launchServer(ctx context.Context) (ended <-chan struct{}, err error) {
	if err := n.mount(); err != nil {
		return nil, err
	}
	c := n.cluster
	mysqld := []string{c.setup.Mysqld, "--defaults-file=" + n.OptionFile(), "--user=" + c.id.OS}
	if c.setup.Resilver == "" {
		if n.PID(Mysqld) != 0 {
			return nil, nil
		}
		if err := n.clearSocket(); err != nil {
			return nil, err
		}
		return launch(n.inside(mysqld), nil, n.SuperviseLog(), "")
	}
	if n.PID(Supervisor) != 0 {
		return nil, n.wakeServer(ctx)
	}
	// A mysqld without its supervisor is nobody's child: it makes room.
	if err := n.end(ctx, Mysqld, endGrace); err != nil {
		return nil, err
	}
	argv := append([]string{c.setup.Resilver, "supervise", "--config", n.Config, "--"}, mysqld...)
	return launch(n.inside(argv), c.path(), n.SuperviseLog(), n.pidFile(Supervisor))
}

// wakeServer has the supervisor start a mysqld that was shut down. One that is
// still about to end counts as running there, so it is asked until one answers.
func (n *Node) wakeServer(ctx context.Context) error {
	return WaitFor(ctx, bootDeadline, n.Name+"'s mysqld to be started", func(ctx context.Context) (bool, string) {
		if _, err := output(ctx, n.cluster.setup.Resilver, "supervise", "--start", "--config", n.Config); err != nil {
			return false, err.Error()
		}
		if err := n.db.PingContext(ctx); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
}

// path lets a program of resilver find the tools that belong to the server.
func (c *Cluster) path() []string {
	return []string{"PATH=" + filepath.Dir(c.setup.Mysqld) + ":" + os.Getenv("PATH")}
}

// clearSocket removes what a killed mysqld left: with its pid still in the
// process table, be it as a zombie, the next one would not boot.
func (n *Node) clearSocket() error {
	for _, path := range []string{n.Socket, n.Socket + ".lock"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a stale socket: %w", err)
		}
	}
	return nil
}

// StopServer shuts the node's mysqld down, and its supervisor.
func (n *Node) StopServer(ctx context.Context) error {
	return errors.Join(n.end(ctx, Supervisor, endGrace), n.end(ctx, Mysqld, endGrace))
}

// StartSidecar starts the node's sidecar where it does not run.
func (n *Node) StartSidecar() error {
	c := n.cluster
	if c.setup.Resilver == "" {
		return errors.New("this lab has no resilver to start: its Binary was empty")
	}
	if n.PID(Sidecar) != 0 {
		return nil
	}
	argv := []string{c.setup.Resilver, "run", "--config", n.Config}
	if _, err := launch(n.inside(argv), append(c.path(), n.env...), n.SidecarLog(), n.SidecarPIDFile); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// StopSidecar ends the node's sidecar in good order.
func (n *Node) StopSidecar(ctx context.Context) error { return n.end(ctx, Sidecar, endGrace) }

// Start starts again whatever of the lab does not run.
func (c *Cluster) Start(ctx context.Context) error {
	if err := c.startServers(ctx); err != nil {
		return err
	}
	if !c.setup.Sidecars {
		return nil
	}
	return c.startSidecars(ctx)
}

func (c *Cluster) startServers(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		group.Go(func() error { return n.StartServer(ctx) })
	}
	return group.Wait()
}

// startSidecars starts all sidecars and waits until they agree.
func (c *Cluster) startSidecars(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.StartSidecar(); err != nil {
			return err
		}
	}
	if err := c.WaitAgreed(ctx, time.Minute); err != nil {
		logs := ""
		for _, n := range c.Nodes {
			logs += fmt.Sprintf("\n%s: %s", n.Name, tail(n.SidecarLog(), 6))
		}
		return fmt.Errorf("%w; the sidecars' logs end:%s", err, logs)
	}
	c.say("%d sidecars have a leader and agree on the roles", len(c.Nodes))
	return nil
}

// Stop ends every program of the lab in good order and keeps its files, for
// Start.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.StopSidecar(ctx))
	}
	var group errgroup.Group
	for _, n := range c.Nodes {
		group.Go(func() error { return n.StopServer(ctx) })
	}
	return errors.Join(append(errs, group.Wait(), c.killStrays(ctx, c.Nodes...))...)
}

// Down ends every program of the lab, each by its pid, and removes its
// directory with all data. It gives back this process's connections too.
func (c *Cluster) Down(ctx context.Context) error {
	var errs []error
	for _, p := range []Program{Sidecar, Supervisor, Mysqld} {
		for _, n := range c.Nodes {
			errs = append(errs, n.end(ctx, p, 0))
		}
	}
	errs = append(errs, c.killStrays(ctx, c.Nodes...), c.Close())
	for _, n := range c.Nodes {
		errs = append(errs, n.unmount(), n.dropDisk())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end the lab: %w", err)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("remove the lab's directory: %w", err)
	}
	return unclaim(c.setup.Subnet, c.Dir)
}
