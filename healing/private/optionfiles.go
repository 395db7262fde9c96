package private

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// argumentsText is what both engines print before the arguments.
const argumentsText = "would have been started with the following arguments:"

// OptionFiles are the options that option files give to the server, as the
// program itself says them. It touches nothing: --print-defaults ends it, and
// where it were not understood --help would.
func OptionFiles(ctx context.Context, p Program) ([]string, error) {
	if slices.Contains(p.Args, "--no-defaults") {
		return nil, nil
	}
	first := slices.DeleteFunc(slices.Clone(p.Args), func(arg string) bool { return !strings.HasPrefix(arg, "--defaults-") })
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	argv := p.argv(first, []string{"--print-defaults", "--help"})
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C"}
	cmd.WaitDelay = pipeGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.credential()}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its option files: %w", p.Prefix[len(p.Prefix)-1], err)
	}
	_, options, found := strings.Cut(string(out), argumentsText)
	if !found {
		return nil, fmt.Errorf("ask %s for its option files: it does not say them", p.Prefix[len(p.Prefix)-1])
	}
	return strings.Fields(options), nil
}

// ReadOnly says whether a server with these options comes up closed to
// ordinary writers; of two words for the same the last counts.
func ReadOnly(options []string) bool {
	on := map[string]bool{}
	for _, option := range options {
		name, value, given := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		name = strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "loose-")
		off := false
		for _, prefix := range []string{"skip-", "disable-"} {
			if rest, is := strings.CutPrefix(name, prefix); is {
				name, off = rest, true
			}
		}
		value = strings.ToLower(value)
		on[name] = !off && (!given || value == "1" || value == "on" || value == "true")
	}
	return on["read-only"] || on["super-read-only"]
}
