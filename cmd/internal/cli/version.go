package cli

import (
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: "setup", Args: cobra.NoArgs,
		Short: "print the version",
		RunE: func(*cobra.Command, []string) error {
			if a.json() {
				return a.printJSON(map[string]string{"version": a.Version, "go": runtime.Version()})
			}
			a.printf("resilver %s (%s)\n", a.Version, runtime.Version())
			return nil
		},
	}
}
