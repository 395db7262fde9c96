package datadir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ProveExchange exchanges two empty directories between the datadir's parent
// and the area, and back: what works for them works for the datadir. Before
// the area exists, its parent stands for it. Where the area lies in the
// datadir, a file is moved to it and back. A failure is a *PlaceError.
func (p Place) ProveExchange() error {
	if p.Inside() {
		if err := p.proveInside(); err != nil {
			return &PlaceError{Reason: err.Error()}
		}
		return nil
	}
	area := p.Root
	if _, err := RefOf(area); errors.Is(err, fs.ErrNotExist) {
		area = filepath.Dir(area)
	}
	if err := proveExchange(filepath.Dir(p.Live.Path), area); err != nil {
		return &PlaceError{Reason: err.Error()}
	}
	return nil
}

func (p Place) proveInside() error {
	dir, err := p.Live.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	area, err := openDirAt(dir, NameOutside)
	if errors.Is(err, fs.ErrNotExist) {
		return proveMove(dir, nil)
	}
	if err != nil {
		return err
	}
	defer area.Close()
	return proveMove(dir, area)
}

// proveMove makes a file in a directory, moves it to the area and back, where
// there is one yet, and removes it. A server sees no schema in a file.
func proveMove(dir, area *os.File) error {
	probe := ".resilver-probe-" + rand.Text()
	f, err := openAt(dir, probe, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_ = f.Close()
	defer func() { _ = unix.Unlinkat(int(dir.Fd()), probe, 0) }()
	if area == nil {
		return nil
	}
	defer func() { _ = unix.Unlinkat(int(area.Fd()), probe, 0) }()
	if err := move(dir, area, probe); err != nil {
		return err
	}
	return move(area, dir, probe)
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

// ProveMode gives an empty directory beside the datadir the owner and mode of
// the datadir, where that mode is more than permissions: a process without
// CAP_FSETID, or in systemd's RestrictSUIDSGID=, cannot make a set-group-ID
// directory, and should know that before it has copied anything. A failure is
// a *PlaceError.
func (p Place) ProveMode() error {
	if p.Live.Mode&^0o777 == 0 || p.Inside() { // a mount point keeps its own
		return nil
	}
	if err := p.proveMode(); err != nil {
		return &PlaceError{Reason: fmt.Sprintf("the datadir's mode, %04o, cannot be given to a copy (%v): chmod it to %04o, or let the sidecar set such modes (RestrictSUIDSGID=, CAP_FSETID)",
			p.Live.Mode, err, p.Live.Mode&0o777)}
	}
	return nil
}

func (p Place) proveMode() error {
	ref, remove, err := probeDir(filepath.Dir(p.Live.Path), ".resilver-probe-m-"+rand.Text())
	if err != nil {
		return err
	}
	defer remove()
	dir, err := ref.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := (owning{uid: p.Live.UID, gid: p.Live.GID, label: p.Live.Label}).give(dir); err != nil {
		return err
	}
	if err := unix.Fchmod(int(dir.Fd()), p.Live.Mode); err != nil {
		return err
	}
	st, err := statFile(dir)
	if err == nil && st.Mode&0o7777 != p.Live.Mode {
		err = fmt.Errorf("it becomes %04o", st.Mode&0o7777)
	}
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
