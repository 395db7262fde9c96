package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"resilver/cmd/internal/lab/chaos"
)

func reliabilityCmd() *cobra.Command {
	var from, markdown string
	cmd := &cobra.Command{
		Use:   "reliability",
		Short: "Tell what came of the crash matrix, from the file of results that make chaos writes",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usageError{fmt.Errorf("no --from: name the file of results that make chaos writes, .lab/chaos.jsonl")}
			}
			results, err := chaos.Load(from)
			if err != nil {
				return err
			}
			page, err := chaos.Document(results, strings.Join(append([]string{"resilver-lab"}, os.Args[1:]...), " "))
			if err != nil {
				return err
			}
			if markdown == "" {
				cmd.Print(string(page))
				return nil
			}
			if err := renameio.WriteFile(markdown, page, 0o644); err != nil {
				return fmt.Errorf("write the page: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the file of results")
	cmd.Flags().StringVar(&markdown, "markdown", "", "write the page of reliability to this file, not to stdout")
	return cmd
}
