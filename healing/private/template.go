package private

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const versionTimeout = 20 * time.Second

// versionText is what mysqld --version says: "… Ver 9.7.4-2 for Linux on …".
var versionText = regexp.MustCompile(`Ver ([0-9A-Za-z.+-]+)`)

// template returns the name of the initialised datadir that scratch servers
// begin with, and makes it where it is missing: under another name first, so
// that a crash leaves no half template.
func template(ctx context.Context, area *os.Root, o Options, page string) (string, error) {
	version, err := versionOf(ctx, o.Program)
	if err != nil {
		return "", fmt.Errorf("make a template: %w", err)
	}
	name := nameTemplate + version
	if page != "" {
		name += "-" + page
	}
	info, err := area.Lstat(name)
	if err == nil && info.IsDir() {
		return name, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("make a template: %w", err)
	}
	half := name + ".half"
	if err := area.RemoveAll(half); err != nil {
		return "", fmt.Errorf("make a template: %w", err)
	}
	if err := initialize(ctx, half, o, page); err != nil {
		return "", errors.Join(err, area.RemoveAll(half))
	}
	if err := area.Rename(half, name); err != nil {
		return "", fmt.Errorf("make a template: %w", err)
	}
	if err := dropTemplates(area, version); err != nil {
		o.Logger.Warn("templates of other versions remain", "error", err)
	}
	return name, nil
}

// dropTemplates removes the templates of all versions but this one: the server
// was upgraded, and nothing begins with them any more.
func dropTemplates(area *os.Root, version string) error {
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(nameTemplate+version) + "(-(4096|8192|16384|32768|65536))?$")
	entries, err := fs.ReadDir(area.FS(), ".")
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, nameTemplate) && !ours.MatchString(name) {
			err = errors.Join(err, area.RemoveAll(name))
		}
	}
	return err
}

// initialize makes a new datadir; root@localhost has no password in it.
func initialize(ctx context.Context, name string, o Options, page string) error {
	w, err := openWork(o.Area, roleTemplate, filepath.Join(o.Area, name), o.Program)
	if err != nil {
		return fmt.Errorf("make a template: %w", err)
	}
	// The redo log is most of a new datadir, and is copied each time.
	options := []string{"--initialize-insecure", "--performance-schema=OFF", "--innodb-redo-log-capacity=8M"}
	if page != "" {
		options = append(options, option(pageSize, page))
	}
	s, err := run(launch{role: roleTemplate, work: w, argv: o.Program.argv(o.bare(w.place), options), logger: o.Logger})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.BootTimeout, fmt.Errorf("not done within %s", o.BootTimeout))
	defer cancel()
	select {
	case <-s.Done():
		return s.Wait()
	case <-ctx.Done():
		return errors.Join(s.faultOf("initialise", context.Cause(ctx)), s.Kill())
	}
}

// versionOf asks the program itself: what is on disk now is what will run.
func versionOf(ctx context.Context, p Program) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	argv := p.argv([]string{"--no-defaults", "--version"})
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C"}
	cmd.WaitDelay = pipeGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.credential()}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ask %s for its version: %w: %s", p.Prefix[len(p.Prefix)-1], err, reasons(out.String()))
	}
	m := versionText.FindStringSubmatch(out.String())
	if m == nil {
		return "", fmt.Errorf("ask %s for its version: it says %q", p.Prefix[len(p.Prefix)-1], reasons(out.String()))
	}
	return m[1], nil
}
