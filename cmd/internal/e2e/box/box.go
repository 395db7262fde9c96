package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// label marks the containers of the tests with the process that made them.
const label = "resilver.test.pid"

// Box is one machine. /var/lib is on a volume that survives power cuts.
type Box struct{ id string }

const (
	bootTimeout = 90 * time.Second
	downTimeout = 2 * time.Minute // shorter than TimeoutStopSec= of the sidecar
)

// Start starts a machine and waits until it is up. Machines that a dead test
// left behind are removed first.
func Start(ctx context.Context, image, hostname string) (*Box, error) {
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	return start(ctx, image, hostname)
}

// start starts a machine with further arguments of docker.
func start(ctx context.Context, image, hostname string, args ...string) (*Box, error) {
	argv := append([]string{"docker", "run", "--detach", "--hostname", hostname, "--label", label + "=" + strconv.Itoa(os.Getpid()),
		"--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--security-opt", "seccomp=unconfined",
		"--tmpfs", "/run", "--tmpfs", "/run/lock", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cgroupns=host",
		"--volume", "/var/lib"}, args...)
	out, err := run(ctx, append(argv, image, "/sbin/init")...)
	if err != nil {
		return nil, fmt.Errorf("start a machine: %w\n%s", err, tail(out))
	}
	b := &Box{id: strings.TrimSpace(out)}
	if err := b.wait(ctx); err != nil {
		return nil, errors.Join(err, b.Remove())
	}
	return b, nil
}

// wait waits until systemd has started what it starts, well or not.
func (b *Box) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	for {
		out, err := b.Run(ctx, "systemctl", "is-system-running")
		switch state := strings.TrimSpace(out); state {
		case "running", "degraded":
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the machine is not up: %s: %w", strings.TrimSpace(out), errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Run runs a program in the machine and returns all that it printed.
func (b *Box) Run(ctx context.Context, argv ...string) (string, error) {
	out, err := run(ctx, append([]string{"docker", "exec", b.id}, argv...)...)
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, tail(out))
	}
	return out, nil
}

// Write writes a file in the machine, as root with the given mode.
func (b *Box) Write(ctx context.Context, path, mode, text string) error {
	cmd := command(ctx, "docker", "exec", "--interactive", b.id, "sh", "-c",
		`mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"`, "sh", path, mode)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s: %w: %s", path, err, tail(string(out)))
	}
	return nil
}

// Copy copies a file of this machine into the box.
func (b *Box) Copy(ctx context.Context, from, to string) error {
	if out, err := run(ctx, "docker", "cp", from, b.id+":"+to); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, tail(out))
	}
	return nil
}

// Cut cuts the power.
func (b *Box) Cut(ctx context.Context) error {
	if out, err := run(ctx, "docker", "kill", b.id); err != nil {
		return fmt.Errorf("cut the power: %w: %s", err, tail(out))
	}
	return nil
}

// Wait waits until the machine has shut itself down.
func (b *Box) Wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if out, err := run(ctx, "docker", "wait", b.id); err != nil {
		return fmt.Errorf("the machine is not down: %w: %s", err, tail(out))
	}
	return nil
}

// Boot starts the machine after a cut or a shutdown and waits until it is up.
func (b *Box) Boot(ctx context.Context) error {
	if out, err := run(ctx, "docker", "start", b.id); err != nil {
		return fmt.Errorf("boot: %w: %s", err, tail(out))
	}
	return b.wait(ctx)
}

// Remove removes the machine and its volume.
func (b *Box) Remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := run(ctx, "docker", "rm", "--force", "--volumes", b.id); err != nil {
		return fmt.Errorf("remove the machine: %w: %s", err, tail(out))
	}
	return nil
}
