package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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

// SyncFiles writes the regular files at the top of dir that the pattern
// matches, and dir itself, to disk, for a server that never does so itself.
// What is no small regular file is left alone, and said.
func SyncFiles(dir, pattern string) error {
	d, err := openDir(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", pattern, err)
	}
	defer d.Close()
	entries, err := names(d)
	if err != nil {
		return fmt.Errorf("sync %s: %w", pattern, err)
	}
	var errs []error
	for _, name := range entries {
		if ok, err := filepath.Match(pattern, name); !ok || err != nil {
			continue
		}
		f, _, err := openRegular(d, name)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("sync %s: %w", name, err))
		}
	}
	return errors.Join(append(errs, d.Sync())...)
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
