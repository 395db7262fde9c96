package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Places where things are unless a flag says otherwise.
const (
	defaultSocket = "/run/resilver/resilver.sock"
	defaultConfig = "/etc/resilver/resilver.yaml"
)

// Program is what the process gives to its commands.
type Program struct {
	Version string // of this build
	// Failpoint is called at named points of a rebuild, for crash tests; nil: none.
	Failpoint func(point string)
	// Environ is what `supervise` hands on to mysqld, as os.Environ gives it.
	Environ        []string
	Stdout, Stderr io.Writer
}

// app is one run of Program: the global flags, and what they lead to.
type app struct {
	Program
	socket string
	output string
	began  bool // the command line was understood, and its command has begun
	// answered: JSON was printed, so that an error must not print any more.
	answered bool
}

// Main runs the command that args name and returns the exit code.
func (p Program) Main(ctx context.Context, args []string) int {
	a := &app{Program: p}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.began {
		err = &usageError{fmt.Errorf("%w; see `resilver --help`", err)}
		if asksJSON(args) { // behind what was not understood
			a.output = "json"
		}
	}
	return a.exit(err)
}

// asksJSON says whether a command line asks for JSON, whatever else it says.
func asksJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "--":
			return false
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			return i+1 < len(args) && args[i+1] == "json"
		}
	}
	return false
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "resilver",
		Short: "rebuild broken replicas from healthy peers, by themselves",
		Long: "resilver runs beside every mysqld of a source/replica cluster. It notices when its own replica's\n" +
			"replication is broken for good, and rebuilds that replica from a healthy peer: one node at a time,\n" +
			"never the primary, and never giving the old data away before the new copy replicates.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 refused by a guard, 4 the daemon cannot be reached.",
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return fmt.Errorf("unknown output %q: it is text or json", a.output)
			}
			return nil
		},
	}
	root.PersistentFlags().StringVar(&a.socket, "socket", defaultSocket, "admin socket of the daemon to ask")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "text | json")
	root.AddGroup(&cobra.Group{ID: "daemon", Title: "Daemon:"}, &cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "act", Title: "Act:"}, &cobra.Group{ID: "brake", Title: "Brake:"}, &cobra.Group{ID: "setup", Title: "Set up:"})
	root.SetHelpCommandGroupID("setup")
	root.SetCompletionCommandGroupID("setup")
	root.AddCommand(
		a.runCommand(), a.superviseCommand(), a.startGuardCommand(), a.finishCommand(), dialAsCommand(),
		a.statusCommand(), a.planCommand(), a.historyCommand(), a.leaseCommand(),
		a.rebuildCommand(), a.cancelCommand(), a.rollbackCommand(), a.drillCommand(), a.backupCommand(),
		a.pauseCommand(), a.resumeCommand(), a.ackCommand(),
		a.checkConfigCommand(), a.grantsCommand(), a.certsCommand(), a.versionCommand(),
	)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	// Its own completion writes to where the root does now, and takes any word
	// for a shell, with exit code 0.
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Args = cobra.NoArgs
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	a.noteBegin(root)
	return root
}

// noteBegin lets every command say that it was understood: what goes wrong
// before is the caller's mistake.
func (a *app) noteBegin(c *cobra.Command) {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.began = true
			return do(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.noteBegin(sub)
	}
}

func (a *app) json() bool { return a.output == "json" }

func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.Stdout, format, args...) }
