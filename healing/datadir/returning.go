package datadir

import (
	"errors"
	"fmt"
	"path/filepath"
)

// HasShelf says that a shelf lies in this directory.
func (o *Outside) HasShelf(shelf Ref) bool {
	return filepath.Dir(shelf.Path) == filepath.Join(o.Dir.Path, NameOutside, NameOld)
}

// Returning prepares o for the way of a quarantined datadir back into service:
// its new entries are the old ones on the shelf of that id. It touches nothing,
// and fails where the shelf is not wholly known.
func (o *Outside) Returning(shelf Ref) error {
	id := filepath.Base(shelf.Path)
	if !idPattern.MatchString(id) || !o.HasShelf(shelf) {
		return fmt.Errorf("%s is not a shelf in %s", shelf.Path, o.Dir.Path)
	}
	o.From = id
	err := o.with("", func(a *area) error {
		if a.fresh == nil {
			return errors.New("it is gone")
		}
		st, err := statFile(a.fresh)
		if err != nil {
			return err
		}
		if st.Ino != shelf.Ino || uint64(st.Dev) != o.Dir.Dev {
			return fmt.Errorf("%w: it is another directory", ErrOther)
		}
		all, err := names(a.fresh)
		if err != nil {
			return err
		}
		if o.New, err = o.owned(a.fresh); err != nil {
			return err
		}
		if len(o.New) != len(all) {
			return fmt.Errorf("%d of its %d entries are not known to be the server's", len(all)-len(o.New), len(all))
		}
		systemFirst(o.New)
		return nil
	})
	if err != nil {
		return fmt.Errorf("the old entries in %s: %w", shelf.Path, err)
	}
	return nil
}
