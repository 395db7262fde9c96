package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// diskOptions make ext4 as forgetful as it can be: nothing is written because
// some seconds have passed, nor because a file was replaced by rename.
const diskOptions = "loop,commit=600,noauto_da_alloc"

// A node's own disk, as an image beside its directory.
func (n *Node) image() string { return n.dir + ".ext4" }

// OwnDisk puts a node that is at rest on a file system of its own, of at most
// so many megabytes, whose power can be cut. Only root can have it.
func (n *Node) OwnDisk(ctx context.Context, mb int64) error {
	aside := n.dir + ".aside"
	if err := os.Rename(n.dir, aside); err != nil {
		return fmt.Errorf("%s: a disk of its own: %w", n.Name, err)
	}
	f, err := os.Create(n.image())
	if err == nil {
		err = errors.Join(f.Truncate(mb<<20), f.Close(), os.Mkdir(n.dir, 0o755))
	}
	if err == nil {
		_, err = output(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", n.image())
	}
	if err == nil {
		err = n.mountDisk(ctx)
	}
	if err == nil {
		_, err = output(ctx, "cp", "-a", aside+"/.", n.dir)
	}
	if err == nil {
		_, err = output(ctx, "sync", "--file-system", n.dir)
	}
	if err != nil {
		return fmt.Errorf("%s: a disk of its own: %w", n.Name, err)
	}
	return os.RemoveAll(aside)
}

func (n *Node) mountDisk(ctx context.Context) error {
	_, err := output(ctx, "mount", "-o", diskOptions, n.image(), n.dir)
	return err
}

// PowerCut takes the power from a node with a disk of its own: what was not
// synced is lost, and every process of it dies. The disk is there again when
// it returns, as after a reboot; nothing has been started.
func (n *Node) PowerCut(ctx context.Context) error {
	// As the file-system people's own tests do it: ext4 drops what it has not
	// committed and writes nothing any more.
	const ext4Shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	dir, err := os.Open(n.dir)
	if err != nil {
		return fmt.Errorf("%s: cut the power: %w", n.Name, err)
	}
	err = unix.IoctlSetPointerInt(int(dir.Fd()), ext4Shutdown, noLogFlush)
	if err := errors.Join(err, dir.Close()); err != nil {
		return fmt.Errorf("%s: cut the power: %w", n.Name, err)
	}
	if err := n.cluster.killStrays(ctx, n); err != nil {
		return err
	}
	err = WaitFor(ctx, time.Minute, n.Name+"'s disk to be free", func(context.Context) (bool, string) {
		err := unix.Unmount(n.dir, 0)
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return err
	}
	return n.mountDisk(ctx)
}

// dropDisk takes a disk of its own off, so that the lab can be removed.
func (n *Node) dropDisk() error {
	if !exists(n.image()) {
		return nil
	}
	err := unix.Unmount(n.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) { // EINVAL: nothing is mounted there
		return fmt.Errorf("unmount %s: %w", n.dir, err)
	}
	return nil
}
