package healing

import (
	"errors"
	"slices"

	"resilver/healing/datadir"
)

// exchangeAll puts the copy in the place of the old data: the datadir by one
// atomic exchange, and in between what lies elsewhere, entry by entry: old
// entries out first, new ones in last, so that no old binary log ever lies
// beside new data. A datadir that is a mount point goes entry by entry too.
// Everything is told by inode: a process that finds it half done does the rest.
// The old entries are in the journal before the first of them is moved.
func exchangeAll(j *Journal, note func(func(*Journal)) error, at func(point string)) error {
	if err := listOutside(j, note); err != nil {
		return err
	}
	for i := range j.Outside {
		if i > 0 {
			at("swap.moving-out")
		}
		if err := j.Outside[i].MoveOut(j.Record.ID); err != nil {
			return err
		}
	}
	at("swap.moved-out")
	if err := exchangeMarked(j); err != nil {
		return err
	}
	at("swap.exchanged")
	for i := range j.Outside {
		if i > 0 {
			at("swap.moving-in")
		}
		if err := j.Outside[i].MoveIn(); err != nil {
			return err
		}
	}
	at("swap.moved-in")
	return nil
}

// listOutside notes the old entries elsewhere, once and for all.
func listOutside(j *Journal, note func(func(*Journal)) error) error {
	if !slices.ContainsFunc(j.Outside, func(o datadir.Outside) bool { return !o.Listed }) {
		return nil
	}
	state, err := j.exchanged()
	if err != nil {
		return err
	}
	if state != datadir.NotYet {
		return errors.New("the datadir was exchanged before the old entries elsewhere were listed")
	}
	listed := slices.Clone(j.Outside)
	for i := range listed {
		if err := listed[i].List(); err != nil {
			return err
		}
	}
	return note(func(j *Journal) { j.Outside = listed })
}

// whole is the datadir where it is moved entry by entry, nil where it is
// exchanged at once.
func (j *Journal) whole() *datadir.Outside {
	if len(j.Outside) > 0 && j.Outside[0].Whole {
		return &j.Outside[0]
	}
	return nil
}

// exchanged tells by inode whether the swap has taken place.
func (j *Journal) exchanged() (datadir.State, error) {
	if j.Staged.Ino == 0 {
		return datadir.NotYet, nil
	}
	if whole := j.whole(); whole != nil {
		return whole.State()
	}
	if live, err := datadir.RefOf(j.Live.Path); err == nil && live.Same(j.Live) {
		return datadir.NotYet, nil
	} else if err == nil && live.Same(j.Staged) {
		return datadir.Done, nil
	}
	return datadir.Exchanged(j.Live, j.Staged)
}

// exchangeMarked exchanges the datadir with the copy. The copy carries the
// marker too, until start takes it off: neither directory may be booted by
// anybody in between. One that is moved entry by entry has it all the while.
func exchangeMarked(j *Journal) error {
	if whole := j.whole(); whole != nil {
		if err := datadir.Mark(j.Live.Path, "rebuild "+j.Record.ID); err != nil {
			return err
		}
		return whole.MoveIn()
	}
	state, err := datadir.Exchanged(j.Live, j.Staged)
	if err != nil {
		return err
	}
	if state == datadir.NotYet {
		if err := datadir.Mark(j.Staged.Path, "rebuild "+j.Record.ID); err != nil {
			return err
		}
	}
	_, err = datadir.Exchange(j.Live, j.Staged)
	return err
}

// exchangeBack undoes exchangeAll once the new server has ended. Its entries
// are taken away before anything old is back, those of the datadir last: until
// then it is known what is left to do. Nobody may start on what there is in
// between.
func (j *Journal) exchangeBack() error {
	if err := j.evictOutside(); err != nil {
		return err
	}
	if j.whole() == nil {
		if _, err := datadir.Exchange(datadir.Undo(j.Live, j.Staged)); err != nil {
			return err
		}
	}
	return j.restoreOutside()
}

func (j *Journal) evictOutside() error {
	if err := datadir.Mark(j.Live.Path, "rebuild "+j.Record.ID); err != nil {
		return err
	}
	for i := range slices.Backward(j.Outside) {
		if err := j.Outside[i].Evict(); err != nil {
			return err
		}
	}
	return nil
}

// restoreOutside brings the old server's entries back, where they were moved
// away; the old datadir is in its place.
func (j *Journal) restoreOutside() error {
	for i := range j.Outside {
		if err := j.Outside[i].Restore(j.Record.ID); err != nil {
			return err
		}
	}
	return nil
}

// renumberOutside is what renumber does for the directories elsewhere.
func (j *Journal) renumberOutside() (changed bool) {
	for i := range j.Outside {
		dir := &j.Outside[i].Dir
		if now, err := datadir.RefOf(dir.Path); err == nil && now.Ino == dir.Ino && now.Dev != dir.Dev {
			dir.Dev, changed = now.Dev, true
		}
	}
	return changed
}

// placeOutside takes out of the rehearsed copy, which is flat, what belongs
// elsewhere. What it placed is in the journal before anything else is done.
func (r *rebuild) placeOutside() error {
	if len(r.j.Outside) == 0 {
		return nil
	}
	if err := rewriteIndex(r.place, r.j.Staged, r.paths); err != nil {
		return err
	}
	placed := slices.Clone(r.j.Outside)
	for i := range slices.Backward(placed) { // a whole datadir takes what is left
		if err := placed[i].Place(r.j.Staged, r.h.o.MinFree); err != nil {
			return err
		}
	}
	return r.note(func(j *Journal) { j.Outside = placed })
}

// prepareOutside makes the areas elsewhere and proves that entries can be
// moved there and back, before anything is copied.
func (r *rebuild) prepareOutside() error {
	for i := range r.j.Outside {
		if err := r.j.Outside[i].Prepare(r.j.Record.ID); err != nil {
			return err
		}
	}
	return nil
}

// shelves are where the old entries elsewhere are kept.
func (r *rebuild) shelves() ([]datadir.Ref, error) {
	var out []datadir.Ref
	for i := range r.j.Outside {
		ref, err := r.j.Outside[i].Shelf(r.j.Record.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, ref)
	}
	return out, nil
}

// clearOutside discards what of the copy is left elsewhere.
func (r *rebuild) clearOutside() error {
	var errs []error
	for i := range r.j.Outside {
		errs = append(errs, r.j.Outside[i].Clear(r.j.Record.ID))
	}
	return errors.Join(errs...)
}
