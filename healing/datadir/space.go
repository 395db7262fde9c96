package datadir

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Sync writes everything of the file system that holds dir to disk, and dir
// itself: files that were received but never synced are lost with the power
// after the exchange.
func Sync(dir string) error {
	d, err := openDir(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync the file system of %s: %w", dir, err)
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// Free returns the bytes that an ordinary user can still write to the file
// system that holds path, and its size in bytes.
func Free(path string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("read free space: %w", &os.PathError{Op: "statfs", Path: path, Err: err})
	}
	unit := uint64(st.Frsize)
	return st.Bavail * unit, st.Blocks * unit, nil
}
