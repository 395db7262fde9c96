package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// NameGoing is where the husk is made before a wipe, and where the data lie
// after it until they are removed.
const NameGoing = "going"

// huskText is the whole system tablespace of a husk. InnoDB makes no new one
// where there is one, and refuses a file of that size, or with no redo log: a
// server that is started past every guard does not come up empty (tried on 9.7.4
// and 10.11.18).
const huskText = "resilver: there are no data here, see " + MarkerName + "\n"

// A husk stands in the place of a datadir that was wiped: the marker, the files
// of preserve, a directory mysql, by which scripts that make a new datadir where
// there is none are kept from it, and a system tablespace that is none. It has
// the owner and mode of what it replaces, and nothing that cannot be spared.

// Husk makes a husk for the live datadir at going, and syncs it. reason is
// what the marker says. What is at going already is an error.
func (p Place) Husk(reason string, preserve []string) (Ref, error) {
	ref, err := p.husk(reason, preserve, func(string) {})
	if err != nil {
		return Ref{}, fmt.Errorf("make what stands in for the datadir: %w", err)
	}
	return ref, nil
}

func (p Place) husk(reason string, preserve []string, at func(point string)) (Ref, error) {
	if p.Inside() {
		return Ref{}, &PlaceError{Reason: "a datadir that is a mount point cannot be wiped at once"}
	}
	from, err := p.Live.open()
	if err != nil {
		return Ref{}, err
	}
	defer from.Close()
	ref, err := p.make(p.Path(NameGoing), 0o700)
	if err != nil {
		return Ref{}, err
	}
	at("made")
	dir, err := ref.open()
	if err != nil {
		return Ref{}, err
	}
	defer dir.Close()
	own := owning{uid: p.Live.UID, gid: p.Live.GID, label: p.Live.Label}
	if err := replaceFileAs(dir, SystemTablespace, []byte(huskText), 0o640, &own); err != nil {
		return Ref{}, err
	}
	at("told")
	if err := own.directory(dir, "mysql"); err != nil {
		return Ref{}, err
	}
	if err := mark(ref.Path, reason); err != nil {
		return Ref{}, err
	}
	at("marked")
	if err := preserveFiles(from, dir, preserve, p.Live.Label); err != nil {
		return Ref{}, err
	}
	at("preserved")
	if err := unix.Fchmod(int(dir.Fd()), p.Live.Mode&0o7777); err != nil {
		return Ref{}, err
	}
	if err := dir.Sync(); err != nil {
		return Ref{}, err
	}
	at("synced")
	return ref, nil
}

// directory makes an empty directory in dir.
func (o owning) directory(dir *os.File, name string) error {
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o750); err != nil {
		return &os.PathError{Op: "make directory", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	sub, err := openDirAt(dir, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return errors.Join(o.give(sub), sub.Sync())
}

// IsHusk says that this very directory is a husk: it has no data. It goes by
// the system tablespace, which is another in every datadir that a server has
// ever run on.
func IsHusk(ref Ref) (bool, error) {
	dir, err := ref.open()
	if err != nil {
		return false, fmt.Errorf("look for data: %w", err)
	}
	defer dir.Close()
	st, err := statAt(dir, SystemTablespace)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!isRegular(&st) || st.Size != int64(len(huskText))) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for data: %w", err)
	}
	text, err := readSmall(dir, SystemTablespace)
	if err != nil {
		return false, fmt.Errorf("look for data: %w", err)
	}
	return string(text) == huskText, nil
}

// Wipe puts the husk into the place of the live datadir, which is at going
// then, by one atomic exchange. It is idempotent, told by inode.
func Wipe(live, husk Ref) (State, error) {
	is, err := IsHusk(husk)
	if errors.Is(err, ErrOther) { // exchanged already, or it is no matter of ours
		is, err = IsHusk(Ref{Path: live.Path, Dev: husk.Dev, Ino: husk.Ino})
	}
	if err == nil && !is {
		err = fmt.Errorf("%s is none", husk)
	}
	if err != nil {
		return StateUnknown, fmt.Errorf("exchange the datadir for its husk: %w", err)
	}
	return Exchange(live, husk)
}

// DropHusk removes a husk that is not in the live datadir's place, also one
// whose making was interrupted; none is fine, and anything else stays, as an
// error.
func (p Place) DropHusk() error {
	ref, err := p.Find(NameGoing)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	is, err := IsHusk(ref)
	if err == nil && !is {
		is, err = barelyBegun(ref)
	}
	if err == nil && !is {
		err = fmt.Errorf("%s is no husk of resilver's: look at it, and remove it by hand", ref.Path)
	}
	if err != nil {
		return err
	}
	return p.Discard(ref)
}

// barelyBegun says that a directory has nothing but the first file of a husk,
// half written.
func barelyBegun(ref Ref) (bool, error) {
	dir, err := ref.open()
	if err != nil {
		return false, err
	}
	defer dir.Close()
	entries, err := names(dir)
	return !slices.ContainsFunc(entries, func(name string) bool { return !strings.HasPrefix(name, ".resilver-") }), err
}

// Bytes is what a directory takes on its file system, without what is mounted
// in it or has another name elsewhere: so much is free once it is removed.
func Bytes(ref Ref) (int64, error) {
	dir, err := ref.open()
	if err != nil {
		return 0, fmt.Errorf("measure the datadir: %w", err)
	}
	_ = dir.Close()
	var sum int64
	err = filepath.WalkDir(ref.Path, func(path string, e fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // it is in use
			return nil
		case err != nil:
			return err
		case uint64(st.Dev) != ref.Dev && e.IsDir():
			return fs.SkipDir
		case isRegular(&st) && st.Nlink == 1:
			sum += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure the datadir: %w", err)
	}
	return sum, nil
}
