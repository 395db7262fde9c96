package healing

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/healing/private"
	"resilver/watchdog"
)

// Tablespaces at paths of their own (DATA DIRECTORY, general tablespaces) lie
// in directories elsewhere, and a copy's want the donor's very paths. MySQL's
// CLONE puts them there itself: the private servers find the areas of these
// directories in their place. In a backup of MariaDB's they lie beside the
// others, with a link that names the place.

// errNeverRead is a dead server of which nobody knows its tablespaces.
var errNeverRead = errors.New("whether tablespaces of this node lie at paths of their own was not read while it ran")

func (l *Last) scattered() ([]string, error) {
	if l.Scattered == nil {
		return nil, errNeverRead
	}
	return l.Scattered, nil
}

func (g *gathering) ownScattered() ([]string, error) {
	if g.last != nil {
		return g.last.scattered()
	}
	return g.h.o.Server.Scattered(g.ctx)
}

// scatteredThere asks whether the tablespaces of every node that a copy could
// come from can be put at their paths here.
func (g *gathering) scatteredThere() {
	if g.root == "" {
		return // place has said why
	}
	for _, d := range g.f.Donors {
		if d.State == nil || len(d.State.Contents.Scattered) == 0 {
			continue
		}
		err := g.placeable(d.State.Contents.Scattered)
		var place *datadir.PlaceError
		if errors.As(err, &place) {
			err = &datadir.PlaceError{Reason: fmt.Sprintf("of %s's tablespaces at paths of their own (%s): %s", d.Node, list(slices.Clone(d.State.Contents.Scattered)), place.Reason)}
		}
		if err != nil {
			g.f.Staging = obstacle(err)
			return
		}
	}
}

func (g *gathering) placeable(wanted []string) error {
	err := knownToServer(g.f.Self.Flavor, g.variables, wanted)
	if err == nil {
		_, err = datadir.FindScattered(g.at, g.scattered, wanted)
	}
	if err != nil {
		return err
	}
	var why []string
	for _, m := range g.h.o.Methods {
		facts := method.Facts{Flavor: g.f.Self.Flavor, VersionNumber: g.f.Self.VersionNumber, Scattered: true}
		fits, reason := m.Fit(g.ctx, facts)
		if fits {
			return nil
		}
		why = append(why, reason)
	}
	return &datadir.PlaceError{Reason: strings.Join(why, "; ")}
}

// scatteredAt are the donor's.
func scatteredAt(facts watchdog.Facts, donor string) []string {
	for _, d := range facts.Donors {
		if d.Node == donor && d.State != nil {
			return d.State.Contents.Scattered
		}
	}
	return nil
}

// knownToServer wants each directory where MySQL looks for tablespaces, or
// neither the copy nor what comes by replication later could use it. MariaDB
// has no such list.
func knownToServer(flavor string, paths map[string]string, wanted []string) error {
	if flavor != "mysql" {
		return nil
	}
	dirs := append(strings.Split(paths["innodb_directories"], ";"), paths["innodb_undo_directory"], paths["innodb_data_home_dir"])
	for _, path := range wanted {
		if !slices.ContainsFunc(dirs, func(dir string) bool {
			dir = strings.Trim(strings.TrimSpace(dir), `"'`)
			return filepath.IsAbs(dir) && strings.HasPrefix(path, strings.TrimSuffix(filepath.Clean(dir), "/")+"/")
		}) {
			return &datadir.PlaceError{Reason: fmt.Sprintf("%s is in no directory that innodb_directories names here", path)}
		}
	}
	return nil
}

// scatter finds the directories of this node's tablespaces, and makes those
// that only the copy's need.
func (r *rebuild) scatter(ctx context.Context) error {
	own, err := r.ownScattered(ctx)
	if err != nil || len(own)+len(r.j.Scattered) == 0 {
		return err
	}
	if err := datadir.MakeScattered(r.place, r.j.Scattered); err != nil {
		return err
	}
	dirs, err := datadir.FindScattered(r.place, own, r.j.Scattered)
	if err != nil {
		return err
	}
	all := slices.Clone(r.j.Outside)
	for _, o := range dirs {
		if i := slices.IndexFunc(all, func(known datadir.Outside) bool { return known.Dir.Same(o.Dir) }); i < 0 {
			all = append(all, o)
		} else {
			all[i].Scattered, all[i].Files = true, o.Files
		}
	}
	r.fitness.Scattered = len(r.j.Scattered) > 0
	return r.note(func(j *Journal) { j.Outside = all })
}

// ownScattered are the live server's tablespaces, or those that a dead one had.
func (r *rebuild) ownScattered(ctx context.Context) (own []string, err error) {
	if obs := r.h.o.Server.Observe(ctx); !obs.Reachable {
		last, err := r.h.known()
		if err != nil {
			return nil, err
		}
		return last.scattered()
	}
	err = r.insist(ctx, guardPatience, func() error {
		own, err = r.h.o.Server.Scattered(ctx)
		return err
	})
	return own, err
}

// claim notes once more what is this node's and what must be free for the
// copy's: tablespaces come and go.
func (r *rebuild) claim(ctx context.Context) error {
	own, err := r.ownScattered(ctx)
	if err != nil {
		return err
	}
	all := slices.Clone(r.j.Outside)
	if err := datadir.Claim(all, own, r.j.Scattered); err != nil {
		return fmt.Errorf("%w: %w", errCancelled, err)
	}
	return r.note(func(j *Journal) { j.Outside = all })
}

// covers are what private servers find in the place of the directories of
// tablespaces; a method that does not put them there itself wants none.
func (r *rebuild) covers() (out []private.Cover) {
	if r.fitness.Flavor != "mysql" || !r.fitness.Scattered {
		return nil
	}
	for i := range r.j.Outside {
		if o := &r.j.Outside[i]; o.Scattered {
			out = append(out, private.Cover{Over: o.Dir.Path, From: o.Cover()})
		}
	}
	return out
}

// placeScattered takes what the copy has at paths of its own for those of the
// journal: found are what the rehearsed server named, and links those of a flat
// copy.
func (r *rebuild) placeScattered(found []string, links []datadir.Link) error {
	all, bare := slices.Clone(r.j.Outside), len(links)
	for i := range all {
		o := &all[i]
		if !o.Scattered {
			continue
		}
		files, err := o.FilesIn(found)
		if err == nil && r.fitness.Flavor == "mysql" {
			err = o.Adopt(files)
		}
		if err != nil {
			return err
		}
		for _, l := range links {
			in, err := o.FilesIn([]string{l.Target})
			if err == nil && len(in) > 0 {
				bare--
				err = o.PlaceFiles(l.Schema, in, r.h.o.MinFree)
			}
			if err != nil {
				return err
			}
		}
	}
	if bare > 0 {
		return fmt.Errorf("the copy has %d tablespaces at paths of their own that were not there when the rebuild began", bare)
	}
	for _, l := range links {
		if err := l.Show(); err != nil {
			return err
		}
		found = append(found, l.Target)
	}
	return r.note(func(j *Journal) { j.Outside, j.Scattered = all, found })
}
