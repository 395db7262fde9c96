package datadir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// File is one file of a backup, by its path in it.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Keeping is a copy that is to be left as a backup: in Into/ID, with data/ and
// manifest.json.
type Keeping struct {
	Into     Ref // see BackupInto
	ID       string
	Copy     Ref      // in the staging area
	Leave    []string // patterns (path.Match) of files at its top that do not go with it
	Manifest func([]File) ([]byte, error)
	MinFree  func(total int64) int64 // bytes to keep free on a file system of that size
	At       func(point string)      // for crash tests
}

// BackupInto is the directory that a person names for backups: one of those
// allowed, or below one of them, that exists, wherever links lead. Nobody but
// its owner and its group may write to it.
func BackupInto(dir string, allowed []string) (Ref, error) {
	if err := checkPath(trimSlash(dir)); err != nil {
		return Ref{}, err
	}
	real, err := filepath.EvalSymlinks(trimSlash(dir))
	if err != nil {
		return Ref{}, err
	}
	inside := func(top string) bool {
		top, err := filepath.EvalSymlinks(top)
		return err == nil && (real == top || strings.HasPrefix(real, top+"/"))
	}
	if !slices.ContainsFunc(allowed, inside) {
		return Ref{}, fmt.Errorf("%s is in none of %s", dir, strings.Join(allowed, ", "))
	}
	f, err := openDir(real)
	if err != nil {
		return Ref{}, err
	}
	defer f.Close()
	st, err := statFile(f)
	if err != nil {
		return Ref{}, err
	}
	if st.Mode&0o002 != 0 {
		return Ref{}, fmt.Errorf("%s is writable by everybody", dir)
	}
	return Ref{Path: real, Dev: uint64(st.Dev), Ino: st.Ino}, nil
}

// Apart says that a directory for backups is neither in the datadir nor in the
// staging area.
func (p Place) Apart(into Ref) error {
	for _, mine := range []string{p.Live.Path, p.Root} {
		if into.Path == mine || strings.HasPrefix(into.Path, mine+"/") {
			return fmt.Errorf("%s is in %s", into.Path, mine)
		}
	}
	return nil
}

func unkept(id string) string { return ".resilver-" + id }

// Unkept is where Keep leaves what did not come to its end.
func Unkept(into Ref, id string) string { return filepath.Join(into.Path, unkept(id)) }

// Keep leaves the copy as a backup and returns its path. The name appears only
// when everything under it is written and synced; on the file system of the
// copy nothing is written twice. After an error DropUnkept removes what there
// is of it.
func (p Place) Keep(ctx context.Context, k Keeping) (string, error) {
	where, err := p.keep(ctx, k)
	if err != nil {
		return "", fmt.Errorf("keep the backup: %w", err)
	}
	return where, nil
}

func (p Place) keep(ctx context.Context, k Keeping) (string, error) {
	if !idPattern.MatchString(k.ID) {
		return "", fmt.Errorf("%q is not a rebuild id", k.ID)
	}
	if live, err := RefOf(p.Live.Path); err != nil || live.Same(k.Copy) || k.Copy.Path != p.Path(NameNew) {
		return "", errors.Join(fmt.Errorf("%s is not a staged copy", k.Copy.Path), err)
	}
	if err := p.Apart(k.Into); err != nil {
		return "", err
	}
	into, err := k.Into.open()
	if err != nil {
		return "", err
	}
	defer into.Close()
	if err := unix.Mkdirat(int(into.Fd()), unkept(k.ID), 0o700); err != nil {
		return "", &os.PathError{Op: "make directory", Path: filepath.Join(into.Name(), unkept(k.ID)), Err: err}
	}
	dir, err := openDirAt(into, unkept(k.ID))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	files, err := p.fill(ctx, k, dir)
	if err != nil {
		return "", err
	}
	manifest, err := k.Manifest(files)
	if err != nil {
		return "", err
	}
	if err := replaceFile(dir, "manifest.json", manifest, 0o600); err != nil {
		return "", err
	}
	k.At("keep.written")
	if err := unix.Renameat2(int(into.Fd()), unkept(k.ID), int(into.Fd()), k.ID, unix.RENAME_NOREPLACE); err != nil {
		return "", fmt.Errorf("name the backup: %w", err)
	}
	return filepath.Join(into.Name(), k.ID), into.Sync()
}

// fill brings the copy into dir as data: by its name where it is on the same
// file system, else byte by byte.
func (p Place) fill(ctx context.Context, k Keeping, dir *os.File) ([]File, error) {
	from, err := k.Copy.open()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if err := idle(from); err != nil {
		return nil, err
	}
	if err := leave(from, k.Leave); err != nil {
		return nil, err
	}
	area, err := openDir(filepath.Dir(k.Copy.Path))
	if err != nil {
		return nil, err
	}
	defer area.Close()
	t := taking{ctx: ctx, dev: k.Copy.Dev}
	err = unix.Renameat2(int(area.Fd()), filepath.Base(k.Copy.Path), int(dir.Fd()), "data", unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		if err := errors.Join(area.Sync(), dir.Sync()); err != nil {
			return nil, err
		}
		err = t.tree(from, nil, "")
		return t.files, err
	case !errors.Is(err, unix.EXDEV):
		return nil, fmt.Errorf("move the copy: %w", err)
	}
	if err := enough(area, k); err != nil {
		return nil, err
	}
	to, err := makeLike(from, dir, "data")
	if err != nil {
		return nil, err
	}
	defer to.Close()
	err = t.tree(from, to, "")
	return t.files, errors.Join(err, dir.Sync())
}

// leave removes the files that do not go with the copy.
func leave(dir *os.File, patterns []string) error {
	entries, err := names(dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		if !slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok }) {
			continue
		}
		err := unix.Unlinkat(int(dir.Fd()), name, 0)
		if err != nil && !errors.Is(err, unix.EISDIR) { // a schema of that name is data
			return &os.PathError{Op: "remove", Path: filepath.Join(dir.Name(), name), Err: err}
		}
	}
	return dir.Sync()
}

// enough says that the other file system has room for the copy.
func enough(area *os.File, k Keeping) error {
	need, err := sizeAt(area, filepath.Base(k.Copy.Path))
	if err != nil {
		return err
	}
	free, total, err := Free(k.Into.Path)
	if err != nil {
		return err
	}
	if keep := k.MinFree(int64(total)); int64(free) < need+keep {
		return fmt.Errorf("the file system of %s has %d bytes free, the copy has %d and %d must stay free (rebuild.min_free)", k.Into.Path, free, need, keep)
	}
	return nil
}

// DropUnkept removes what Keep has left that did not come to its end. Where
// another directory is at the path it fails with ErrOther, and touches nothing.
func DropUnkept(into Ref, id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("drop a backup: %q is not a rebuild id", id)
	}
	now, err := RefOf(into.Path)
	if err == nil && now.Ino != into.Ino {
		err = fmt.Errorf("%w: wanted %s, found %s", ErrOther, into, now)
	}
	var left Ref
	if err == nil {
		left, err = RefOf(filepath.Join(into.Path, unkept(id)))
	}
	if err != nil {
		if errors.Is(err, os.ErrNotExist) && now.Ino != 0 {
			return nil // kept, or never begun
		}
		return fmt.Errorf("drop a backup: %w", err)
	}
	if err := removeTree(left); err != nil {
		return fmt.Errorf("drop a backup: %w", err)
	}
	return nil
}
