package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// LayoutFlat is the layout in which everything lies in the datadir.
const LayoutFlat = "flat"

// LayoutSplit is the layout in which a symbolic link leads to the datadir, and
// logs, redo and undo lie outside it: the binary and relay logs beside the
// error log, the rest in a directory with a file of somebody else's.
const LayoutSplit = "split"

// LogDir and InnoDBDir are where a server of LayoutSplit has what lies
// outside its datadir.
func (n *Node) LogDir() string { return filepath.Dir(n.ErrorLog) }

func (n *Node) InnoDBDir() string { return filepath.Join(n.dir, "ib") }

// TablesDir is where tables of a server of LayoutSplit can have a DATA DIRECTORY.
func (n *Node) TablesDir() string { return filepath.Join(n.dir, "tables") }

// layoutOptions say where the server finds its files.
func (n *Node) layoutOptions() []string {
	if n.cluster.setup.Layout != LayoutSplit {
		return []string{"log_bin=binlog", "relay_log=relay"}
	}
	return append([]string{
		"log_bin=" + filepath.Join(n.LogDir(), "binlog"),
		"relay_log=" + filepath.Join(n.LogDir(), "relay"),
		"innodb_log_group_home_dir=" + n.InnoDBDir(),
		"innodb_undo_directory=" + n.InnoDBDir(),
	}, n.cluster.engine.splitOptions(n)...)
}

// scatter moves out of the flat datadir what the layout has elsewhere.
func (n *Node) scatter() error {
	if n.cluster.setup.Layout != LayoutSplit {
		return nil
	}
	for _, dir := range []string{n.InnoDBDir(), n.TablesDir()} {
		if err := n.cluster.id.mkdirOwned(dir, 0o755); err != nil {
			return err
		}
	}
	for _, pattern := range n.cluster.engine.split {
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
