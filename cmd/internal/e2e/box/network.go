package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Network is a network of machines that know each other by name. Each has an
// address that it keeps over power cuts.
type Network struct {
	name   string
	subnet int
	hosts  []string
}

// firstHost is the last number of the first machine's address.
const firstHost = 11

// NewNetwork makes a network for machines with these names. Networks that a
// dead test left behind are removed first.
func NewNetwork(ctx context.Context, hosts ...string) (*Network, error) {
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	n := &Network{name: fmt.Sprintf("resilver-test-%d-%d", os.Getpid(), time.Now().UnixNano()), hosts: hosts}
	const tries = 20
	for i := range tries {
		n.subnet = (os.Getpid() + i) % 256
		out, err := run(ctx, "docker", "network", "create", "--label", label+"="+strconv.Itoa(os.Getpid()),
			"--subnet", fmt.Sprintf("10.197.%d.0/24", n.subnet), n.name)
		if err == nil {
			return n, nil
		}
		if !strings.Contains(out, "overlaps") {
			return nil, fmt.Errorf("make a network: %w\n%s", err, tail(out))
		}
	}
	return nil, errors.New("make a network: no subnet is free")
}

// Address is the address of a machine, which need not run.
func (n *Network) Address(host string) string {
	return fmt.Sprintf("10.197.%d.%d", n.subnet, firstHost+slices.Index(n.hosts, host))
}

// Start starts one of the network's machines and waits until it is up.
func (n *Network) Start(ctx context.Context, image, host string) (*Box, error) {
	args := []string{"--network", n.name, "--ip", n.Address(host)}
	for _, h := range n.hosts {
		args = append(args, "--add-host", h+":"+n.Address(h))
	}
	return start(ctx, image, host, args...)
}

// Remove removes the network; its machines must be removed before.
func (n *Network) Remove() error { return removeNetwork(n.name) }

func removeNetwork(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := run(ctx, "docker", "network", "rm", name); err != nil {
		return fmt.Errorf("remove the network: %w: %s", err, tail(out))
	}
	return nil
}

// sweep removes machines and networks whose test is gone.
func sweep(ctx context.Context) error {
	for _, kind := range []struct {
		list   []string
		remove func(id string) error
	}{
		{[]string{"ps", "--all"}, func(id string) error { return (&Box{id: id}).Remove() }},
		{[]string{"network", "ls"}, removeNetwork},
	} {
		argv := append([]string{"docker"}, kind.list...)
		out, err := run(ctx, append(argv, "--filter", "label="+label, "--format", "{{.ID}} {{.Label \""+label+"\"}}")...)
		if err != nil {
			return fmt.Errorf("look for what old tests left: %w\n%s", err, tail(out))
		}
		for line := range strings.Lines(out) {
			id, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			if pid, err := strconv.Atoi(text); err != nil || syscall.Kill(pid, 0) == nil {
				continue
			}
			if err := kind.remove(id); err != nil {
				return err
			}
		}
	}
	return nil
}
