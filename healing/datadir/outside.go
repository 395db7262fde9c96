package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// NameOutside is the area in a directory outside the datadir. MySQL leaves a
// hidden directory alone where it looks for tablespaces.
const NameOutside = ".resilver"

// Outside is a directory elsewhere in which the server keeps some of its
// files, such as binary logs, redo or undo, maybe beside files of others. It
// is not exchanged as a whole: the server's own entries are moved one by one,
// between it, its area's new/ and its area's old/<rebuild id>/, all on one
// file system. The journal holds it, so that after a crash each entry is
// known by its inode.
type Outside struct {
	Dir   Ref      `json:"dir"`
	Own   []string `json:"own"`             // regular expressions for the names of the server's entries, a directory's with a slash
	Whole bool     `json:"whole,omitempty"` // it is the datadir itself, and all of its entries are the server's (see Whole)
	UID   uint32   `json:"uid"`             // whom its entries belong to
	GID   uint32   `json:"gid"`
	Label string   `json:"label"`
	// Scattered says that tablespaces at paths of their own lie here, or will:
	// Files are the names of the old ones, exactly.
	Scattered bool     `json:"scattered,omitempty"`
	Files     []string `json:"files,omitempty"`
	// From is the shelf that the new entries come from and go back to, where
	// they are those of a quarantined datadir; empty: the area's new/.
	From   string  `json:"from,omitempty"`
	Listed bool    `json:"listed"` // Old is complete, and entries may have been moved
	Old    []Entry `json:"old"`    // of the old data, as they were found once the server had ended
	New    []Entry `json:"new"`    // of the copy
}

// Entry is a file or directory in an Outside.
type Entry struct {
	Name string `json:"name"`
	Ino  uint64 `json:"ino"`
}

// FindOutside looks at a directory outside the datadir of p in which the
// entries that match own are the server's, and touches nothing. It fails with
// a *PlaceError where they could not be told or moved.
func FindOutside(p Place, path string, own []string) (Outside, error) {
	if len(own) == 0 {
		return Outside{}, fmt.Errorf("nothing in %s is the server's", path)
	}
	return findOutside(p, path, Outside{Own: own})
}

func findOutside(p Place, path string, o Outside) (Outside, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Outside{}, &PlaceError{Reason: err.Error()}
	}
	o.UID, o.GID = p.Live.UID, p.Live.GID
	if o.Dir, err = RefOf(real); err != nil {
		return Outside{}, &PlaceError{Reason: err.Error()}
	}
	if reason := misplaced(p, o.Dir); reason != "" {
		return Outside{}, &PlaceError{Reason: reason}
	}
	return o, o.inspect()
}

func (o *Outside) inspect() error {
	dir, err := o.Dir.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := o.check(dir); err != nil {
		return &PlaceError{Reason: err.Error()}
	}
	return nil
}

// misplaced says why a directory cannot be one of its own.
func misplaced(p Place, dir Ref) string {
	switch {
	case dir.Same(p.Live.Ref):
		return fmt.Sprintf("%s is the datadir %s under another name", dir.Path, p.Live.Path)
	case strings.HasPrefix(dir.Path, p.Live.Path+"/"):
		return fmt.Sprintf("%s is a directory inside the datadir, which a copy does not have", dir.Path)
	case dir.Path == p.Root || strings.HasPrefix(dir.Path, p.Root+"/"):
		return fmt.Sprintf("%s is in the staging area %s", dir.Path, p.Root)
	case strings.Contains(dir.Path+"/", "/"+NameOutside+"/"):
		return fmt.Sprintf("%s is in an area of resilver's own", dir.Path)
	}
	return ""
}

// check looks whether the server's entries can be moved to the area and back,
// and learns whom they belong to.
func (o *Outside) check(dir *os.File) error {
	st, err := statFile(dir)
	if err != nil {
		return err
	}
	if st.Mode&0o002 != 0 {
		return fmt.Errorf("%s is writable by everybody", o.Dir.Path)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, procPath(dir), unix.W_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("no right to write to %s", o.Dir.Path)
	}
	if o.Label, err = labelOf(dir); err != nil {
		return err
	}
	if st, err := statAt(dir, NameOutside); err == nil {
		if err := o.trusted(filepath.Join(o.Dir.Path, NameOutside), &st); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if o.Whole { // its entries are its owner's
		return nil
	}
	entries, err := o.owned(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	return o.learn(dir, entries[0].Name)
}

// learn takes owner and label of an entry for those of all.
func (o *Outside) learn(dir *os.File, name string) error {
	f, err := openAt(dir, name, unix.O_PATH, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a live server: entries come and go
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := statFile(f)
	if err != nil {
		return err
	}
	o.UID, o.GID = st.Uid, st.Gid
	label, err := labelOf(f)
	if label != "" {
		o.Label = label
	}
	return err
}

// trusted wants a directory of the area's that nobody else could have put
// something into.
func (o *Outside) trusted(path string, st *unix.Stat_t) error {
	switch {
	case !isDir(st):
		return fmt.Errorf("%s is in the way and is no directory", path)
	case uint64(st.Dev) != o.Dir.Dev:
		return fmt.Errorf("%s is on another file system than %s", path, o.Dir.Path)
	case st.Uid != 0 && st.Uid != o.UID && st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s belongs to user %d", path, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s is writable by others", path)
	}
	return nil
}

// owned lists the entries of dir that are the server's. One that is neither a
// file nor a directory of the same file system cannot be moved with the rest.
func (o *Outside) owned(dir *os.File) ([]Entry, error) {
	match, err := o.matcher()
	if err != nil {
		return nil, err
	}
	all, err := names(dir)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, name := range all {
		file, directory := match(name), match(name+"/")
		if !file && !directory {
			continue
		}
		st, err := statAt(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch path := filepath.Join(dir.Name(), name); {
		case isDir(&st) && !directory, isRegular(&st) && !file:
			continue // a schema may have the name of a file of InnoDB's
		case isLink(&st) && !o.Whole:
			return nil, fmt.Errorf("%s is a symbolic link", path)
		case !isDir(&st) && !isRegular(&st) && !o.Whole:
			return nil, fmt.Errorf("%s is neither a file nor a directory", path)
		case uint64(st.Dev) != o.Dir.Dev:
			return nil, fmt.Errorf("%s is on another file system than %s", path, o.Dir.Path)
		}
		out = append(out, Entry{Name: name, Ino: st.Ino})
	}
	return out, nil
}

// matcher matches the name of an entry of the server's. No name of the area's
// can be one.
func (o *Outside) matcher() (func(name string) bool, error) {
	if o.Whole {
		return inDatadir, nil
	}
	match, err := regexp.Compile("^(?:" + strings.Join(append(slices.Clone(o.Own), quoted(o.Files)...), "|") + ")$")
	if err != nil {
		return nil, err
	}
	if match.MatchString(NameOutside) || match.MatchString(NameOutside+"/") {
		return nil, fmt.Errorf("%s is taken for the server's", NameOutside)
	}
	return match.MatchString, nil
}

// quoted are regular expressions for names.
func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = regexp.QuoteMeta(name)
	}
	return out
}
