package private

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// Options of every private server.
type Options struct {
	// Program is how the live server is run.
	Program Program
	// Paths are the variables of the live server that name places on disk
	// (replica.Paths).
	Paths map[string]string
	// Area is the staging area beside the live datadir.
	Area string
	// Covers are in the place of live directories for the server.
	Covers []Cover
	// Outward, where it is not 0, lets a rehearsal replicate from elsewhere, as
	// the server of that id, which nobody else has.
	Outward uint32
	// BootTimeout is how long a server gets until it answers.
	BootTimeout time.Duration
	Logger      *slog.Logger
}

func (o *Options) check() error {
	switch {
	case !filepath.IsAbs(o.Area):
		return fmt.Errorf("staging area %q is not an absolute path", o.Area)
	case o.BootTimeout <= 0:
		return errors.New("boot timeout must be positive")
	case o.Logger == nil:
		return errors.New("no logger")
	}
	return o.Program.check()
}

// libraries are the paths that a server without option files must be told to
// find its messages, character sets and plugins.
var libraries = []string{"basedir", "plugin_dir", "lc_messages_dir", "character_sets_dir"}

// pageSize is the one setting of a scratch server that its datadir is made
// with; 16384 is the server's default.
const pageSize = "innodb_page_size"

// Scratch boots an empty server with the clone plugin, as root@localhost
// without a password on its socket. It reads no option file, and its datadir
// is gone when it is. Settings are variables that it must share with the
// donor. The server is ended by the caller, not by ctx.
func Scratch(ctx context.Context, o Options, settings map[string]string) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("scratch server: %w", err)
	}
	area, err := OpenArea(o.Area)
	if err != nil {
		return nil, fmt.Errorf("scratch server: %w", err)
	}
	from, err := template(ctx, area, o, settings[pageSize])
	if err == nil {
		err = area.RemoveAll(nameScratch)
	}
	if err == nil {
		err = copyTree(ctx, area, from, nameScratch, o.Program)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("scratch server: %w", err), area.RemoveAll(nameScratch), area.Close())
	}
	remove := func() {
		if err := errors.Join(area.RemoveAll(nameScratch), area.Close()); err != nil {
			o.Logger.Warn("scratch datadir remains", "error", err)
		}
	}
	w, err := openWork(o.Area, roleScratch, filepath.Join(o.Area, nameScratch), o.Program)
	if err != nil {
		remove()
		return nil, fmt.Errorf("scratch server: %w", err)
	}
	argv := o.Program.argv(o.bare(w.place), scratchOptions(), directories(o.Covers), asOptions(settings))
	return boot(ctx, launch{role: roleScratch, work: w, argv: argv, boot: o.BootTimeout,
		logger: o.Logger, after: remove, covers: o.Covers})
}

// bare are the options of a server without option files.
func (o *Options) bare(p Place) []string {
	out := []string{"--no-defaults"}
	for _, name := range libraries {
		if v := o.Paths[name]; v != "" {
			out = append(out, option(name, v))
		}
	}
	for _, name := range []string{"datadir", "socket", "pid_file", "log_error", "tmpdir"} {
		out = append(out, option(name, p.resolve(mySQL.writes[name])))
	}
	return append(append(out, "--persisted-globals-load=OFF"), sealedOptions()...)
}

func asOptions(settings map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		out = append(out, option(name, settings[name]))
	}
	return out
}

// boot starts a server and waits until it answers.
func boot(ctx context.Context, l launch) (*Server, error) {
	s, err := run(l)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, l.boot); err != nil {
		return nil, err
	}
	return s, nil
}
