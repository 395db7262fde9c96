// Command resilver-lab runs real clusters on this machine, breaks them, and
// looks whether they healed. Everything it does is in cmd/internal/lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"resilver/cmd/internal/lab"
)

// version is set when a release is built.
var version = "dev"

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	lab.Janitor()
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	command, err := root().ExecuteContextC(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "resilver-lab: interrupted: %v\n", err)
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "resilver-lab: %v\n%s --help says more\n", err, command.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "resilver-lab: %v\n", err)
	return exitFailed
}

// usageError is a command that was called wrongly.
type usageError struct{ error }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "resilver-lab",
		Short:         "Real MySQL and MariaDB clusters on this machine, to break and to watch heal",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          args(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetOut(os.Stdout)
	dir := cmd.PersistentFlags().String("dir", "", "the lab's directory (default: .lab/default in the repository)")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.AddCommand(upCmd(dir), startCmd(dir), statusCmd(dir), loadCmd(dir), checkCmd(dir), breakCmd(dir),
		faultsCmd(), killCmd(dir), downCmd(dir), demoCmd(), benchCmd(), reliabilityCmd(), fetchCmd())
	return cmd
}

// args checks a command's arguments, as a matter of usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// open takes up the lab that --dir means.
func open(dir string, f func(*lab.Cluster) error) (err error) {
	if dir, err = resolve(dir); err != nil {
		return err
	}
	c, err := lab.Open(dir, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return f(c)
}

func resolve(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return lab.DefaultDir()
}
