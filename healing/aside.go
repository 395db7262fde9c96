package healing

import (
	"errors"
	"fmt"
	"slices"

	"resilver/healing/datadir"
	"resilver/healing/private"
	"resilver/watchdog"
)

// asideError says why a quarantined datadir cannot be gone back to.
type asideError struct{ reason string }

func (e *asideError) Error() string { return e.reason }

// aside looks whether the node can go back to the datadir that its last
// rebuild set aside, and what its server would have to fetch.
func (g *gathering) aside() {
	a := &g.f.Aside
	switch {
	case !g.f.Self.Reachable || g.f.Primary == nil:
		a.Fit.Err = orReason(g.f.PrimaryErr, g.f.Self.Err)
		return
	case g.root == "": // place has said why
		a.Fit = g.f.Staging
		return
	}
	kept, _, err := wayTo(g.at, g.variables, g.f.Self, g.scattered)
	if err == nil {
		err = g.comesUpClosed(kept)
	}
	var no *asideError
	var place *datadir.PlaceError
	switch {
	case errors.As(err, &no):
		a.Fit = watchdog.AnswerOf(no.reason, nil)
	case errors.As(err, &place):
		a.Fit = watchdog.AnswerOf(place.Reason, nil)
	default:
		a.Fit = watchdog.AnswerOf("", err)
	}
	if err != nil {
		return
	}
	a.ID, a.Since = kept.ID, watchdog.StampOf(kept.Since)
	primary := g.f.Primary.Observation
	a.Purged = watchdog.AnswerOf(g.sets.GTIDSubtract(g.ctx, primary.Purged, kept.Served.Executed))
	if a.Behind, err = g.sets.GTIDSubtract(g.ctx, primary.Executed, kept.Served.Executed); err == nil {
		a.Own, err = g.sets.GTIDBeyond(g.ctx, kept.Served.Executed, g.f.Self.ServerID, primary)
	}
	a.Behind, a.Own = shortSet(a.Behind), shortSet(a.Own)
	if err != nil {
		a.Fit = watchdog.AnswerOf("", err)
	}
}

func orReason(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return "the primary was not asked"
}

// wayTo is the newest quarantined datadir, which alone is never pruned, and its
// entries elsewhere. What keeps it from going live is an *asideError or a
// *datadir.PlaceError. Nothing is touched.
func wayTo(p datadir.Place, paths map[string]string, self watchdog.Observation, scattered []string) (datadir.Kept, []datadir.Outside, error) {
	no := func(format string, args ...any) (datadir.Kept, []datadir.Outside, error) {
		return datadir.Kept{}, nil, &asideError{fmt.Sprintf(format, args...)}
	}
	all, err := p.Quarantined()
	if err != nil {
		return datadir.Kept{}, nil, err
	}
	if len(all) == 0 {
		return no("no old datadir is in %s", p.Path(datadir.NameOld))
	}
	k, src := all[0], self.Source()
	switch {
	case p.Inside():
		return no("the datadir %s is a mount point, where resilver cannot go back", p.Live.Path)
	case len(scattered) > 0:
		return no("tablespaces lie at paths of their own (%s), where resilver cannot go back", list(slices.Clone(scattered)))
	case k.Served == nil:
		return no("what its server was is not known of %s: it was dead, or set aside by an older resilver", k.ID)
	case k.Served.Version != self.Version:
		return no("%s is of a server %s, this is %s", k.ID, k.Served.Version, self.Version)
	case src == nil:
		return no("this node has %d sources", len(self.Sources))
	case k.Served.Source != src.Address():
		return no("the server of %s replicated from %s, and would again; the source is %s now", k.ID, k.Served.Source, src.Address())
	}
	elsewhere, err := outside(p, paths, channelOf(self))
	if err != nil {
		return k, nil, err
	}
	if len(elsewhere) != len(k.Outside) {
		return no("%s has files in %d directories outside its datadir, the server in service in %d", k.ID, len(k.Outside), len(elsewhere))
	}
	for i := range elsewhere {
		j := slices.IndexFunc(k.Outside, elsewhere[i].HasShelf)
		if j < 0 {
			return no("no files of %s are in %s", k.ID, elsewhere[i].Dir.Path)
		}
		if err := elsewhere[i].Returning(k.Outside[j]); err != nil {
			return no("%v", err)
		}
	}
	there := &Journal{Live: p.Live.Ref, Staged: k.Ref, Outside: elsewhere}
	found := 0
	for _, dir := range there.homes() {
		if _, err := systemInode(dir); err == nil {
			found++
		}
	}
	if found != 2 {
		return no("%d system tablespaces are in %q: there should be that of the server and that of %s", found, there.homes(), k.ID)
	}
	return k, elsewhere, nil
}

// comesUpClosed wants the old server to start closed to writers. Nothing can be
// written into its datadir beforehand, as it is into a copy.
func (g *gathering) comesUpClosed(k datadir.Kept) error {
	open, err := datadir.PersistedOpen(k.Ref)
	if err != nil {
		return err
	}
	if open != "" {
		return &asideError{fmt.Sprintf("by its mysqld-auto.cnf %s would come up with %s=OFF", k.ID, open)}
	}
	process, err := g.h.find(g.ctx, g.f.Self)
	if err != nil {
		return err
	}
	defer process.Close()
	program, err := process.Program()
	if err != nil {
		return err
	}
	options, err := private.OptionFiles(g.ctx, private.Program{Prefix: program.Prefix, Args: program.Args, UID: g.at.Live.UID, GID: g.at.Live.GID})
	if err != nil {
		return err
	}
	if !private.ReadOnly(append(options, program.Args...)) {
		return &asideError{"no option file says super_read_only=ON (MariaDB: read_only=ON): the old server would come up open to writers"}
	}
	return nil
}
