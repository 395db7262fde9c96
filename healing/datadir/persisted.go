package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// closing are the variables that keep writers out.
var closing = []string{"read_only", "super_read_only"}

// PersistedOpen names a variable by which mysqld-auto.cnf of a datadir would
// have its server come up open to writers; empty for none, and where there is
// no such file. Its format is MySQL's: the name of a variable, and in its
// object the value as a text.
func PersistedOpen(dir Ref) (string, error) {
	d, err := dir.open()
	if err != nil {
		return "", fmt.Errorf("read mysqld-auto.cnf: %w", err)
	}
	defer d.Close()
	name, err := persistedOpen(d)
	if err != nil {
		return "", fmt.Errorf("read mysqld-auto.cnf in %s: %w", dir.Path, err)
	}
	return name, nil
}

func persistedOpen(dir *os.File) (string, error) {
	data, err := readSmall(dir, "mysqld-auto.cnf")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var all any
	if err := json.Unmarshal(data, &all); err != nil {
		return "", err
	}
	return opened(all), nil
}

// opened looks for the variables on every level, because the levels are named
// otherwise from version to version.
func opened(v any) string {
	object, is := v.(map[string]any)
	if !is {
		return ""
	}
	for name, inner := range object {
		if slices.Contains(closing, name) {
			if set, is := inner.(map[string]any); !is || set["Value"] != "ON" {
				return name
			}
		}
		if found := opened(inner); found != "" {
			return found
		}
	}
	return ""
}
