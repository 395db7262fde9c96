package binlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options are how the dead server was run, and where else tools are.
type Options struct {
	Flavor   string   // mysql | mariadb
	Server   []string // its command line through mysqld or mariadbd, with a loader before it where there is one
	Dirs     []string // where the tool is looked for after the server's own directories
	UID, GID uint32   // of the datadir's owner, as whom the tool runs
}

// Reader reads logs by the engine's own tool.
type Reader struct {
	o    Options
	tool []string // its command line
}

// always are options of both tools: no option files, checksums verified, and no
// rows in the output.
var always = []string{"--no-defaults", "--verify-binlog-checksum", "--base64-output=decode-rows"}

// New finds the tool: beside the server's program, in the bin directory next
// to that, or in the others.
func New(o Options) (*Reader, error) {
	name := map[string]string{"mysql": "mysqlbinlog", "mariadb": "mariadb-binlog"}[o.Flavor]
	if name == "" || len(o.Server) == 0 {
		return nil, fmt.Errorf("read binary logs: there is no tool for a server of flavour %q", o.Flavor)
	}
	loader, server := o.Server[:len(o.Server)-1], o.Server[len(o.Server)-1]
	home := filepath.Dir(server)
	own := []string{home, filepath.Join(home, "..", "bin")}
	for i, dir := range append(own, o.Dirs...) {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			continue
		}
		if i < len(own) {
			return &Reader{o: o, tool: append(slices.Clone(loader), path)}, nil
		}
		return &Reader{o: o, tool: []string{path}}, nil
	}
	return nil, fmt.Errorf("read binary logs: %s is neither in %s nor on the PATH: install the server's client programs", name, home)
}

// killed bounds what follows the end of the tool's deadline.
const killed = 5 * time.Second

// run has the tool read the first bytes of a file, up to the end of its last
// whole event: at one that is cut off both tools give up. Each line that it
// writes goes to line. Any word of an error counts, whatever the exit status is.
func (r *Reader) run(ctx context.Context, path string, size int64, line func(string)) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	runtime.LockOSThread() // Pdeathsig goes by the thread
	defer runtime.UnlockOSThread()
	argv := slices.Concat(r.tool, always, []string{"-"})
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"LC_ALL=C", "TZ=UTC"}, killed
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: r.o.UID, Gid: r.o.GID}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	said := &capped{}
	cmd.Stdin = io.LimitReader(f, size)
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	reading := eachLine(out, line)
	err = cmd.Wait()
	if err == nil {
		err = reading
	}
	if wrong := said.complaint(); err == nil && wrong != "" {
		err = errors.New("it ended with status 0")
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w: %s", filepath.Base(r.tool[len(r.tool)-1]), err, said.complaint())
}

// longestLine is as much of a line as is looked at: a statement may be longer.
const longestLine = 64 << 10

func eachLine(r io.Reader, line func(string)) error {
	in := bufio.NewReaderSize(r, longestLine)
	for {
		text, more, err := in.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line(string(text))
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
	}
}

// capped keeps the beginning of what a tool says.
type capped struct{ buf bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	const most = 16 << 10
	c.buf.Write(p[:min(len(p), most-min(most, c.buf.Len()))])
	return len(p), nil
}

// complaint is the first line that is more than a warning.
func (c *capped) complaint() string {
	for text := range strings.Lines(strings.ToValidUTF8(c.buf.String(), "?")) {
		if text = strings.TrimSpace(text); text != "" && !strings.Contains(text, "WARNING") && !strings.Contains(text, "Warning") {
			return text
		}
	}
	return ""
}
