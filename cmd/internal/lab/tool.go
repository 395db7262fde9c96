package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Tool is the path of a program that belongs to the lab's servers.
func (c *Cluster) Tool(name string) string {
	return filepath.Join(filepath.Dir(c.setup.Mysqld), name)
}

// ServerUser is the system user that the lab's mysqlds run as.
func (c *Cluster) ServerUser() string { return c.id.OS }

// Mysqld is the lab's server program, and the user and group that it runs as.
func (c *Cluster) Mysqld() (program string, uid, gid int) {
	return c.setup.Mysqld, c.id.uid, c.id.gid
}

// AsServer prepares a program that runs as mysqld's user, in a group of its
// own that dies with ctx.
func (c *Cluster) AsServer(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := command(ctx, program, args...)
	if c.id.root {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.id.uid), Gid: uint32(c.id.gid)}
	}
	return cmd
}

// Area makes a directory of that name in the lab's own, which belongs to
// mysqld's user.
func (c *Cluster) Area(name string) (string, error) {
	dir := filepath.Join(c.Dir, name)
	return dir, c.id.mkdirOwned(dir, 0o755)
}

// Own gives a tree to mysqld's user, as chown -R does.
func (c *Cluster) Own(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("give a tree away: %w", err)
		}
		return os.Lchown(path, c.id.uid, c.id.gid)
	})
}

// SuperviseSocket is where the supervisor of the node's mysqld listens.
func (n *Node) SuperviseSocket() string { return filepath.Join(n.StateDir(), "supervise.sock") }
