package healing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"resilver/healing/archive"
	"resilver/watchdog"
)

// onlyHereError are transactions that the swap would lose.
type onlyHereError struct{ set string }

func (e *onlyHereError) Error() string {
	return "this node holds transactions that neither the copy nor the primary has: " + e.set
}

func (r *rebuild) trailOf(self, primary watchdog.Observation, sets arithmetic) archive.Trail {
	return archive.Trail{Datadir: r.j.Live.Path, Paths: r.paths, Program: r.j.Program.Prefix, ToolDirs: r.h.o.ToolDirs,
		Self: self, Primary: primary, Sets: sets}
}

// setAside archives what preflight found that only this node has. Where that
// does not succeed the rebuild is given up, with nothing touched.
func (r *rebuild) setAside(ctx context.Context) error {
	if !r.h.o.Policy.Archive || r.facts.Errant.Text == "" {
		return nil
	}
	sets := arithmetic(r.h.o.Server)
	if r.facts.Down != nil {
		sets = byPeer{r.h.o.Peers, r.j.Primary}
	}
	t := r.trailOf(r.facts.Self, r.facts.Primary.Observation, sets)
	if err := r.archive(ctx, t, r.facts.Errant.Text); err != nil {
		return fmt.Errorf("%w: guard errant: %w", errCancelled, err)
	}
	return nil
}

// nothingLost applies the rules of stop. What came in since it was set aside
// for the first time, and does not come to the primary either, is archived
// now that no more can come.
func (r *rebuild) nothingLost(ctx context.Context, rules func(context.Context) error) error {
	err := r.subsets(ctx, rules)
	var only *onlyHereError
	if !r.h.o.Policy.Archive || r.j.Old != "" || r.wiping() || !errors.As(err, &only) {
		return err
	}
	if err := r.archive(ctx, r.trail, only.set); err != nil {
		return fmt.Errorf("%w; %w", only, err)
	}
	return r.subsets(ctx, rules)
}

// archive keeps the transactions of set, which only this node has, beside the
// place where the old datadir will be. In the end it holds exactly these, or it
// is an error.
func (r *rebuild) archive(ctx context.Context, t archive.Trail, set string) error {
	found, err := t.Find(ctx, set, r.archived.GTIDs)
	if err != nil {
		return err
	}
	if err := errors.Join(r.room(r.place.Root, found.Bytes()), r.identityAfter(set, t)); err != nil {
		return err
	}
	dir, err := r.place.Archive(r.j.Record.ID)
	if err != nil {
		return err
	}
	m := r.archived
	m.Rebuild, m.Node = r.j.Record.ID, r.h.o.Node
	m, err = found.Keep(ctx, dir, m)
	if err != nil {
		return err
	}
	r.archived = m
	r.log.Warn("transactions that exist only here are archived", "gtids", set, "transactions", found.Transactions(), "path", dir.Ref.Path)
	return r.noteArchive(dir.Ref.Path)
}

// shortSet is as much of a set as a record of history may carry.
func shortSet(set string) string {
	const most = 1000
	if len(set) <= most {
		return set
	}
	return set[:strings.LastIndexAny(set[:most], ",:")+1] + "…"
}

// dropArchive removes what was archived of a datadir that stays in its place.
func (r *rebuild) dropArchive() error {
	if err := r.place.DiscardArchive(r.j.Record.ID); err != nil || r.j.Record.Archive == nil {
		return err
	}
	return r.note(func(j *Journal) { j.Record.Archive = nil })
}
