package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// The directories of the staging area. Templates are named template-<version>.
const (
	NameNew      = "new"      // the staged copy, and after the exchange the old datadir
	NameScratch  = "scratch"  // the scratch server's datadir
	NameRehearse = "rehearse" // sockets, logs and temporary files of the private servers
	NameOld      = "old"      // quarantine
)

// Place is the live datadir together with the staging area beside it.
type Place struct {
	Live Dir
	Root string // the staging area: the datadir's path with .resilver added, or as configured; see PlaceInside
}

// PlaceInside is the place of a datadir that is a mount point: nothing else is
// on its mount, so that the area lies in it, and what is exchanged are its
// entries (Whole). MySQL leaves a hidden directory alone.
func PlaceInside(live Dir) Place {
	return Place{Live: live, Root: filepath.Join(live.Path, NameOutside)}
}

// Inside says that it is such a place.
func (p Place) Inside() bool { return p.Root == filepath.Join(p.Live.Path, NameOutside) }

// PlaceError says why a datadir cannot be rebuilt where it is; it is what
// guard staging-place shows.
type PlaceError struct{ Reason string }

func (e *PlaceError) Error() string { return "staging place: " + e.Reason }

// PlaceFor lays out the staging area of a datadir and touches nothing. An
// empty stagingDir means beside the datadir. It fails with a *PlaceError where
// the live datadir could not be exchanged with a directory of the area.
func PlaceFor(datadir, stagingDir string) (Place, error) {
	live, err := Inspect(datadir)
	if err != nil {
		return Place{}, err
	}
	if reason := notFlat(live); reason != "" {
		return Place{}, &PlaceError{Reason: reason}
	}
	if live.MountPoint {
		return placeOnMount(live, stagingDir)
	}
	root := live.Path + ".resilver"
	if stagingDir != "" {
		if root, err = realParent(trimSlash(stagingDir)); err != nil {
			return Place{}, &PlaceError{Reason: err.Error()}
		}
	}
	if root == live.Path || strings.HasPrefix(root, live.Path+"/") {
		return Place{}, &PlaceError{Reason: fmt.Sprintf("%s is inside the datadir %s", root, live.Path)}
	}
	if strings.HasPrefix(live.Path, root+"/") {
		return Place{}, &PlaceError{Reason: fmt.Sprintf("the datadir %s is inside %s", live.Path, root)}
	}
	p := Place{Live: live, Root: root}
	if err := p.checkRoot(); err != nil {
		return Place{}, &PlaceError{Reason: err.Error()}
	}
	return p, nil
}

// placeOnMount checks the one place that a datadir which is a mount point has.
func placeOnMount(live Dir, stagingDir string) (Place, error) {
	p := PlaceInside(live)
	if stagingDir != "" {
		if root, err := realParent(trimSlash(stagingDir)); err != nil || root != p.Root {
			return Place{}, &PlaceError{Reason: fmt.Sprintf("the datadir %s is a mount point, which only an area inside it can be exchanged with: leave rebuild.staging_dir empty", live.Path)}
		}
	}
	if _, err := Whole(p); err != nil {
		return Place{}, err
	}
	if err := p.checkRoot(); err != nil {
		return Place{}, &PlaceError{Reason: err.Error()}
	}
	return p, nil
}

func notFlat(d Dir) string {
	switch {
	case len(d.Mounts) > 0:
		return fmt.Sprintf("a file system is mounted inside the datadir, at %s", d.Mounts[0])
	case len(d.LinkedDirs) > 0:
		return fmt.Sprintf("%s in the datadir %s is a symbolic link to a directory elsewhere", d.LinkedDirs[0], d.Path)
	case !d.ParentWritable && !d.MountPoint:
		return fmt.Sprintf("no right to write to %s, the datadir's parent", filepath.Dir(d.Path))
	}
	return ""
}

// realParent resolves the links of all components but the last.
func realParent(path string) (string, error) {
	if err := checkPath(path); err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}

// checkRoot checks the area, or the directory it would be made in: same file
// system, and no other user who could put something there.
func (p Place) checkRoot() error {
	parent, err := openDir(filepath.Dir(p.Root))
	if err != nil {
		return err
	}
	defer parent.Close()
	st, err := statAt(parent, filepath.Base(p.Root))
	if errors.Is(err, fs.ErrNotExist) {
		if st, err = statFile(parent); err != nil {
			return err
		}
		return p.sameDevice(&st)
	}
	if err != nil {
		return err
	}
	switch {
	case !isDir(&st):
		return fmt.Errorf("%s is not a directory", p.Root)
	case st.Uid != 0 && st.Uid != p.Live.UID && st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s belongs to user %d, not to the datadir's owner %d", p.Root, st.Uid, p.Live.UID)
	case st.Mode&0o002 != 0:
		return fmt.Errorf("%s is writable by everybody", p.Root)
	}
	return p.sameDevice(&st)
}

func (p Place) sameDevice(st *unix.Stat_t) error {
	if uint64(st.Dev) != p.Live.Dev {
		return fmt.Errorf("%s is on another file system than the datadir %s", p.Root, p.Live.Path)
	}
	return nil
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// known says whether name is one that the area may hold: one of the names
// above but old itself, template-<version>, or old/<rebuild id>.
func known(name string) bool {
	switch name {
	case NameNew, NameScratch, NameRehearse, NameGoing:
		return true
	}
	if v, ok := strings.CutPrefix(name, "template-"); ok {
		return idPattern.MatchString(v)
	}
	if id, ok := strings.CutPrefix(name, NameOld+"/"); ok {
		return idPattern.MatchString(id)
	}
	return false
}

// Path is where name is in the staging area.
func (p Place) Path(name string) string { return filepath.Join(p.Root, name) }
