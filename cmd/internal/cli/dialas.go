package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"resilver/healing/transfer"
)

// dialAsCommand is the child that dials a socket as another user; people have
// no use for it. It prints nothing: its answer goes to its parent.
func dialAsCommand() *cobra.Command {
	return &cobra.Command{
		Use: transfer.DialAsCommand, Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := transfer.DialAsMain(args); code != 0 {
				return fmt.Errorf("dial for the sidecar: this command is its own")
			}
			return nil
		},
	}
}
