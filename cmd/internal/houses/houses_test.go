package houses

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// design is the page whose table says what each house may import.
var design = filepath.Join("..", "..", "..", "docs", "design.md")

// Words of the table, beside the names of houses.
const (
	heading  = "| package | owns | may import, of ours |"
	nothing  = "–"
	anything = "everything"
	forAll   = " may be imported by all"
)

var quoted = regexp.MustCompile("`([^`]+)`")

// table is what the page allows.
type table struct {
	may  map[string][]string // by house; a name that ends in /* stands for all below
	free []string            // houses that all may import
}

// readTable reads the table of the page's text.
func readTable(page string) (table, error) {
	out := table{may: map[string][]string{}}
	_, rows, found := strings.Cut(page, heading+"\n|---|---|---|\n")
	if !found {
		return out, errors.New("there is no table under " + heading)
	}
	for row := range strings.Lines(rows) {
		if !strings.HasPrefix(row, "|") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|")
		if len(cells) != 3 {
			return out, fmt.Errorf("want three cells: %s", row)
		}
		house, allowed := quoted.FindStringSubmatch(cells[0]), strings.TrimSpace(cells[2])
		if house == nil {
			return out, fmt.Errorf("it names no house: %s", row)
		}
		if _, twice := out.may[house[1]]; twice {
			return out, fmt.Errorf("%s is there twice", house[1])
		}
		if named, is := strings.CutSuffix(strings.Trim(allowed, nothing+" ()"), forAll); is {
			free := quoted.FindStringSubmatch(named)
			if free == nil {
				return out, fmt.Errorf("it does not say what all may import: %s", row)
			}
			out.free, allowed = append(out.free, free[1]), nothing
		}
		switch names := quoted.FindAllStringSubmatch(allowed, -1); {
		case allowed == anything:
			out.may[house[1]] = []string{anything}
		case allowed == nothing:
			out.may[house[1]] = []string{}
		case len(names) == 0 || strings.Trim(quoted.ReplaceAllString(allowed, ""), ", ") != "":
			return out, fmt.Errorf("want names of houses, %q or %q: %s", anything, nothing, row)
		default:
			for _, name := range names {
				out.may[house[1]] = append(out.may[house[1]], name[1])
			}
		}
	}
	if len(out.may) == 0 || len(out.free) == 0 {
		return out, errors.New("the table is empty, or does not say what all may import")
	}
	return out, nil
}

// allows says that house may import another.
func (t table) allows(house, other string) bool {
	return slices.Contains(t.free, other) || slices.ContainsFunc(t.may[house], func(name string) bool {
		below, all := strings.CutSuffix(name, "*")
		return name == other || name == anything || all && strings.HasPrefix(other, below)
	})
}

// TestTableIsRead: a page that has no table, or one that cannot be read, allows nothing.
func TestTableIsRead(t *testing.T) {
	text := heading + "\n|---|---|---|\n| `a` | x; `a/all`: y | – (`a/all` may be imported by all) |\n| `b` | z | `a`, `b/*` |\n| `c` | z | everything |\n\n| `d` | another table | – |\n"
	got, err := readTable(text)
	if err != nil {
		t.Fatal(err)
	}
	for pair, want := range map[[2]string]bool{
		{"a", "a/all"}: true, {"a", "b"}: false, {"b", "a"}: true, {"b", "a/all"}: true, {"b", "b/in"}: true, {"b", "bb"}: false,
		{"b", "c"}: false, {"c", "b"}: true, {"d", "a"}: false,
	} {
		if got.allows(pair[0], pair[1]) != want {
			t.Errorf("%s may import %s: %v, want %v", pair[0], pair[1], !want, want)
		}
	}
	for _, bad := range []string{
		"", strings.Replace(text, "package", "house", 1), strings.Replace(text, "| `b` |", "| b |", 1), strings.Replace(text, "`a`, `b/*`", "whatever", 1),
		strings.Replace(text, "`a`, `b/*`", "`a` and more", 1), strings.Replace(text, "`c`", "`b`", 1), strings.Replace(text, " | everything", "", 1),
		strings.Replace(text, "(`a/all` may be imported by all)", "", 1),
	} {
		if got, err := readTable(bad); err == nil {
			t.Errorf("no error, but %v: %s", got, bad)
		}
	}
}

type listed struct {
	ImportPath string
	Imports    []string
}

// TestImportsGoDownOrToWatchdog holds what every package really imports against
// the table of the design.
func TestImportsGoDownOrToWatchdog(t *testing.T) {
	page, err := os.ReadFile(design)
	if err != nil {
		t.Fatal(err)
	}
	table, err := readTable(string(page))
	if err != nil {
		t.Fatalf("%s: %v", design, err)
	}
	for house := range table.may {
		if _, err := os.Stat(filepath.Join("..", "..", "..", strings.TrimSuffix(house, "/…"))); err != nil {
			t.Errorf("%s is in the table, but there is no such house: %v", house, err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "resilver/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		house := strings.TrimPrefix(p.ImportPath, "resilver/")
		if below, is := strings.CutPrefix(house, "cmd/internal/"); is && below != "" {
			house = "cmd/internal/…"
		}
		if _, known := table.may[house]; !known && !slices.Contains(table.free, house) {
			t.Errorf("%s is no house of docs/design.md §3", house)
		}
		for _, imported := range p.Imports {
			if ours, is := strings.CutPrefix(imported, "resilver/"); is && !table.allows(house, ours) {
				t.Errorf("%s imports %s, which the table does not allow", house, ours)
			}
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
