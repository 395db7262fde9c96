package private

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyTree copies the directory from to the new directory to, both inside
// area, and gives everything to prog's user. The kernel copies the bytes, and
// shares them where the file system can (copy_file_range). It follows no link
// and copies none: a datadir that was just initialised has none.
func copyTree(ctx context.Context, area *os.Root, from, to string, prog Program) error {
	if err := MakeDir(area, to, 0o750, prog); err != nil {
		return err
	}
	src, err := area.OpenFile(from, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
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
	src, info, err := openRegular(area, from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := area.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Chown(int(prog.UID), int(prog.GID)), dst.Chmod(info.Mode().Perm()), dst.Close())
}
