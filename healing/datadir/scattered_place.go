package datadir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Cover is the area's new/ of a directory of tablespaces: where a private
// server must find, and put, what is meant for the directory.
func (o *Outside) Cover() string { return filepath.Join(o.Dir.Path, NameOutside, NameNew) }

// FilesIn are the names of those tablespaces that lie in the directory.
func (o *Outside) FilesIn(tablespaces []string) ([]string, error) {
	var out []string
	for _, path := range tablespaces {
		at, err := locate(path)
		if err != nil {
			return nil, err
		}
		if at.in(*o) {
			out = append(out, at.name)
		}
	}
	return out, nil
}

// Adopt takes the tablespaces that a private server has put into the area's
// new/ for the copy's. Nothing else may be there, but for empty directories,
// on which other areas were mounted.
func (o *Outside) Adopt(files []string) error {
	if err := o.with("", func(a *area) error { return a.adopt(files) }); err != nil {
		return fmt.Errorf("take up the copy's tablespaces for %s: %w", o.Dir.Path, err)
	}
	return nil
}

func (a *area) adopt(files []string) error {
	all, err := names(a.fresh)
	if err != nil {
		return err
	}
	for _, name := range all {
		if !slices.Contains(files, name) {
			if err := unix.Unlinkat(int(a.fresh.Fd()), name, unix.AT_REMOVEDIR); err != nil {
				return fmt.Errorf("%s is in %s, and is no tablespace of the copy's", name, a.fresh.Name())
			}
		}
	}
	for _, name := range files {
		st, err := statAt(a.fresh, name)
		if err != nil {
			return err
		}
		if !isRegular(&st) {
			return fmt.Errorf("%s is not a file", filepath.Join(a.fresh.Name(), name))
		}
		if err := a.o.owning().entry(context.Background(), a.fresh, name, a.o.Dir.Dev); err != nil {
			return err
		}
		a.o.New = append(a.o.New, Entry{Name: name, Ino: st.Ino})
	}
	if err := unix.Syncfs(int(a.fresh.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: a.fresh.Name(), Err: err}
	}
	return a.fresh.Sync()
}

// PlaceFiles takes tablespaces out of a schema's directory of a flat copy and
// puts them into the area's new/, as Place does.
func (o *Outside) PlaceFiles(schema Ref, files []string, keep func(total int64) int64) error {
	err := o.with("", func(a *area) error { return a.take(schema, quoted(files), keep) })
	for _, name := range files {
		if err == nil && !slices.ContainsFunc(o.New, func(e Entry) bool { return e.Name == name }) {
			err = fmt.Errorf("%s is not in %s", name, schema.Path)
		}
	}
	if err != nil {
		return fmt.Errorf("place the copy's tablespaces for %s: %w", o.Dir.Path, err)
	}
	return nil
}

// Link is a file of MariaDB's in a schema's directory of a copy: it names the
// place of a tablespace that has one of its own, and the copy has that
// tablespace beside it.
type Link struct {
	Schema Ref
	Name   string // of the link
	Target string // absolute path of the tablespace
}

// Links of a copy. Hidden, a private server takes the tablespaces beside them
// for where they are; shown, where they name.
const (
	linkEnding   = ".isl"
	hiddenEnding = ".isl.resilver"
)

// HideLinks hides those links, and returns them.
func HideLinks(flat Ref) ([]Link, error) {
	links, err := findLinks(flat)
	for i := 0; err == nil && i < len(links); i++ {
		err = links[i].rename(linkEnding, hiddenEnding)
	}
	if err != nil {
		return nil, fmt.Errorf("hide links in %s: %w", flat.Path, err)
	}
	return links, nil
}

// Show puts a hidden link back.
func (l Link) Show() error {
	if err := l.rename(hiddenEnding, linkEnding); err != nil {
		return fmt.Errorf("put a link back: %w", err)
	}
	return nil
}

// File is the name of the link's tablespace, in the copy and at its place.
func (l Link) File() string { return strings.TrimSuffix(l.Name, linkEnding) + ".ibd" }

func (l Link) rename(from, to string) error {
	dir, err := l.Schema.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	stem := strings.TrimSuffix(l.Name, linkEnding)
	if err := unix.Renameat2(int(dir.Fd()), stem+from, int(dir.Fd()), stem+to, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("rename %s: %w", filepath.Join(dir.Name(), l.Name), err)
	}
	return dir.Sync()
}

func findLinks(flat Ref) ([]Link, error) {
	top, err := flat.open()
	if err != nil {
		return nil, err
	}
	defer top.Close()
	all, err := names(top)
	if err != nil {
		return nil, err
	}
	var out []Link
	for _, name := range all {
		schema, err := refAt(top, name)
		if err != nil {
			continue // a file
		}
		dir, err := openDirAt(top, name)
		if err != nil {
			return nil, err
		}
		found, err := linksIn(dir, schema)
		if err = errors.Join(err, dir.Close()); err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func linksIn(dir *os.File, schema Ref) ([]Link, error) {
	all, err := names(dir)
	if err != nil {
		return nil, err
	}
	var out []Link
	for _, name := range all {
		if !strings.HasSuffix(name, linkEnding) {
			continue
		}
		f, _, err := openRegular(dir, name)
		if err != nil {
			return nil, err
		}
		text, err := readLimited(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		l := Link{Schema: schema, Name: name, Target: strings.TrimSpace(string(text))}
		if checkPath(l.Target) != nil || filepath.Base(l.Target) != l.File() {
			return nil, fmt.Errorf("%s names %q, which is no place for its tablespace", f.Name(), l.Target)
		}
		out = append(out, l)
	}
	return out, nil
}
