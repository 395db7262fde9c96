//go:build proof

package systemd

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// recipe is what README.md tells a user to do beside a mysqld of his own: its
// code blocks, by which the tests install.
type recipe []string

func readRecipe(t *testing.T) recipe {
	t.Helper()
	_, section, _ := strings.Cut(readme(t), "\n## Beside your own mysqld\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var r recipe
	for _, block := range regexp.MustCompile("(?ms)^ *```[a-z]*\n(.*?)^ *```$").FindAllStringSubmatch(section, -1) {
		r = append(r, regexp.MustCompile("(?m)^   ").ReplaceAllString(block[1], ""))
	}
	return r
}

// block is the one that holds a text.
func (r recipe) block(t *testing.T, holds string) string {
	t.Helper()
	var found []string
	for _, block := range r {
		if strings.Contains(block, holds) {
			found = append(found, block)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d blocks of README.md hold %q", len(found), holds)
	}
	return found[0]
}

// unitCommands are the commands in the head of resilver.service.
func unitCommands(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(deploy + "/resilver.service")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(line, "#   "); ok {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	if len(commands) == 0 {
		t.Fatal("resilver.service does not say how it is installed")
	}
	return commands
}
