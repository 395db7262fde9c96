package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

const commandDeadline = 30 * time.Second

// Resilver runs resilver with these arguments against the node's sidecar and
// returns what it printed and its exit code. The error is nil for any exit
// code: it says that the command could not be run at all.
func (n *Node) Resilver(ctx context.Context, args ...string) (stdout, stderr string, code int, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commandDeadline)
		defer cancel()
	}
	var out, errs strings.Builder
	cmd := command(ctx, n.cluster.setup.Resilver, append(args, "--socket", n.AdminSocket)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err != nil {
		return out.String(), errs.String(), -1, fmt.Errorf("%s: resilver %s: %w", n.Name, args[0], err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode(), nil
}

// Ask runs a command of resilver that prints JSON, and reads it.
func (n *Node) Ask(ctx context.Context, into any, args ...string) error {
	stdout, stderr, code, err := n.Resilver(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s: resilver %s: exit %d: %s", n.Name, args[0], code, strings.TrimSpace(stderr))
	}
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		return fmt.Errorf("%s: resilver %s: read its output: %w", n.Name, args[0], err)
	}
	return nil
}

// Status is what the node's sidecar says of the cluster, over its admin socket.
func (n *Node) Status(ctx context.Context) (admin.Status, error) {
	return query(ctx, n, (*admin.Client).Status)
}

// Plan is what the node's sidecar would do now, and why.
func (n *Node) Plan(ctx context.Context) (admin.Plan, error) {
	return query(ctx, n, (*admin.Client).Plan)
}

// History is what the node's sidecar knows of past rebuilds, newest first.
func (n *Node) History(ctx context.Context) ([]watchdog.Record, error) {
	return query(ctx, n, (*admin.Client).History)
}

func query[T any](ctx context.Context, n *Node, get func(*admin.Client, context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, commandDeadline)
	defer cancel()
	var none T
	client, err := admin.Dial(n.AdminSocket)
	if err != nil {
		return none, fmt.Errorf("%s: %w", n.Name, err)
	}
	defer client.Close()
	answer, err := get(client, ctx)
	if err != nil {
		return none, fmt.Errorf("%s: %w", n.Name, err)
	}
	return answer, nil
}

// WaitAgreed waits until every sidecar knows a leader, sees every node, and
// all name the same primary and replicas, as the lab's own SQL sees them.
func (c *Cluster) WaitAgreed(ctx context.Context, within time.Duration) error {
	return WaitFor(ctx, within, "the sidecars to agree", func(ctx context.Context) (bool, string) {
		primary, err := c.Primary(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, n := range c.Nodes {
			var s admin.Status
			if err := n.Ask(ctx, &s, "status"); err != nil {
				return false, err.Error()
			}
			if seen := c.disagreement(&s, primary); seen != "" {
				return false, n.Name + " says: " + seen
			}
		}
		return true, ""
	})
}

// disagreement is what of a status is not as it should be; empty: nothing.
func (c *Cluster) disagreement(s *admin.Status, primary *Node) string {
	if s.Leader == "" {
		return "no leader"
	}
	for _, n := range c.Nodes {
		seen, want := nodeIn(s, n.Name), watchdog.RoleReplica
		if n == primary {
			want = watchdog.RolePrimary
		}
		switch {
		case seen == nil:
			return n.Name + " is missing"
		case seen.Role != want:
			return fmt.Sprintf("%s is %s, health %s", n.Name, seen.Role, seen.Health)
		case seen.Health != watchdog.HealthHealthy:
			return fmt.Sprintf("%s is %s: %s", n.Name, seen.Health, seen.Reason)
		}
	}
	return ""
}

// nodeIn is a node's entry in a status; nil where it has none.
func nodeIn(s *admin.Status, name string) *admin.NodeStatus {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Self is the node's own entry in what its sidecar says.
func (n *Node) Self(ctx context.Context) (*admin.NodeStatus, error) {
	s, err := n.Status(ctx)
	if err != nil {
		return nil, err
	}
	self := nodeIn(&s, n.Name)
	if self == nil {
		return nil, fmt.Errorf("%s: its sidecar's status does not name it", n.Name)
	}
	return self, nil
}
