package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// archiveSuffix names, after the rebuild's id, the directory beside an old
// datadir with what existed only there, in a form that can be replayed. It
// lives exactly as long as that datadir.
const archiveSuffix = ".archive"

// Archive is such a directory.
type Archive struct {
	Ref Ref
	p   Place
}

// Archive makes the archive of a rebuild, or opens the one that it made.
func (p Place) Archive(id string) (Archive, error) {
	ref, err := p.ensure(p.Path(archiveName(id)), 0o750)
	if err != nil {
		return Archive{}, fmt.Errorf("make the archive: %w", err)
	}
	return Archive{ref, p}, nil
}

func archiveName(id string) string { return filepath.Join(NameOld, id+archiveSuffix) }

// Create writes a new file of the archive, for the datadir's owner alone, and
// syncs it.
func (a Archive) Create(name string, write func(*os.File) error) error {
	if err := a.create(name, write); err != nil {
		return fmt.Errorf("write %s into the archive: %w", name, err)
	}
	return nil
}

func (a Archive) create(name string, write func(*os.File) error) (err error) {
	dir, err := a.Ref.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := openAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(f); err != nil {
		return err
	}
	own := owning{uid: a.p.Live.UID, gid: a.p.Live.GID, label: a.p.Live.Label}
	if err := own.give(f); err != nil {
		return err
	}
	return errors.Join(f.Sync(), dir.Sync())
}

// Replace writes a small file of the archive anew, atomically.
func (a Archive) Replace(name string, data []byte) error {
	dir, err := a.Ref.open()
	if err != nil {
		return fmt.Errorf("write %s into the archive: %w", name, err)
	}
	defer dir.Close()
	own := owning{uid: a.p.Live.UID, gid: a.p.Live.GID, label: a.p.Live.Label}
	if err := replaceFileAs(dir, name, data, 0o600, &own); err != nil {
		return fmt.Errorf("write %s into the archive: %w", name, err)
	}
	return nil
}

// DiscardArchive removes the archive of a rebuild that left the datadir in its
// place; none there is fine.
func (p Place) DiscardArchive(id string) error {
	ref, err := p.Find(archiveName(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("discard the archive: %w", err)
	}
	return p.Discard(ref)
}

// archiveOf is the archive that belongs to an old datadir, nil where there is
// none.
func archiveOf(shelf *os.File, id string) (*Ref, error) {
	ref, err := refAt(shelf, id+archiveSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	return &ref, nil
}
