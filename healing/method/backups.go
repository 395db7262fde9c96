package method

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"resilver/healing/transfer"
)

// BackupOptions are what a donor gives backups by. Of a request, only the
// tool's name and a number go into what is run.
type BackupOptions struct {
	// Dirs are where the tools are looked for.
	Dirs []string
	// Tools are those that this node may run, each with its own settings.
	Tools map[Tool]BackupSettings
	// StateDir keeps the record of a backup under way.
	StateDir string
	// Live reads what a backup depends on of the live server. Its error
	// refuses the backup: it is also where grants are checked.
	Live func(ctx context.Context) (LiveServer, error)
	// Restore starts the live server's applier where it stands still without
	// an error. It is called where a backup may have stopped it.
	Restore func(ctx context.Context) error
	// Stall is how long the recipient may take nothing.
	Stall time.Duration
	// Count is told of the bytes sent to recipients; nil: nobody is.
	Count  func(n int64)
	Logger *slog.Logger
}

// BackupSettings are one tool's.
type BackupSettings struct {
	User     string   // account at the server; empty: named like the datadir's owner
	Parallel int      // threads at most; 0: the tool's own default
	Args     []string // options added last
}

// LiveServer is the donor's server as a backup finds it.
type LiveServer struct {
	Flavor        string // mysql | mariadb
	VersionNumber int    // 10.11.18 is 101118
	Socket        string
	OptionFiles   []string // words of its command line that name them, see OptionFiles
	UID, GID      uint32   // the datadir's owner, whom the tool runs as
	Replica       bool     // it has a source
	Applying      bool     // its applier runs
	Bytes         int64    // of its data, an estimate; 0: unknown
}

// BackupRequest is what a recipient may say of a backup.
type BackupRequest struct {
	Tool     Tool
	Parallel int // threads wanted; 0: as the donor likes
}

func (o *BackupOptions) check() error {
	switch {
	case o.Live == nil || o.Restore == nil || o.Logger == nil:
		return errors.New("backups: want Live, Restore and a logger")
	case !filepath.IsAbs(o.StateDir):
		return fmt.Errorf("backups: state directory %q is not an absolute path", o.StateDir)
	case o.Stall <= 0:
		return errors.New("backups: the stall timeout must be positive")
	}
	for tool, s := range o.Tools {
		if kinds[tool] == nil {
			return fmt.Errorf("backups: tool %q is not known", tool)
		}
		if s.Parallel < 0 {
			return fmt.Errorf("backups: %s in %d threads", tool, s.Parallel)
		}
		if err := CheckArgs(s.Args); err != nil {
			return fmt.Errorf("backups: %s: %w", tool, err)
		}
	}
	return nil
}

// busyWait is how long a request waits for an earlier backup to be gone: that
// of the same recipient, which was cut off.
const busyWait = 10 * time.Second

// Backups is the donor's side of the physical methods: it runs a backup tool
// against the live server, as the datadir's owner, and streams what it writes.
type Backups struct {
	o        BackupOptions
	versions versions
	slot     chan struct{} // one backup at a time
}

// NewBackups checks the options.
func NewBackups(o BackupOptions) (*Backups, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Backups{o: o, slot: make(chan struct{}, 1)}, nil
}

// Lacks says why no backup can be made here with a tool; empty where it is
// there. Whether it fits the server is asked when one is to be made.
func (b *Backups) Lacks(tool Tool) string {
	k := kinds[tool]
	if k == nil {
		return fmt.Sprintf("tool %q is not known", tool)
	}
	if _, err := k.find(b.o.Dirs); err != nil {
		return err.Error()
	}
	return ""
}

// Admit checks the token, and that the tool fits the server. The stream it
// returns must be served.
func (b *Backups) Admit(ctx context.Context, req BackupRequest, lease transfer.FenceOptions) (*BackupStream, error) {
	k, settings := kinds[req.Tool], b.o.Tools[req.Tool]
	if _, may := b.o.Tools[req.Tool]; !may || k == nil {
		return nil, fmt.Errorf("%q is no tool that this node gives backups with", req.Tool)
	}
	fence, err := transfer.NewFence(ctx, lease)
	if err != nil {
		return nil, err
	}
	live, err := b.o.Live(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the server before a backup: %w", err)
	}
	if live.Flavor != k.flavor {
		return nil, fmt.Errorf("%s is not for a server of flavour %s", k.tool, orUnknown(live.Flavor))
	}
	found, err := k.find(b.o.Dirs)
	if err != nil {
		return nil, err
	}
	version, err := b.versions.of(ctx, found.backup)
	if err != nil {
		return nil, err
	}
	if why := k.matches(version, live.VersionNumber); why != "" {
		return nil, errors.New(why)
	}
	select {
	case b.slot <- struct{}{}:
	case <-time.After(busyWait):
		return nil, errors.New("another backup of this server is running")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return &BackupStream{b: b, kind: k, fence: fence, live: live, argv: argvOf(k, found.backup, settings, live, req)}, nil
}

// argvOf is the tool's command line; later options win over earlier ones.
func argvOf(k *kind, program string, s BackupSettings, live LiveServer, req BackupRequest) []string {
	argv := append([]string{program}, live.OptionFiles...)
	argv = append(argv, "--backup", "--stream="+k.stream, "--socket="+live.Socket)
	argv = append(argv, k.always...)
	if name := accountOf(s, live); name != "" {
		argv = append(argv, "--user="+name)
	}
	// A donor's threads are its own business; a recipient may ask for fewer.
	parallel := s.Parallel
	if req.Parallel > 0 && (parallel == 0 || req.Parallel < parallel) {
		parallel = min(req.Parallel, maxThreads)
	}
	if parallel > 0 {
		argv = append(argv, "--parallel="+strconv.Itoa(parallel))
	}
	if live.Replica {
		argv = append(argv, "--slave-info")
	}
	return append(argv, s.Args...)
}

// accountOf is the account that the tool logs in to: by unix_socket it must be
// named like the system user (MariaDB 10.11: another name is accepted by the
// grant, and refused at the login).
func accountOf(s BackupSettings, live LiveServer) string {
	if s.User != "" {
		return s.User
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(live.UID), 10))
	if err != nil {
		return ""
	}
	return u.Username
}

// maxThreads bounds what a recipient may ask of a donor without a number of
// its own.
const maxThreads = 64

// stopsApplier says that the tool stops the server's applier while it runs,
// and leaves it stopped when it is killed (R23, P1).
func stopsApplier(argv []string) bool {
	return slices.ContainsFunc(argv, func(arg string) bool { return optionName(arg) == "safe-slave-backup" })
}

func optionName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	return strings.ReplaceAll(name, "_", "-")
}

// refusedArgs are options that would make a stream that is no whole backup, or
// no stream, or say a secret where everybody can read it. The tools take any
// beginning of an option's name that is only one option's.
var refusedArgs = []string{
	"apply-log-only", "backup", "compress", "copy-back", "databases", "databases-exclude", "databases-file", "decompress",
	"decrypt", "defaults-extra-file", "defaults-file", "defaults-group", "defaults-group-suffix", "encrypt", "encrypt-key",
	"encrypt-key-file", "export", "extra-lsndir", "force-non-empty-directories", "help", "incremental", "incremental-basedir",
	"incremental-dir", "incremental-lsn", "incremental-history-name", "incremental-history-uuid", "login-path", "move-back",
	"mysqld-args", "no-defaults", "no-lock", "password", "prepare", "print-defaults", "remove-original", "stats", "stream",
	"tables", "tables-exclude", "tables-file", "target-dir", "version",
}

// longOption is one word: no value may hide behind a blank.
var longOption = regexp.MustCompile(`^--[A-Za-z0-9][A-Za-z0-9_-]*(=.*)?$`)

// CheckArgs says whether options may be added to a tool's command line. The
// error does not show what may be a secret.
func CheckArgs(args []string) error {
	for _, arg := range args {
		name := optionName(arg)
		if !longOption.MatchString(arg) {
			return errors.New("an argument is not a long option, as --name=value")
		}
		for _, prefix := range []string{"loose-", "skip-", "enable-", "disable-"} {
			name = strings.TrimPrefix(name, prefix)
		}
		for _, refused := range refusedArgs {
			if strings.HasPrefix(refused, name) {
				return fmt.Errorf("--%s cannot be added: it changes what the backup is, or says a secret", name)
			}
		}
	}
	return nil
}
