package private

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// copyTree copies the directory from to the new directory to, both inside
// area, and gives everything to prog's user. The kernel copies the bytes, and
// shares them where the file system can (copy_file_range). It follows no link
// and copies none: a datadir that was just initialised has none.
func copyTree(ctx context.Context, area *os.Root, from, to string, prog Program) error {
	if err := area.Mkdir(to, 0o700); err != nil {
		return err
	}
	dir, err := area.Open(to)
	if err != nil {
		return err
	}
	err = errors.Join(dir.Chown(int(prog.UID), int(prog.GID)), dir.Chmod(0o750), dir.Close())
	if err != nil {
		return err
	}
	src, err := area.Open(from)
	if err != nil {
		return err
	}
	entries, err := src.ReadDir(-1)
	if err := errors.Join(err, src.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		a, b := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.IsDir():
			err = copyTree(ctx, area, a, b, prog)
		case e.Type().IsRegular():
			err = copyFile(area, a, b, prog)
		default:
			err = fmt.Errorf("%s is neither a file nor a directory", a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(area *os.Root, from, to string, prog Program) error {
	src, err := area.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "copy", Path: from, Err: fs.ErrInvalid}
	}
	dst, err := area.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Chown(int(prog.UID), int(prog.GID)), dst.Chmod(info.Mode().Perm()), dst.Close())
}
