package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// No nodes are not three nodes.
func TestNoNodesAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	c := root()
	c.SetArgs([]string{"up", "--nodes", "0", "--dir", dir})
	c.SetOut(io.Discard)
	var usage usageError
	if err := c.ExecuteContext(t.Context()); !errors.As(err, &usage) {
		t.Errorf("up --nodes 0: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a lab was made")
	}
}
