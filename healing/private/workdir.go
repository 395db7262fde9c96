package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Names inside the staging area.
const (
	nameWork     = "rehearse"
	nameScratch  = "scratch"
	nameTemplate = "template-"
)

// Roles of a private server; each has a directory of its name in rehearse.
const (
	roleScratch   = "scratch"
	roleRehearsal = "rehearsal"
	roleTemplate  = "template"
)

var roles = []string{roleScratch, roleRehearsal, roleTemplate}

// maxSocketPath is sun_path without its final zero, unix(7).
const maxSocketPath = 107

// work is the directory of one private server. Everything in the staging area
// belongs to mysqld's user, who may have put anything there: it is reached
// through os.Root only, which follows no link out of it.
type work struct {
	area  string
	place Place
	root  *os.Root // of place.Work
	short string   // a directory made for the socket alone, empty where Work serves
	prog  Program
}

// openWork makes the directory area/rehearse/role where it is missing, and
// removes what an earlier server of this role left in it.
func openWork(area, role, datadir string, prog Program) (*work, error) {
	base, err := OpenArea(area)
	if err != nil {
		return nil, fmt.Errorf("open the staging area: %w", err)
	}
	defer func() { _ = base.Close() }()
	if err := ensureDir(base, nameWork, 0o750, prog); err != nil {
		return nil, err
	}
	if err := ensureDir(base, filepath.Join(nameWork, role), 0o700, prog); err != nil {
		return nil, err
	}
	root, err := base.OpenRoot(filepath.Join(nameWork, role))
	if err != nil {
		return nil, fmt.Errorf("open the work directory: %w", err)
	}
	w := &work{area: area, root: root, prog: prog}
	w.place = Place{Datadir: datadir, Work: filepath.Join(area, nameWork, role)}
	if err := w.prepare(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// prepare empties the directory and settles where the socket goes. A socket
// and its lock that a killed server left would make the next one abort, as
// would some of its relay logs.
func (w *work) prepare() error {
	if err := empty(w.root, append(slices.Clone(made), "mysqld.err")); err != nil {
		return err
	}
	if err := ensureDir(w.root, "tmp", 0o700, w.prog); err != nil {
		return err
	}
	w.place.Socket = filepath.Join(w.place.Work, "mysqld.sock")
	if len(w.place.Socket) <= maxSocketPath {
		return nil
	}
	short, err := os.MkdirTemp("/tmp", "resilver-")
	if err != nil {
		return fmt.Errorf("make a directory for the socket: %w", err)
	}
	w.short = short
	w.place.Socket = filepath.Join(short, "mysqld.sock")
	if err := os.Lchown(short, int(w.prog.UID), int(w.prog.GID)); err != nil {
		return fmt.Errorf("make a directory for the socket: %w", err)
	}
	return nil
}

// made are the names that a server gives to what it makes in its work
// directory, but for the log and the record of the process: of a channel, or of
// a connection of MariaDB's, they have its name in them.
var made = []string{"tmp", "mysqld.sock", "mysqld.sock.lock", "mysqld.pid", "general.log", "slow.log", "binlog.*",
	"relay.*", "relay-*", "master.info", "master-*.info", "multi-master.info"}

// empty removes what has one of these names.
func empty(root *os.Root, names []string) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("empty the work directory: %w", err)
	}
	for _, e := range entries {
		if !slices.ContainsFunc(names, func(pattern string) bool { ok, _ := filepath.Match(pattern, e.Name()); return ok }) {
			continue
		}
		if err := root.RemoveAll(e.Name()); err != nil {
			return fmt.Errorf("empty the work directory: %w", err)
		}
	}
	return nil
}

// Sweep removes what private servers that are gone (EndOrphans) have left in
// their work directories, relay logs first of all. The logs stay for a person
// to read.
func Sweep(area string) error {
	root, err := OpenArea(area)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the staging area: %w", err)
	}
	defer func() { _ = root.Close() }()
	var errs []error
	for _, role := range roles {
		errs = append(errs, sweep(root, filepath.Join(nameWork, role)))
	}
	return errors.Join(errs...)
}

func sweep(area *os.Root, name string) error {
	full := filepath.Join(area.Name(), name)
	for _, dir := range []string{nameWork, name} { // a link would lead to other directories of the area
		info, err := area.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !info.IsDir() {
			return errors.Join(fmt.Errorf("empty the work directory: %s is none", full), err)
		}
	}
	if _, err := area.Lstat(filepath.Join(name, recordName)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("empty the work directory: the server of %s may still run", full), err)
	}
	root, err := area.OpenRoot(name)
	if err != nil {
		return fmt.Errorf("open the work directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	return empty(root, made)
}

// close lets go of the directory. The log stays for a person to read.
func (w *work) close() {
	_ = w.root.Close()
	if w.short != "" {
		_ = os.RemoveAll(w.short)
	}
}

// writable are the directories that the server may write to.
func (w *work) writable() []string {
	if w.short == "" {
		return []string{w.area}
	}
	return []string{w.area, w.short}
}

// ensureDir makes one directory that belongs to mysqld's user and nobody
// else, or checks that the one that is there is such.
func ensureDir(root *os.Root, name string, mode fs.FileMode, prog Program) error {
	err := MakeDir(root, name, mode, prog)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	info, err := root.Lstat(name)
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("make directory: %s is in the way and is no directory", filepath.Join(root.Name(), name))
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != prog.UID {
		return fmt.Errorf("make directory: %s belongs to uid %d, want %d", filepath.Join(root.Name(), name), st.Uid, prog.UID)
	}
	return nil
}
