package method

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"resilver/healing/private"
)

// PhysicalOptions are what a physical backup method needs at the recipient.
type PhysicalOptions struct {
	Dirs      []string // where the tools are looked for
	Parallel  int      // threads asked of the donor, and of the unpacking; 0: the tools' own default
	UseMemory int64    // bytes for the preparation; 0: the tool's own default
	Args      []string // options added last to the preparation
	// StallTimeout is how long not a byte may come before a copy is given up.
	StallTimeout time.Duration
	Logger       *slog.Logger
}

func (o *PhysicalOptions) check() error {
	switch {
	case len(o.Dirs) == 0:
		return errors.New("no directories to look for the tools in")
	case o.Parallel < 0 || o.Parallel > maxThreads || o.UseMemory < 0:
		return fmt.Errorf("%d threads and %d bytes of memory are out of bounds", o.Parallel, o.UseMemory)
	case o.StallTimeout <= 0:
		return errors.New("the stall timeout must be positive")
	case o.Logger == nil:
		return errors.New("no logger")
	}
	return CheckArgs(o.Args)
}

// Physical copies with a backup tool that the donor's sidecar runs: the stream
// is unpacked as it comes, by the datadir's owner, and believed only once its
// end is proved.
type Physical struct {
	kind     *kind
	o        PhysicalOptions
	versions versions
}

// NewMariabackup is the method mariabackup, for MariaDB.
func NewMariabackup(o PhysicalOptions) (*Physical, error) { return newPhysical(ToolMariabackup, o) }

// NewXtrabackup is the method xtrabackup, for MySQL and Percona Server.
func NewXtrabackup(o PhysicalOptions) (*Physical, error) { return newPhysical(ToolXtrabackup, o) }

func newPhysical(tool Tool, o PhysicalOptions) (*Physical, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("method %s: %w", tool, err)
	}
	return &Physical{kind: kinds[tool], o: o}, nil
}

// Name is the method's name in configuration, journal and history.
func (p *Physical) Name() string { return string(p.kind.tool) }

// Fit wants a server of the tool's flavour, and the tool here in the same
// release series. Whether the donor has it, the donor says when it is asked.
func (p *Physical) Fit(ctx context.Context, f Facts) (bool, string) {
	k := p.kind
	switch {
	case f.Flavor != k.flavor:
		return false, fmt.Sprintf("%s is for %s, and this server is %s", k.tool, flavorName[k.flavor], orUnknown(f.Flavor))
	case f.VersionNumber < k.oldest:
		return false, fmt.Sprintf("%s is supported from %s %s, and this server is version %d", k.tool, flavorName[k.flavor], series(k.oldest), f.VersionNumber)
	case f.Scattered && k.tool == ToolXtrabackup:
		return false, "xtrabackup was never run here with tablespaces at paths of their own: where it puts them is not known"
	}
	found, err := k.find(p.o.Dirs)
	if err != nil {
		return false, err.Error()
	}
	version, err := p.versions.of(ctx, found.backup)
	if err != nil {
		return false, err.Error()
	}
	if why := k.matches(version, f.VersionNumber); why != "" {
		return false, why
	}
	return true, ""
}

var flavorName = map[string]string{"mysql": "MySQL", "mariadb": "MariaDB"}

// Stage has the donor make a backup and unpacks it into job.Staging.
func (p *Physical) Stage(ctx context.Context, job Job, report func(done, total int64)) (Copy, error) {
	out, err := p.stage(ctx, job, report)
	if err != nil {
		return Copy{}, fmt.Errorf("copy from the donor: %w", err)
	}
	return out, nil
}

func (p *Physical) stage(ctx context.Context, job Job, report func(done, total int64)) (Copy, error) {
	if job.Backup == nil {
		return Copy{}, errors.New("no way to ask the donor for a backup")
	}
	if err := job.check(); err != nil {
		return Copy{}, err
	}
	found, err := p.kind.find(p.o.Dirs)
	if err != nil {
		return Copy{}, err
	}
	if err := makeStaging(job); err != nil {
		return Copy{}, err
	}
	conn, err := job.Backup(ctx, BackupRequest{Tool: p.kind.tool, Parallel: p.o.Parallel})
	if err != nil {
		return Copy{}, err
	}
	defer func() { _ = conn.Close() }()
	n, err := p.unpack(ctx, conn, found.extract, job, report)
	if err != nil {
		return Copy{}, err
	}
	dir, err := private.OpenArea(job.Staging)
	if err != nil {
		return Copy{}, err
	}
	defer func() { _ = dir.Close() }()
	is, err := readCheckpoints(dir)
	if err != nil {
		return Copy{}, err
	}
	if is.kind != typeBackup {
		return Copy{}, fmt.Errorf("the copy is %s, want %s", is.kind, typeBackup)
	}
	set, replicated, err := p.kind.position(dir)
	return Copy{Reported: set, Replicated: replicated, Bytes: n}, err
}

// makeStaging makes the directory that the copy goes to, for its owner alone.
func makeStaging(job Job) error {
	area, err := private.OpenArea(job.Area)
	if err != nil {
		return fmt.Errorf("make the staging directory: %w", err)
	}
	defer func() { _ = area.Close() }()
	if err := private.MakeDir(area, filepath.Base(job.Staging), 0o700, job.Program); err != nil {
		return fmt.Errorf("make the staging directory: %w", err)
	}
	return nil
}
