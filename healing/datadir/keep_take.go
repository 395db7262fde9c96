package datadir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// makeLike makes the directory name in to, with the owner and mode of like.
func makeLike(like, to *os.File, name string) (*os.File, error) {
	st, err := statFile(like)
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return nil, &os.PathError{Op: "make directory", Path: filepath.Join(to.Name(), name), Err: err}
	}
	dir, err := openDirAt(to, name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join((owning{uid: st.Uid, gid: st.Gid}).give(dir), dir.Chmod(os.FileMode(st.Mode&0o777))); err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// taking reads a copy file by file, and writes another one where it is told
// to.
type taking struct {
	ctx   context.Context
	dev   uint64
	files []File
}

// tree takes what is in from, to to where that is not nil.
func (t *taking) tree(from, to *os.File, prefix string) error {
	entries, err := names(from)
	if err != nil {
		return err
	}
	slices.Sort(entries)
	for _, name := range entries {
		if err := t.entry(from, to, name, prefix+name); err != nil {
			return err
		}
	}
	if to == nil {
		return from.Sync()
	}
	return to.Sync()
}

func (t *taking) entry(from, to *os.File, name, full string) error {
	f, err := openAt(from, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := statFile(f)
	switch {
	case err != nil:
		return err
	case uint64(st.Dev) != t.dev:
		return fmt.Errorf("%s is on another file system", f.Name())
	case isRegular(&st):
		return t.file(f, &st, to, name, full)
	case !isDir(&st):
		return fmt.Errorf("%s is neither a file nor a directory", f.Name())
	}
	sub := to
	if to != nil {
		if sub, err = makeLike(f, to, name); err != nil {
			return err
		}
		defer sub.Close()
	}
	return t.tree(f, sub, full+"/")
}

func (t *taking) file(f *os.File, st *unix.Stat_t, to *os.File, name, full string) error {
	sum := sha256.New()
	var n int64
	var err error
	if to == nil {
		n, err = io.Copy(sum, t.reader(f))
	} else {
		n, err = t.copy(f, st, to, name, sum)
	}
	if err != nil {
		return err
	}
	t.files = append(t.files, File{Path: full, Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))})
	return nil
}

func (t *taking) copy(f *os.File, st *unix.Stat_t, to *os.File, name string, sum hash.Hash) (int64, error) {
	out, err := openAt(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.MultiWriter(out, sum), t.reader(f))
	if err == nil {
		err = errors.Join((owning{uid: st.Uid, gid: st.Gid}).give(out), out.Chmod(os.FileMode(st.Mode&0o777)), out.Sync())
	}
	return n, errors.Join(err, out.Close())
}

// reader reads f until the context ends.
func (t *taking) reader(f *os.File) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		if err := context.Cause(t.ctx); err != nil {
			return 0, err
		}
		return f.Read(b)
	})
}

type readerFunc func([]byte) (int, error)

func (r readerFunc) Read(b []byte) (int, error) { return r(b) }
