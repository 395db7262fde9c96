package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Layouts are the names of the layouts.
func Layouts() []string { return []string{LayoutFlat, LayoutSplit, LayoutMount, LayoutScattered} }

// LayoutFlat is the layout in which everything lies in the datadir.
const LayoutFlat = "flat"

// LayoutSplit is the layout in which a symbolic link leads to the datadir, and
// logs, the system tablespace, redo and undo lie outside it: the binary and
// relay logs beside the error log, the rest in a directory with a file of
// somebody else's.
const LayoutSplit = "split"

// LayoutMount is the layout in which the datadir is a mount point: a directory
// beside it is bound to it. Only root can have it.
const LayoutMount = "mount"

// LayoutScattered is the layout in which tables may have a DATA DIRECTORY that
// has the same path on every node, as on machines of their own: each node's
// programs run in a mount namespace in which ExtDir is the node's TablesDir.
// Only root can have it.
const LayoutScattered = "scattered"

func checkLayout(name string, id identity) error {
	switch {
	case !slices.Contains(Layouts(), name):
		return fmt.Errorf("layout %q: want %s", name, strings.Join(Layouts(), ", "))
	case (name == LayoutMount || name == LayoutScattered) && !id.root:
		return fmt.Errorf("layout %s: only root can mount", name)
	}
	return nil
}

// ExtDir is where servers of LayoutScattered see their tables' directory.
func (c *Cluster) ExtDir() string { return filepath.Join(c.Dir, "ext") }

// inside is a command line that runs where the node's servers see ExtDir.
func (n *Node) inside(argv []string) []string {
	if n.cluster.setup.Layout != LayoutScattered {
		return argv
	}
	const bind = `mount --bind "$0" "$1" && shift && exec "$@"`
	return append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", bind, n.TablesDir(), n.cluster.ExtDir()}, argv...)
}

// LogDir and InnoDBDir are where a server of LayoutSplit has what lies
// outside its datadir.
func (n *Node) LogDir() string { return filepath.Dir(n.ErrorLog) }

func (n *Node) InnoDBDir() string { return filepath.Join(n.dir, "ib") }

// TablesDir is where tables of a server can have a DATA DIRECTORY, in
// LayoutScattered by the name of ExtDir.
func (n *Node) TablesDir() string { return filepath.Join(n.dir, "tables") }

// layoutOptions say where the server finds its files.
func (n *Node) layoutOptions() []string {
	switch n.cluster.setup.Layout {
	case LayoutFlat:
		return []string{"log_bin=binlog", "relay_log=relay"}
	case LayoutMount:
		return append([]string{"log_bin=binlog", "relay_log=relay"}, n.cluster.engine.mountOptions...)
	case LayoutScattered:
		return append([]string{"log_bin=binlog", "relay_log=relay"}, n.cluster.engine.directories(n.cluster.ExtDir())...)
	}
	return append([]string{
		"log_bin=" + filepath.Join(n.LogDir(), "binlog"),
		"relay_log=" + filepath.Join(n.LogDir(), "relay"),
		"innodb_data_home_dir=" + n.InnoDBDir(),
		"innodb_log_group_home_dir=" + n.InnoDBDir(),
		"innodb_undo_directory=" + n.InnoDBDir(),
	}, append(n.cluster.engine.splitOptions(n), n.cluster.engine.directories(n.TablesDir())...)...)
}

// scatter moves out of the flat datadir what the layout has elsewhere.
func (n *Node) scatter() error {
	switch n.cluster.setup.Layout {
	case LayoutMount:
		return n.bind()
	case LayoutScattered:
		return errors.Join(os.MkdirAll(n.cluster.ExtDir(), 0o755), n.cluster.id.mkdirOwned(n.TablesDir(), 0o755))
	case LayoutFlat:
		return nil
	}
	for _, dir := range []string{n.InnoDBDir(), n.TablesDir()} {
		if err := n.cluster.id.mkdirOwned(dir, 0o755); err != nil {
			return err
		}
	}
	for _, pattern := range append([]string{"ibdata1", "ib_buffer_pool"}, n.cluster.engine.split...) {
		found, err := filepath.Glob(filepath.Join(n.Datadir, pattern))
		if err != nil {
			return fmt.Errorf("split the datadir: %w", err)
		}
		for _, path := range found {
			if err := os.Rename(path, filepath.Join(n.InnoDBDir(), filepath.Base(path))); err != nil {
				return fmt.Errorf("split the datadir: %w", err)
			}
		}
	}
	disk := filepath.Join(n.dir, "disk")
	if err := n.cluster.id.mkdirOwned(disk, 0o755); err != nil {
		return err
	}
	real := filepath.Join(disk, "mysql")
	if err := errors.Join(os.Rename(n.Datadir, real), os.Symlink(real, n.Datadir)); err != nil {
		return fmt.Errorf("put the datadir behind a link: %w", err)
	}
	if err := os.WriteFile(filepath.Join(n.InnoDBDir(), "undo_notes.txt"), []byte("somebody else's\n"), 0o644); err != nil {
		return fmt.Errorf("split the datadir: %w", err)
	}
	return nil
}

// volume is the directory that is bound to the datadir of LayoutMount.
func (n *Node) volume() string { return filepath.Join(n.dir, "volume") }

// bind makes the datadir a mount point.
func (n *Node) bind() error {
	if err := os.Rename(n.Datadir, n.volume()); err != nil {
		return fmt.Errorf("make a volume of the datadir: %w", err)
	}
	// What mkfs leaves at the top of a file system, and nobody else may read.
	if err := os.Mkdir(filepath.Join(n.volume(), "lost+found"), 0o700); err != nil {
		return fmt.Errorf("make a volume of the datadir: %w", err)
	}
	if err := os.Mkdir(n.Datadir, 0o700); err != nil {
		return fmt.Errorf("make a mount point: %w", err)
	}
	return n.mount()
}

// mount binds the volume where it is not, as after a reboot.
func (n *Node) mount() error {
	if n.cluster.setup.Layout != LayoutMount {
		return nil
	}
	volume, err := os.Stat(n.volume())
	if err != nil {
		return fmt.Errorf("mount the datadir: %w", err)
	}
	if now, err := os.Stat(n.Datadir); err == nil && os.SameFile(now, volume) {
		return nil
	}
	if err := unix.Mount(n.volume(), n.Datadir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the datadir: %w", err)
	}
	return nil
}

// unmount takes it off again, so that the lab's directory can be removed.
func (n *Node) unmount() error {
	if n.cluster.setup.Layout != LayoutMount {
		return nil
	}
	err := unix.Unmount(n.Datadir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) { // EINVAL: nothing is mounted there
		return fmt.Errorf("unmount %s: %w", n.Datadir, err)
	}
	return nil
}
