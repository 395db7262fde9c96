package datadir

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ProveExchange exchanges two empty directories between the datadir's parent
// and the area, and back: what works for them works for the datadir. Before
// the area exists, its parent stands for it. A failure is a *PlaceError.
func (p Place) ProveExchange() error {
	area := p.Root
	if _, err := RefOf(area); errors.Is(err, fs.ErrNotExist) {
		area = filepath.Dir(area)
	}
	if err := proveExchange(filepath.Dir(p.Live.Path), area); err != nil {
		return &PlaceError{Reason: err.Error()}
	}
	return nil
}

func proveExchange(parentA, parentB string) error {
	tag := rand.Text()
	a, removeA, err := probeDir(parentA, ".resilver-probe-a-"+tag)
	if err != nil {
		return err
	}
	defer removeA()
	b, removeB, err := probeDir(parentB, ".resilver-probe-b-"+tag)
	if err != nil {
		return err
	}
	defer removeB()
	if _, err := Exchange(a, b); err != nil {
		return err
	}
	_, err = Exchange(Undo(a, b))
	return err
}

// probeDir makes an empty directory. The remover takes only an empty one.
func probeDir(parentPath, name string) (Ref, func(), error) {
	parent, err := openDir(parentPath)
	if err != nil {
		return Ref{}, nil, err
	}
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil {
		_ = parent.Close()
		return Ref{}, nil, &os.PathError{Op: "make directory", Path: filepath.Join(parentPath, name), Err: err}
	}
	remove := func() {
		_ = unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR)
		_ = parent.Close()
	}
	ref, err := refAt(parent, name)
	if err != nil {
		remove()
		return Ref{}, nil, err
	}
	return ref, remove, nil
}
