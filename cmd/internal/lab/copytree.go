package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyTree copies a datadir at rest to dst, which must not exist, and gives
// it to mysqld's user. Extents are shared where the file system can.
func copyTree(src, dst string, id identity) error {
	return filepath.WalkDir(src, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the template: %w", err)
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return fmt.Errorf("read the template: %w", err)
		}
		to := filepath.Join(dst, rel)
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("read the template: %w", err)
		}
		switch {
		case entry.IsDir():
			return id.mkdirOwned(to, info.Mode().Perm())
		case entry.Type().IsRegular():
			return copyFile(path, to, info.Mode().Perm(), id)
		default:
			return nil // the link to an X plugin socket and the like
		}
	})
}

func copyFile(src, dst string, mode fs.FileMode, id identity) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("copy a file: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("copy a file: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("copy a file: %w", err)
		}
	}
	return id.own(dst)
}
