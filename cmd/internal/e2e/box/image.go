package box

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	suite    = "bookworm"
	packages = "systemd,systemd-sysv,dbus,mariadb-server,mariadb-backup"
	// recipe grows when what is done to the tree below changes.
	recipe = 1
)

// Image makes the image, or finds the one made before, and returns its name.
// Making it takes about a minute, and needs root.
func Image(ctx context.Context, log func(format string, args ...any)) (string, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", suite, packages, recipe))
	name := fmt.Sprintf("resilver-systemd:%x", sum[:6])
	if _, err := exec.LookPath("docker"); err != nil {
		return "", fmt.Errorf("docker is needed to test with systemd: %w", err)
	}
	if out, err := run(ctx, "docker", "images", "-q", name); err != nil || strings.TrimSpace(out) != "" {
		return name, err
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return "", fmt.Errorf("debootstrap is needed to make a system with systemd (as root: apt-get install debootstrap): %w", err)
	}
	from, err := archive(ctx)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "resilver-image-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	log("making the image %s, about a minute", name)
	begun := time.Now()
	root := filepath.Join(dir, "root")
	if out, err := run(ctx, "debootstrap", "--variant=minbase", "--include="+packages, suite, root, from); err != nil {
		return "", fmt.Errorf("debootstrap: %w\n%s", err, tail(out))
	}
	for _, gone := range []string{"var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"} {
		if err := os.RemoveAll(filepath.Join(root, gone)); err != nil {
			return "", err
		}
	}
	if err := load(ctx, root, name); err != nil {
		return "", err
	}
	log("made in %s", time.Since(begun).Round(time.Second))
	return name, nil
}

// archive is where this machine gets its packages of the suite from.
func archive(ctx context.Context) (string, error) {
	out, err := run(ctx, "apt-get", "indextargets", "--no-release-info", "--format", "$(CREATED_BY) $(RELEASE) $(REPO_URI)")
	if err != nil {
		return "", fmt.Errorf("ask apt where packages are: %w", err)
	}
	other := ""
	for line := range strings.Lines(out) {
		word := strings.Fields(line)
		if len(word) != 3 || word[0] != "Packages" {
			continue
		}
		switch {
		case word[1] == suite:
			return word[2], nil
		case !strings.Contains(word[1], "-"): // neither -updates nor -security
			other = word[2]
		}
	}
	if other == "" {
		return "", errors.New("apt on this machine knows of no archive")
	}
	return other, nil
}

// load packs the tree into an image.
func load(ctx context.Context, root, name string) error {
	pack := command(ctx, "tar", "-C", root, "-c", ".")
	take := command(ctx, "docker", "import", "-", name)
	r, w := io.Pipe()
	pack.Stdout, take.Stdin = w, r
	go func() { _ = w.CloseWithError(pack.Run()) }()
	out, err := take.CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker import: %w\n%s", err, tail(string(out)))
	}
	return nil
}

// run runs a program and returns all that it printed.
func run(ctx context.Context, argv ...string) (string, error) {
	out, err := command(ctx, argv...).CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return string(out), err
}

func command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// tail is the end of a program's output.
func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
