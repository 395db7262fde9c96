package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"resilver/config"
	"resilver/healing/service"
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

// codeUnreachable is the code of an answer that nobody gave.
const codeUnreachable admin.Code = "unreachable"

// usageError is a command line or a configuration that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// reported is an error that the command has already shown in full.
type reported struct{ error }

func (e reported) Unwrap() error { return e.error }

// exit says what went wrong, a line for each problem, and returns the exit
// code: the only place that knows them. Where JSON is asked for and none was
// printed, the error is the answer.
func (a *app) exit(err error) int {
	if err == nil {
		return exitDone
	}
	failure := failureOf(err)
	var shown reported
	if !errors.As(err, &shown) {
		if a.json() && !a.answered {
			if err := a.printJSON(failure); err != nil {
				_, _ = fmt.Fprintf(a.Stderr, "resilver: %v\n", err)
			}
		}
		a.complain(err)
	}
	switch failure.Code {
	case admin.CodeUsage:
		return exitUsage
	case admin.CodeRefused:
		return exitRefused
	case codeUnreachable:
		return exitUnreachable
	}
	return exitFailed
}

// complain writes an error for people, line by line.
func (a *app) complain(err error) {
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(a.Stderr, "resilver: %s\n", strings.TrimRight(line, "\n"))
	}
}

// failureOf is an error in the words of the wire.
func failureOf(err error) *admin.Error {
	var usage *usageError
	var problems config.Problems
	var silence *admin.Unreachable
	failure := &admin.Error{Code: admin.CodeFailed}
	switch {
	case errors.As(err, &usage), errors.As(err, &problems):
		failure.Code = admin.CodeUsage
	case errors.As(err, &silence), errors.Is(err, service.ErrUnreachable):
		failure.Code = codeUnreachable
	case errors.Is(err, service.ErrRefused):
		failure.Code = admin.CodeRefused
	default:
		var no *admin.Error
		if errors.As(err, &no) {
			failure.Code, failure.Guards = no.Code, no.Guards
		}
	}
	failure.Message = err.Error()
	return failure
}

// printJSON prints a value as indented JSON.
func (a *app) printJSON(value any) error {
	a.answered = true
	enc := json.NewEncoder(a.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return nil
}
