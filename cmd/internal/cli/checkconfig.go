package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"resilver/cmd/internal/sidecar"
	"resilver/config"
)

func (a *app) checkConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check-config FILE", GroupID: "setup", Args: cobra.ExactArgs(1),
		Short: "read a configuration and show all its problems at once",
		RunE: func(_ *cobra.Command, args []string) error {
			return a.checkConfig(args[0])
		},
	}
}

// checked is the JSON of check-config.
type checked struct {
	File     string          `json:"file"`
	OK       bool            `json:"ok"`
	Problems config.Problems `json:"problems"`
	Warnings config.Problems `json:"warnings"`
}

// checkConfig prints problems and warnings as FILE:LINE:COL lines, as editors
// understand them.
func (a *app) checkConfig(file string) error {
	out := checked{File: file, Problems: config.Problems{}, Warnings: config.Problems{}}
	cfg, err := config.LoadFile(file, sidecar.Check)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		out.Problems = problems
	case err != nil:
		return &usageError{absent(err, "name the file to check, such as "+defaultConfig)}
	default:
		out.OK = true
		out.Warnings = append(out.Warnings, cfg.Warnings()...)
	}
	if a.json() {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		for _, w := range out.Warnings {
			_, _ = fmt.Fprintf(a.Stderr, "%s (warning)\n", w)
		}
		for _, p := range out.Problems {
			_, _ = fmt.Fprintln(a.Stderr, p)
		}
		if out.OK {
			a.printf("%s: ok\n", file)
		}
	}
	if !out.OK {
		return reported{err}
	}
	return nil
}
