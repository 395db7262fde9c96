package private

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Place is where a sealed server may write, and nowhere else.
type Place struct {
	Datadir string // its data
	Work    string // its log, pid file and temporary files
	Socket  string // its socket, in Work unless that path would be too long
}

// tmp is where its temporary files go.
func (p Place) tmp() string { return filepath.Join(p.Work, "tmp") }

func (p Place) log() string { return filepath.Join(p.Work, "mysqld.err") }

// PathError is a path of the live server that a private one might write to;
// it is what guard staging-place shows.
type PathError struct{ Variable, Value string }

func (e *PathError) Error() string {
	return fmt.Sprintf("option %s is %s: it is not known whether mysqld writes there", e.Variable, e.Value)
}

// Seal returns the options that point every path mysqld writes to into p. It
// holds them against paths, the live server's own variables that name places
// on disk (replica.Paths): one that is not known here and holds an absolute
// path is a *PathError. What is not known is refused.
func Seal(paths map[string]string, p Place) ([]string, error) {
	e := engineOf(paths)
	for _, name := range e.required {
		if _, ok := paths[name]; !ok {
			return nil, fmt.Errorf("seal a private server: variable %s of the live server is not known", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if value := paths[name]; absolute(value) && !e.known(name) {
			return nil, fmt.Errorf("seal a private server: %w", &PathError{name, value})
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(e.writes)) {
		out = append(out, option(name, p.resolve(e.writes[name])))
	}
	return append(out, e.logs(paths, p)...), nil
}

// CheckSeal says whether a private server could be sealed against these
// paths, before anything is copied.
func CheckSeal(paths map[string]string) error {
	_, err := Seal(paths, Place{Datadir: "/datadir", Work: "/rehearse", Socket: "/rehearse/mysqld.sock"})
	return err
}

func (p Place) resolve(place string) string {
	switch head, rest, _ := strings.Cut(place, "/"); head {
	case "D":
		return p.Datadir
	case "S":
		return p.Socket
	case "T":
		return p.tmp()
	case "W":
		return filepath.Join(p.Work, rest)
	}
	return place
}

// option writes a variable as an option.
func option(name, value string) string {
	return "--" + strings.ReplaceAll(name, "_", "-") + "=" + value
}

// absolute says that a value is an absolute path, or a list that holds one:
// tmpdir is separated by colons, innodb_directories by semicolons,
// innodb_redo_log_archive_dirs labels its directories.
func absolute(value string) bool {
	for _, scheme := range []string{"http://", "https://"} {
		if strings.HasPrefix(value, scheme) {
			return false
		}
	}
	parts := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(":;, ", r) })
	return slices.ContainsFunc(parts, filepath.IsAbs)
}
