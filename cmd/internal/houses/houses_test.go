package houses

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed is the table of docs/design.md §3: what each house may import of
// ours. All may import config/secret; everything below cmd may import all.
var allowed = map[string][]string{
	"config":           {},
	"config/secret":    {},
	"watchdog":         {},
	"watchdog/replica": {"watchdog"},
	"watchdog/admin":   {"watchdog"},
	"healing": {"watchdog", "watchdog/replica", "healing/archive", "healing/binlog", "healing/method", "healing/private", "healing/transfer",
		"healing/datadir", "healing/service"},
	"healing/archive":  {"watchdog", "watchdog/replica", "healing/binlog", "healing/datadir"},
	"healing/binlog":   {},
	"healing/method":   {"watchdog/replica", "healing/transfer", "healing/private"},
	"healing/private":  {"watchdog/replica"},
	"healing/transfer": {},
	"healing/datadir":  {},
	"healing/service":  {},
	"gossip":           {"watchdog"},
	"gossip/lease":     {"watchdog"},
	"gossip/peer":      {"watchdog"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

// TestImportsGoDownOrToWatchdog lists what every package really imports.
func TestImportsGoDownOrToWatchdog(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "resilver/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var seen []string
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		house := strings.TrimPrefix(p.ImportPath, "resilver/")
		if strings.HasPrefix(house, "cmd/") {
			continue
		}
		seen = append(seen, house)
		may, known := allowed[house]
		if !known {
			t.Errorf("%s is no house of docs/design.md §3", house)
		}
		for _, imported := range p.Imports {
			ours, is := strings.CutPrefix(imported, "resilver/")
			if is && ours != "config/secret" && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s, which the table does not allow", house, ours)
			}
		}
	}
	for house := range allowed {
		if !slices.Contains(seen, house) {
			t.Errorf("%s is in the table, but there is no such house", house)
		}
	}
}

// TestTopLevel keeps the top level to what the design lists.
func TestTopLevel(t *testing.T) {
	want := []string{"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "cmd", "config", "deploy", "docs", "go.mod", "go.sum",
		"gossip", "healing", "watchdog"}
	entries, err := os.ReadDir(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && name != "bin" {
			got = append(got, name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the top level has %v, want %v", got, want)
	}
}
