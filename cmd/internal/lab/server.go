package lab

import (
	"bytes"
	"context"
	_ "embed" // the script that fetches a server
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

//go:embed get-server.sh
var fetchScript []byte

// fetchDeadline bounds the download of a server.
const fetchDeadline = 15 * time.Minute

// Server is a database engine on this machine, installed or unpacked.
type Server struct {
	Engine  string // mysql | mariadb
	Version string // as 9.7.4
	Mysqld  string // the program, or the wrapper of an unpacked one
	Client  string // the program that a person enters it with
	Root    string // of an unpacked tree; empty for an installed server
	engine  *engine
	cache   string // where templates are kept
}

// Servers returns a server of that engine: the one on the PATH where there is
// one, or else the unpacked one in the repository's .servers, fetched where it
// is missing. Any number of callers may ask at once. Progress of a download
// goes to out.
func Servers(ctx context.Context, name string, out io.Writer) (*Server, error) {
	engine, err := engineOf(name)
	if err != nil {
		return nil, err
	}
	id, err := whoami()
	if err != nil {
		return nil, err
	}
	p, err := choosePlace(id)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.servers, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for servers: %w", err)
	}
	if s, ok := installed(ctx, engine, p.servers); ok {
		return s, nil
	}
	if err := p.link(); err != nil {
		return nil, err
	}
	return unpacked(ctx, engine, p.servers, out)
}

// installed looks for all programs of an engine on the PATH; another engine's
// of the same name are none.
func installed(ctx context.Context, e *engine, cache string) (*Server, bool) {
	var paths []string
	for _, program := range e.programs {
		path, err := exec.LookPath(program)
		if err != nil {
			return nil, false
		}
		paths = append(paths, path)
	}
	version, err := readVersion(ctx, e, paths[0])
	if err != nil {
		return nil, false
	}
	return &Server{Engine: e.name, Version: version, Mysqld: paths[0], Client: paths[1], engine: e, cache: cache}, true
}

func unpacked(ctx context.Context, e *engine, cache string, out io.Writer) (*Server, error) {
	dir := filepath.Join(cache, e.name)
	s := &Server{Engine: e.name, Root: filepath.Join(dir, "root"), engine: e, cache: cache}
	s.Mysqld, s.Client = s.program(e.programs[0]), s.program(e.programs[1])
	err := withLock(ctx, dir+".lock", func() error {
		// A tree that was moved no longer answers: its wrappers hold absolute paths.
		version, err := readVersion(ctx, e, s.Mysqld)
		if err != nil {
			if err := fetch(ctx, e, dir, out); err != nil {
				return err
			}
			if version, err = readVersion(ctx, e, s.Mysqld); err != nil {
				return err
			}
		}
		s.Version = version
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("get a %s server: %w", e.title, err)
	}
	return s, nil
}

// program is one of the server's programs: a path, or a name for the PATH.
func (s *Server) program(name string) string {
	if s.Root == "" {
		return name
	}
	return filepath.Join(filepath.Dir(s.Root), "bin", name)
}

func fetch(ctx context.Context, e *engine, dir string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, fetchDeadline)
	defer cancel()
	script := dir + ".get"
	if err := os.WriteFile(script, fetchScript, 0o755); err != nil {
		return fmt.Errorf("write the fetching script: %w", err)
	}
	defer os.Remove(script)
	var why bytes.Buffer
	cmd := command(ctx, script, e.name, dir)
	cmd.Stdout, cmd.Stderr = out, &why
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if text := lastLines(why.String(), 1); text != "" {
		err = errors.New(text)
	}
	if ctx.Err() != nil { // the script was killed and could not clean up
		err = context.Cause(ctx)
	}
	return errors.Join(fmt.Errorf("fetch it into %s: %w", dir, err), os.RemoveAll(dir+".new"))
}

var versionText = regexp.MustCompile(`Ver (\d+)\.(\d+)\.(\d+)(-MariaDB)?`)

// readVersion asks a server program for its version and refuses one that is of
// another engine, or too old.
func readVersion(ctx context.Context, e *engine, program string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	text, err := command(ctx, program, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", program, err)
	}
	m := versionText.FindStringSubmatch(string(text))
	if m == nil || (m[4] != "") != (e.name == MariaDB) {
		return "", fmt.Errorf("%s is not %s: %s", program, e.title, strings.TrimSpace(string(text)))
	}
	number := 0
	for _, part := range m[1:4] {
		n, err := strconv.Atoi(part)
		if err != nil {
			return "", fmt.Errorf("read the version of %s: %w", program, err)
		}
		number = number*100 + n
	}
	version := strings.Join(m[1:4], ".")
	if number < e.oldest {
		return "", fmt.Errorf("%s is %s %s, which is too old", program, e.title, version)
	}
	return version, nil
}

// String names the engine and its version, for a test's output.
func (s *Server) String() string {
	where := "installed"
	if s.Root != "" {
		where = "unpacked"
	}
	return fmt.Sprintf("%s %s (%s)", s.Engine, s.Version, where)
}
