package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// stateDirLine is a line that sets state_dir, as far as lines go.
var stateDirLine = regexp.MustCompile(`(?m)^[ \t]*["']?state_dir["']?[ \t]*:(.*)$`)

// LoadStateDir reads only the state directory and the settings of the log: all
// that guarding mysqld's start needs. A mistake elsewhere in the file must not
// keep a database down; the error is of type Problems where these are wrong.
func LoadStateDir(path string) (string, Log, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", Log{}, fmt.Errorf("read configuration: %w", err)
	}
	cfg := Default()
	cfg.origin = origin{file: path, at: map[string]position{}}
	problems, readable := cfg.parse(data)
	if !readable {
		return "", Log{}, problems
	}
	problems = slices.DeleteFunc(problems, func(p Problem) bool { return p.Path != "state_dir" && p.Path != "" })
	k := &checker{origin: cfg.origin}
	k.path("state_dir", cfg.StateDir, true)
	problems = append(problems, without(k.found, problems)...)
	return cfg.StateDir, cfg.Log, problems.err()
}

// StateDirsIn returns all that the state directory may be by a file that
// LoadStateDir refuses: every absolute path that a line of it gives to
// state_dir, and the default where the word is not in the file at all. Nothing
// means that it cannot be told.
func StateDirsIn(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if !strings.Contains(string(data), "state_dir") {
		return []string{Default().StateDir}, nil
	}
	var found []string
	for _, m := range stateDirLine.FindAllStringSubmatch(string(data), -1) {
		var dir string
		if yaml.Unmarshal([]byte(m[1]), &dir) != nil || !filepath.IsAbs(dir) {
			return nil, nil
		}
		found = append(found, dir)
	}
	return found, nil
}
