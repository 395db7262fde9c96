package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CanPreserve looks for what Own would refuse of the files that preserve names,
// and changes nothing: a copy of hours must not end there. A failure is a
// *PlaceError that says how to mend it.
func CanPreserve(live Dir, preserve []string) error {
	dir, err := live.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	files, err := preserved(dir, preserve)
	if err != nil {
		return err
	}
	for _, name := range files {
		f, _, err := openPreserved(dir, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // its owner has just replaced it
		case err != nil:
			return &PlaceError{Reason: fmt.Sprintf("%v, and cannot be preserved: put a plain file there that the sidecar can read, or take its name out of rebuild.preserve", err)}
		default:
			_ = f.Close()
		}
	}
	return nil
}

// preserved are the names in dir that preserve means.
func preserved(dir *os.File, preserve []string) ([]string, error) {
	for _, pattern := range preserve {
		if _, err := path.Match(pattern, ""); err != nil || strings.ContainsRune(pattern, '/') {
			return nil, fmt.Errorf("preserve %q: it is not a pattern of file names", pattern)
		}
	}
	entries, err := names(dir)
	slices.Sort(entries)
	return slices.DeleteFunc(entries, func(name string) bool {
		return name == MarkerName || !slices.ContainsFunc(preserve, func(pattern string) bool {
			ok, _ := path.Match(pattern, name)
			return ok
		})
	}), err
}

// preserveFiles copies small files from the top of one directory to another.
func preserveFiles(from, to *os.File, preserve []string, label string) error {
	files, err := preserved(from, preserve)
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := preserveFile(from, to, name, label); err != nil {
			return fmt.Errorf("preserve %s: %w", name, err)
		}
	}
	return nil
}

func preserveFile(from, to *os.File, name, label string) error {
	f, st, err := openPreserved(from, name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := readLimited(f)
	if err != nil {
		return err
	}
	return replaceFileAs(to, name, data, st.Mode&0o777, &owning{uid: st.Uid, gid: st.Gid, label: label})
}

func openPreserved(dir *os.File, name string) (*os.File, unix.Stat_t, error) {
	f, st, err := openRegular(dir, name)
	if errors.Is(err, unix.ELOOP) {
		err = fmt.Errorf("%s is a symbolic link", filepath.Join(dir.Name(), name))
	}
	return f, st, err
}
