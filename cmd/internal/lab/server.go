package lab

import (
	"context"
	_ "embed" // the script that fetches a server
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

//go:embed get-mysql.sh
var fetchScript []byte

// oldest is the first MySQL that knows CHANGE REPLICATION SOURCE.
const oldest = 80023

// fetchDeadline bounds the download of a server.
const fetchDeadline = 15 * time.Minute

// Server is a database engine on this machine, installed or unpacked.
type Server struct {
	Engine  string // mysql
	Version string // as 9.7.4
	Mysqld  string // the program, or the wrapper of an unpacked one
	Client  string // the mysql program
	Root    string // of an unpacked tree; empty for an installed server
	cache   string // where templates are kept
}

// Servers returns MySQL: the mysqld on the PATH where it is one, or else the
// unpacked one in the repository's .servers, fetched where it is missing. Any
// number of callers may ask at once. Progress of a download goes to out.
func Servers(ctx context.Context, out io.Writer) (*Server, error) {
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
	if s, ok := installed(ctx, p.servers); ok {
		return s, nil
	}
	if err := p.link(); err != nil {
		return nil, err
	}
	return unpacked(ctx, p.servers, out)
}

// installed looks for a MySQL on the PATH; a MariaDB of the same name is none.
func installed(ctx context.Context, cache string) (*Server, bool) {
	mysqld, err := exec.LookPath("mysqld")
	if err != nil {
		return nil, false
	}
	client, err := exec.LookPath("mysql")
	if err != nil {
		return nil, false
	}
	version, err := readVersion(ctx, mysqld)
	if err != nil {
		return nil, false
	}
	return &Server{Engine: "mysql", Version: version, Mysqld: mysqld, Client: client, cache: cache}, true
}

func unpacked(ctx context.Context, cache string, out io.Writer) (*Server, error) {
	dir := filepath.Join(cache, "mysql")
	s := &Server{
		Engine: "mysql", Mysqld: filepath.Join(dir, "bin", "mysqld"), Client: filepath.Join(dir, "bin", "mysql"),
		Root: filepath.Join(dir, "root"), cache: cache,
	}
	err := withLock(ctx, dir+".lock", func() error {
		// A tree that was moved no longer answers: its wrappers hold absolute paths.
		version, err := readVersion(ctx, s.Mysqld)
		if err != nil {
			if err := fetch(ctx, dir, out); err != nil {
				return err
			}
			if version, err = readVersion(ctx, s.Mysqld); err != nil {
				return err
			}
		}
		s.Version = version
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("get a MySQL server: %w", err)
	}
	return s, nil
}

func fetch(ctx context.Context, dir string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, fetchDeadline)
	defer cancel()
	script := dir + ".get"
	if err := os.WriteFile(script, fetchScript, 0o755); err != nil {
		return fmt.Errorf("write the fetching script: %w", err)
	}
	defer os.Remove(script)
	cmd := command(ctx, script, dir)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetch it into %s: %w", dir, err)
	}
	return nil
}

var versionText = regexp.MustCompile(`Ver (\d+)\.(\d+)\.(\d+)`)

// readVersion asks a mysqld for its version and refuses one that does not fit.
func readVersion(ctx context.Context, mysqld string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	text, err := command(ctx, mysqld, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", mysqld, err)
	}
	m := versionText.FindStringSubmatch(string(text))
	if m == nil || strings.Contains(string(text), "MariaDB") {
		return "", fmt.Errorf("%s is not MySQL: %s", mysqld, strings.TrimSpace(string(text)))
	}
	number := 0
	for _, part := range m[1:] {
		n, err := strconv.Atoi(part)
		if err != nil {
			return "", fmt.Errorf("read the version of %s: %w", mysqld, err)
		}
		number = number*100 + n
	}
	version := strings.Join(m[1:], ".")
	if number < oldest {
		return "", fmt.Errorf("%s is MySQL %s, older than 8.0.23", mysqld, version)
	}
	return version, nil
}

// options are the lines that an option file needs for this server to find its
// own files and to keep out of those of an installed one.
func (s *Server) options() []string {
	lines := []string{"secure_file_priv=", "mysqlx=OFF"}
	if s.Root == "" {
		return lines
	}
	return append(lines,
		"lc_messages_dir="+filepath.Join(s.Root, "usr/share/mysql"),
		"character_sets_dir="+filepath.Join(s.Root, "usr/share/mysql/charsets"),
		"plugin_dir="+filepath.Join(s.Root, "usr/lib/mysql/plugin"))
}

// String names the engine and its version, for a test's output.
func (s *Server) String() string {
	where := "installed"
	if s.Root != "" {
		where = "unpacked"
	}
	return fmt.Sprintf("%s %s (%s)", s.Engine, s.Version, where)
}
