package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"resilver/config"
	"resilver/watchdog/admin"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnreachable = 4
)

// usageError is a command line or a configuration that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// reported is an error that the command has already shown in full.
type reported struct{ error }

func (e reported) Unwrap() error { return e.error }

// exit prints what went wrong, a line for each problem, and returns the exit
// code: the only place that knows them.
func (a *app) exit(err error) int {
	if err == nil {
		return exitDone
	}
	var shown reported
	if !errors.As(err, &shown) {
		for line := range strings.Lines(err.Error()) {
			_, _ = fmt.Fprintf(a.Stderr, "resilver: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	var usage *usageError
	var problems config.Problems
	var no *admin.Error
	var silence *admin.Unreachable
	switch {
	case errors.As(err, &usage), errors.As(err, &problems):
		return exitUsage
	case errors.As(err, &silence):
		return exitUnreachable
	case errors.As(err, &no) && no.Code == admin.CodeUsage:
		return exitUsage
	case errors.As(err, &no) && no.Code == admin.CodeRefused:
		return exitRefused
	}
	return exitFailed
}

// printJSON prints a value as indented JSON.
func (a *app) printJSON(value any) error {
	enc := json.NewEncoder(a.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return nil
}
