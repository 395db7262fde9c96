package datadir

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// SystemTablespace is the file that every server locks before it opens any
// other: the first of innodb_data_file_path.
const SystemTablespace = "ibdata1"

// Whole is the datadir itself as an Outside, where it is a mount point, which
// cannot be exchanged: its entries are moved one by one. Its area's new/ is the
// staged copy, and its shelf the quarantined datadir. It fails with a
// *PlaceError where they could not be moved.
func Whole(p Place) (Outside, error) {
	o := Outside{Dir: p.Live.Ref, Whole: true, UID: p.Live.UID, GID: p.Live.GID}
	dir, err := o.Dir.open()
	if err != nil {
		return Outside{}, err
	}
	defer dir.Close()
	if err := o.check(dir); err != nil {
		return Outside{}, &PlaceError{Reason: err.Error()}
	}
	return o, nil
}

// inDatadir says that an entry of a datadir goes and comes with the data. Of
// what does not, a server makes nothing of its own: hidden names, which are the
// area's, the file system's or a person's, what the file system has found, and
// the marker, which must be there as long as anything is moved.
func inDatadir(name string) bool {
	name = strings.TrimSuffix(name, "/")
	return !strings.HasPrefix(name, ".") && name != "lost+found" && name != MarkerName
}

// Reread learns the inode of an entry of the copy that was replaced since it
// was listed.
func (o *Outside) Reread(name string) error {
	err := o.with("", func(a *area) error {
		st, err := statAt(a.fresh, name)
		if err != nil {
			return err
		}
		o.New = slices.Clone(o.New)
		for i := range o.New {
			if o.New[i].Name == name {
				o.New[i].Ino = st.Ino
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at %s in the copy for %s: %w", name, o.Dir.Path, err)
	}
	return nil
}

// Owns says that an entry of that name is the server's in this directory.
func (o *Outside) Owns(name string) bool {
	match, err := o.matcher()
	return err == nil && match(name)
}

// State says how far the entries have come. They are Done from the first new
// one in the directory on: then no old one is there any more.
func (o *Outside) State() (State, error) {
	if !o.Listed {
		return NotYet, nil
	}
	dir, err := o.Dir.open()
	if err != nil {
		return StateUnknown, fmt.Errorf("look at the entries of %s: %w", o.Dir.Path, err)
	}
	defer dir.Close()
	old, err := among(dir, o.Old)
	if err != nil {
		return StateUnknown, err
	}
	fresh, err := among(dir, o.New)
	if err != nil {
		return StateUnknown, err
	}
	if len(fresh) > 0 && len(old) == 0 {
		return Done, nil
	}
	return NotYet, nil
}

// Homes are where the old and the new entries of one name may be found while
// they are moved: the directory itself, the copy, the shelf of the rebuild.
func (o *Outside) Homes(id string) []string {
	area := filepath.Join(o.Dir.Path, NameOutside)
	fresh := filepath.Join(area, NameNew)
	if o.From != "" {
		fresh = filepath.Join(area, NameOld, o.From)
	}
	return []string{o.Dir.Path, fresh, filepath.Join(area, NameOld, id)}
}
