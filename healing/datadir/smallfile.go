package datadir

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxSmall bounds the files that are copied or read whole: certificates,
// settings, labels.
const maxSmall = 1 << 20

// openRegular opens a regular file for reading; it follows no link, and waits
// for no writer of a pipe.
func openRegular(dir *os.File, name string) (*os.File, unix.Stat_t, error) {
	f, err := openAt(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, unix.Stat_t{}, err
	}
	st, err := statFile(f)
	if err == nil && !isRegular(&st) {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err == nil && st.Size > maxSmall {
		err = fmt.Errorf("%s has %d bytes, more than the %d that a small file may have", f.Name(), st.Size, maxSmall)
	}
	if err != nil {
		_ = f.Close()
		return nil, unix.Stat_t{}, err
	}
	return f, st, nil
}

func readSmall(dir *os.File, name string) ([]byte, error) {
	f, _, err := openRegular(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f)
}

func readLimited(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(data) > maxSmall {
		err = fmt.Errorf("%s grew while it was read", f.Name())
	}
	return data, err
}

// replaceFile writes name in dir atomically and syncs it and dir.
func replaceFile(dir *os.File, name string, data []byte, mode uint32) error {
	return replaceFileAs(dir, name, data, mode, nil)
}

// replaceFileAs also hands the file to its owner before it gets its mode.
func replaceFileAs(dir *os.File, name string, data []byte, mode uint32, own *owning) (err error) {
	tmp := ".resilver-" + rand.Text()
	f, err := openAt(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = unix.Unlinkat(int(dir.Fd()), tmp, 0)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if own != nil {
		if err := own.give(f); err != nil {
			return err
		}
	}
	if err := f.Chmod(os.FileMode(mode)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Renameat(int(dir.Fd()), tmp, int(dir.Fd()), name); err != nil {
		return fmt.Errorf("rename %s to %s in %s: %w", tmp, name, dir.Name(), err)
	}
	return dir.Sync()
}
