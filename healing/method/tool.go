package method

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tool is a physical backup tool, by the name that configuration, requests and
// history call it.
type Tool string

// The tools. Percona's was not run: its part was proved with a stand-in that
// has its command line (see the tests).
const (
	ToolMariabackup Tool = "mariabackup"
	ToolXtrabackup  Tool = "xtrabackup"
)

// kind is what is known of a tool.
type kind struct {
	tool    Tool
	flavor  string   // of the servers that it copies
	oldest  int      // version of them
	backup  []string // names of the program
	extract []string // names of the program that unpacks its stream
	stream  string   // what it calls the stream's format
	always  []string // options of every backup
	target  bool     // a backup wants a directory for temporary files, also where it streams
}

var kinds = map[Tool]*kind{
	ToolMariabackup: {tool: ToolMariabackup, flavor: "mariadb", oldest: 100600, stream: "mbstream",
		backup: []string{"mariadb-backup", "mariabackup"}, extract: []string{"mbstream"},
		// Its default of 1000 ms is how long every commit stands still at the
		// end: with 50 it was 60 ms (10.11; R24).
		always: []string{"--log-copy-interval=50"}},
	ToolXtrabackup: {tool: ToolXtrabackup, flavor: "mysql", oldest: 80400, stream: "xbstream",
		backup: []string{"xtrabackup"}, extract: []string{"xbstream"}, target: true},
}

// success is the last line that both tools write to standard error when, as
// they think, all went well.
const success = "completed OK!"

const versionTimeout = 20 * time.Second

// versionText is in what both tools say of themselves: "… based on MariaDB
// server 10.11.18-MariaDB …", "… version 8.4.0-3 based on MySQL server 8.4.0 …".
var versionText = regexp.MustCompile(`based on (?:MariaDB|MySQL) server (\d+)\.(\d+)(?:\.(\d+))?`)

// programs are a tool's on this machine.
type programs struct{ backup, extract string }

// find looks for the tool's programs in dirs, in order.
func (k *kind) find(dirs []string) (programs, error) {
	backup, err := findProgram(dirs, k.backup)
	if err != nil {
		return programs{}, err
	}
	extract, err := findProgram(dirs, k.extract)
	return programs{backup, extract}, err
}

func findProgram(dirs, names []string) (string, error) {
	for _, name := range names {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s is in none of %v: install it, or put its directory on the sidecar's PATH", names[0], dirs)
}

// matches says why a tool of this version must not copy a server of that one:
// the files of another release series may mean something else. Empty: it may.
func (k *kind) matches(tool, server int) string {
	if tool/100 != server/100 {
		return fmt.Sprintf("%s here is of version %s, and the server of %s", k.tool, series(tool), series(server))
	}
	return ""
}

func series(version int) string { return fmt.Sprintf("%d.%d", version/10000, version/100%100) }

// versions asks programs for their version, each file once.
type versions struct {
	mu   sync.Mutex
	seen map[string]asked
}

type asked struct {
	size    int64
	changed time.Time
	version int
}

// of is the program's version as one number, 101118 for 10.11.18.
func (v *versions) of(ctx context.Context, program string) (int, error) {
	info, err := os.Stat(program)
	if err != nil {
		return 0, fmt.Errorf("ask for a version: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if a := v.seen[program]; a.version > 0 && a.size == info.Size() && a.changed.Equal(info.ModTime()) {
		return a.version, nil
	}
	n, err := askVersion(ctx, program)
	if err != nil {
		return 0, err
	}
	if v.seen == nil {
		v.seen = map[string]asked{}
	}
	v.seen[program] = asked{info.Size(), info.ModTime(), n}
	return n, nil
}

func askVersion(ctx context.Context, program string) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, versionTimeout, fmt.Errorf("no answer within %s", versionTimeout))
	defer cancel()
	out := &childLog{} // xtrabackup says it here, mariadb-backup on the other one
	c, err := startChild(childOptions{argv: []string{program, "--version"}, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), stdout: out})
	if err == nil {
		err = c.wait(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	said := out.text() + "\n" + c.log.text()
	m := versionText.FindStringSubmatch(said)
	if m == nil {
		return 0, fmt.Errorf("ask %s for its version: what it says is not understood: %q", program, shorten(strings.TrimSpace(said)))
	}
	number := 0
	for _, part := range m[1:] {
		n, err := strconv.Atoi("0" + part)
		if err != nil || n > 99 {
			return 0, fmt.Errorf("ask %s for its version: %q is none", program, m[0])
		}
		number = number*100 + n
	}
	return number, nil
}

// OptionFiles are those words of a server's command line that name option
// files; they must come first on the command line of a tool too.
func OptionFiles(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return !optionFile.MatchString(arg) })
}

var optionFile = regexp.MustCompile(`^--(no-defaults$|defaults-(file|extra-file|group-suffix)=)`)
