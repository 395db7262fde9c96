package config

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration, and its cure.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1; 0: not from a file
	Column  int    `json:"column"`
	Path    string `json:"path"` // such as policy.broken_for
	Message string `json:"message"`
	Cure    string `json:"cure"`
}

// String is FILE:LINE:COL: path: message; cure.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	} else if p.File != "" {
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Cure != "" {
		b.WriteString("; " + p.Cure)
	}
	return b.String()
}

// Problems are all that was found, in the order of the file.
type Problems []Problem

// Error has one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// err returns the problems as an error, nil where there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// position is a place in the file, from 1.
type position struct{ line, column int }

// origin is where the values came from.
type origin struct {
	file string
	at   map[string]position // by path; those of the file
}

// find returns the position of path, or of the nearest part of it that the
// file has, or the beginning of the file.
func (o origin) find(path string) position {
	if o.at == nil {
		return position{}
	}
	for {
		if p, ok := o.at[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return position{1, 1}
		}
		path = path[:i]
	}
}

// problem returns a problem at the place of path.
func (o origin) problem(path, message, cure string) Problem {
	at := o.find(path)
	return Problem{File: o.file, Line: at.line, Column: at.column, Path: path, Message: message, Cure: cure}
}

// hostName is the node's name where the file has none.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "" // Validate says what to do
	}
	return name
}
