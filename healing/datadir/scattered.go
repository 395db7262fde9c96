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

// FindScattered looks at the directories of tablespaces at paths of their own:
// own are the live server's, wanted those that a copy will put at the very
// same paths. It touches nothing. A directory that only wanted needs may be
// missing, and is left out then; see MakeScattered. It fails with a
// *PlaceError where they could not be told or moved, and where a file that is
// not the server's is where the copy's must go.
func FindScattered(p Place, own, wanted []string) ([]Outside, error) {
	var out []Outside
	for _, path := range slices.Concat(own, wanted) {
		at, err := locate(path)
		if err != nil {
			return nil, err
		}
		if reason := above(p, at.dir); reason != "" {
			return nil, &PlaceError{Reason: reason}
		}
		if !at.there || slices.ContainsFunc(out, at.in) {
			continue
		}
		o, err := findOutside(p, at.dir, Outside{Scattered: true})
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	for _, path := range wanted {
		parent, err := makeable(p, path)
		if err != nil {
			return nil, err
		}
		if parent != nil {
			_ = parent.Close()
		}
	}
	if err := Claim(out, own, wanted); err != nil {
		return nil, err
	}
	for i := range out {
		if err := out[i].inspect(); err != nil { // once more: now its files are known
			return nil, err
		}
	}
	return out, nil
}

// Claim notes which files in the directories are tablespaces of the live
// server's, and none else, and fails with a *PlaceError where one of them is
// in no directory that is known, or where another's file is where one of the
// copy's must go.
func Claim(all []Outside, own, wanted []string) error {
	for i := range all {
		all[i].Files = nil
	}
	for _, path := range own {
		at, err := locate(path)
		if err != nil {
			return err
		}
		if !at.there {
			return &PlaceError{Reason: fmt.Sprintf("the directory of this server's tablespace %s is not there: is it mounted?", path)}
		}
		i := slices.IndexFunc(all, at.in)
		if i < 0 {
			return &PlaceError{Reason: fmt.Sprintf("tablespace %s has appeared in a directory of its own", path)}
		}
		if !slices.Contains(all[i].Files, at.name) {
			all[i].Files = append(all[i].Files, at.name)
		}
	}
	for _, path := range wanted {
		at, err := locate(path)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, at.in)
		if i >= 0 && slices.Contains(all[i].Files, at.name) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(at.dir, at.name)); !errors.Is(err, fs.ErrNotExist) {
			return &PlaceError{Reason: fmt.Sprintf("%s is in the way: it is no tablespace of this server's, and the donor has one of that path", path)}
		}
	}
	return nil
}

// MakeScattered makes the directories that the wanted tablespaces lack, for
// the server's user.
func MakeScattered(p Place, wanted []string) error {
	for _, path := range wanted {
		parent, err := makeable(p, path)
		if err != nil {
			return err
		}
		if parent == nil {
			continue
		}
		err = makeDir(parent, filepath.Base(filepath.Dir(path)), owning{uid: p.Live.UID, gid: p.Live.GID, label: p.Live.Label})
		if err = errors.Join(err, parent.Close()); err != nil {
			return fmt.Errorf("make the directory of tablespace %s: %w", path, err)
		}
	}
	return nil
}

// schemaMode is that of a schema's directory that MySQL makes.
const schemaMode = 0o750

func makeDir(parent *os.File, name string, owner owning) error {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil {
		return err
	}
	dir, err := openDirAt(parent, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return errors.Join(owner.give(dir), dir.Chmod(schemaMode), dir.Sync(), parent.Sync())
}

// located is a tablespace's file: links in the path of its directory are
// resolved.
type located struct {
	dir, name string
	there     bool // its directory
}

func (l located) in(o Outside) bool { return o.Scattered && o.Dir.Path == l.dir }

// locate wants a path that a tablespace can have: undo has names of other
// kinds, and a relative path is another one in the copy.
func locate(path string) (located, error) {
	if checkPath(path) != nil || !strings.HasSuffix(path, ".ibd") {
		return located{}, &PlaceError{Reason: fmt.Sprintf("tablespace or table %s is at a path of its own where nothing can be exchanged: only InnoDB's .ibd files at absolute paths can", path)}
	}
	dir, name := filepath.Split(path)
	real, err := filepath.EvalSymlinks(filepath.Clean(dir))
	if err == nil {
		return located{dir: real, name: name, there: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return located{}, &PlaceError{Reason: err.Error()}
	}
	return located{dir: filepath.Clean(dir), name: name}, nil
}

// makeable says whether the directory of a tablespace is there, or could be
// made: then its parent is returned, opened.
func makeable(p Place, path string) (*os.File, error) {
	at, err := locate(path)
	if err != nil || at.there {
		return nil, err
	}
	refuse := func(why string) (*os.File, error) {
		return nil, &PlaceError{Reason: fmt.Sprintf("the directory of tablespace %s cannot be made here: %s", path, why)}
	}
	parent, err := openReal(filepath.Dir(at.dir))
	if err != nil {
		return refuse(err.Error())
	}
	why := misplaced(p, Ref{Path: filepath.Join(parent.Name(), filepath.Base(at.dir))})
	st, err := statFile(parent)
	switch {
	case err != nil:
	case why != "":
		err = errors.New(why)
	case st.Mode&0o002 != 0:
		err = fmt.Errorf("%s is writable by everybody", parent.Name())
	default:
		err = unix.Faccessat(unix.AT_FDCWD, procPath(parent), unix.W_OK, unix.AT_EACCESS)
	}
	if err != nil {
		_ = parent.Close()
		return refuse(err.Error())
	}
	return parent, nil
}

// above says why a directory cannot be covered for a private server.
func above(p Place, dir string) string {
	if strings.HasPrefix(p.Live.Path, dir+"/") || strings.HasPrefix(p.Root+"/", dir+"/") {
		return fmt.Sprintf("%s holds tablespaces, and the datadir %s lies in it", dir, p.Live.Path)
	}
	return ""
}
