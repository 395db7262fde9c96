package datadir

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// MarkerName is the file that says that no mysqld may start on the datadir it
// is in, even where the state directory is lost. MySQL leaves ordinary files
// in its datadir alone.
const MarkerName = "resilver.no-start"

// Mark puts the marker into a datadir, with a reason for a person. Where it is
// already, it stays as it is.
func Mark(datadir, reason string) error {
	if err := mark(datadir, reason); err != nil {
		return fmt.Errorf("mark the datadir: %w", err)
	}
	return nil
}

func mark(datadir, reason string) error {
	dir, err := openDir(trimSlash(datadir))
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := statFile(dir)
	if err != nil {
		return err
	}
	f, err := openAt(dir, MarkerName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return dir.Sync()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// On a full disk it may have no text: its presence is the message.
	if _, err := f.WriteString(reason + "\n"); err != nil && !errors.Is(err, unix.ENOSPC) {
		return err
	}
	if err := (owning{uid: st.Uid, gid: st.Gid}).give(f); err != nil {
		return err
	}
	return errors.Join(f.Sync(), dir.Sync())
}

// Unmark removes the marker, whatever somebody has put there under its name;
// none is fine.
func Unmark(datadir string) error {
	dir, err := openDir(trimSlash(datadir))
	if err != nil {
		return fmt.Errorf("unmark the datadir: %w", err)
	}
	defer dir.Close()
	st, err := statFile(dir)
	if err == nil {
		err = remove(dir, MarkerName, uint64(st.Dev))
	}
	if err != nil {
		return fmt.Errorf("unmark the datadir: %w", err)
	}
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("unmark the datadir: %w", err)
	}
	return nil
}

// Marked says whether the marker is in a datadir, and its reason. Anything of
// that name counts, readable or not.
func Marked(datadir string) (marked bool, reason string, err error) {
	dir, err := openReal(datadir)
	if err != nil {
		return false, "", fmt.Errorf("look for the marker: %w", err)
	}
	defer dir.Close()
	if _, err := statAt(dir, MarkerName); errors.Is(err, fs.ErrNotExist) {
		return false, "", nil
	} else if err != nil {
		return false, "", fmt.Errorf("look for the marker: %w", err)
	}
	text, err := readSmall(dir, MarkerName)
	if err != nil {
		return true, "the marker cannot be read", nil //nolint:nilerr // its presence is the message
	}
	return true, trimNewline(string(text)), nil
}

func trimNewline(s string) string {
	if n := len(s); n > 0 && s[n-1] == '\n' {
		return s[:n-1]
	}
	return s
}
