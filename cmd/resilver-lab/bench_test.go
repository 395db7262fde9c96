package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"resilver/cmd/internal/lab/bench"
)

// saved is a file of results as -o json prints them.
func saved(t *testing.T, met bool) string {
	t.Helper()
	text, err := json.Marshal([]*bench.Result{{Engine: "mysql", Server: "mysql 9", Command: "resilver-lab bench",
		Figures:  []bench.Figure{{Name: "a", Section: "One", Text: "a thing", Unit: "s", Values: []float64{1}, Median: 1}},
		Verdicts: []bench.Verdict{{Goal: "be quick", Value: 1, Limit: 2, Unit: "s", Measured: true, Met: met}}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "results.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func runBench(args ...string) (string, error) {
	cmd := benchCmd()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

// TestStrict: a goal that is not met is told, and fails the command only where
// that was asked for.
func TestStrict(t *testing.T) {
	missed, met := saved(t, false), saved(t, true)
	out, err := runBench("--from", missed)
	if err != nil || !strings.Contains(out, "NOT met") {
		t.Errorf("without --strict: %v\n%s", err, out)
	}
	if _, err := runBench("--from", missed, "--strict"); err == nil {
		t.Error("--strict took a goal that is not met")
	}
	if out, err := runBench("--from", met, "--strict"); err != nil {
		t.Errorf("--strict: %v\n%s", err, out)
	}
	if _, err := runBench("--from", met, "--from", missed, "--strict"); err == nil {
		t.Error("--strict looked at the first result only")
	}
}

func TestMarkdownFromResults(t *testing.T) {
	page := filepath.Join(t.TempDir(), "performance.md")
	if out, err := runBench("--from", saved(t, true), "--markdown", page, "-o", "json"); err != nil || !json.Valid([]byte(out)) {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "| a thing | 1.00 s |") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestBenchUsage(t *testing.T) {
	for _, args := range [][]string{{"--data", "much"}, {"-o", "yaml"}, {"--small", "-1"}, {"--pool", "1XB"}} {
		var usage usageError
		if _, err := runBench(args...); !errors.As(err, &usage) {
			t.Errorf("%v: %v, want an error of usage", args, err)
		}
	}
	if _, err := runBench("--rounds", "0", "--engine", "mysql"); err == nil {
		t.Error("a bench of no rounds ran")
	}
}
