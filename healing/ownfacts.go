package healing

import (
	"errors"
	"fmt"

	"resilver/healing/datadir"
	"resilver/healing/private"
	"resilver/watchdog"
)

// place: the proof that the directories can be exchanged.
func (g *gathering) place() {
	if !g.known() {
		return
	}
	paths, err := g.paths()
	if err == nil {
		err = fixed(g.f.Self.Datadir, paths)
	}
	var p datadir.Place
	if err == nil {
		p, err = datadir.PlaceFor(g.f.Self.Datadir, g.h.o.StagingDir)
	}
	var elsewhere []roomFor
	if err == nil {
		elsewhere, err = g.layout(p, paths)
	}
	if err == nil {
		err = g.h.proveExchange(p)
	}
	g.f.Staging = obstacle(err)
	if err != nil {
		g.f.SpaceErr = err.Error()
		return
	}
	g.root, g.rooms = p.Live.Path, elsewhere
}

// obstacle tells a place that does not fit from one that could not be judged.
func obstacle(err error) watchdog.Answer {
	var place *datadir.PlaceError
	var path *private.PathError
	switch {
	case errors.As(err, &place):
		return watchdog.AnswerOf(place.Reason, nil)
	case errors.As(err, &path):
		return watchdog.AnswerOf(path.Error(), nil)
	}
	return watchdog.AnswerOf("", err)
}

// layout: what belongs to the data can be exchanged, wherever it lies; no
// tablespace is at a path of its own; and a private server can be kept from
// every path of the live one.
func (g *gathering) layout(p datadir.Place, paths map[string]string) ([]roomFor, error) {
	channel := channelOf(g.f.Self)
	if _, err := outside(p, paths, channel); err != nil {
		return nil, err
	}
	if err := g.scattered(); err != nil {
		return nil, err
	}
	if err := private.CheckSeal(paths); err != nil {
		return nil, err
	}
	return roomsFor(p, paths, channel)
}

// scattered looks for tablespaces of this node that are neither in the datadir
// nor in a directory for all of their kind.
func (g *gathering) scattered() error {
	own, err := g.ownScattered()
	if err == nil && len(own) > 0 {
		err = &datadir.PlaceError{Reason: "tablespaces of this node lie at paths of their own: " + list(own)}
	}
	return err
}

func (g *gathering) ownScattered() ([]string, error) {
	switch {
	case g.last == nil:
		return g.h.o.Server.Scattered(g.ctx)
	case g.last.Scattered == nil:
		return nil, errors.New("whether tablespaces of this node lie at paths of their own was not read while it ran")
	}
	return g.last.Scattered, nil
}

// scatteredThere looks for them on every node that a copy could come from: a
// copy would be written, or would boot, at the very same path, where other
// live files may be.
func (g *gathering) scatteredThere() {
	if g.root == "" {
		return // place has said why
	}
	for _, d := range g.f.Donors {
		if d.State == nil {
			continue
		}
		if there := d.State.Contents.Scattered; len(there) > 0 {
			g.f.Staging = watchdog.AnswerOf(fmt.Sprintf("tablespaces of %s lie at paths of their own, where a copy would put them here too: %s", d.Node, list(there)), nil)
		}
	}
}

// paths are the variables that name places on disk.
func (g *gathering) paths() (map[string]string, error) {
	if g.last != nil {
		return g.last.Paths, nil
	}
	return g.h.o.Server.Paths(g.ctx)
}

// space compares what a copy needs with what is free.
func (g *gathering) space() {
	if g.root == "" {
		return // place has said why
	}
	free, total, err := datadir.Free(g.root)
	if err != nil {
		g.f.SpaceErr = err.Error()
		return
	}
	var largest int64
	for _, d := range g.f.Donors {
		if d.State != nil {
			largest = max(largest, d.State.Contents.Bytes)
		}
	}
	if largest == 0 {
		g.f.SpaceErr = "no candidate said how large its data is"
		return
	}
	g.f.DataBytes = largest
	g.f.Free = int64(free)
	// A copy is a little larger than the sum of its tables: redo, undo, and a
	// scratch server with its template.
	g.f.Need = largest + largest/10 + scratchBytes + g.h.o.MinFree(int64(total))
	g.spaceElsewhere(g.rooms)
}

// roomFor is what must fit on a file system other than the datadir's.
type roomFor struct {
	dir   datadir.Ref
	bytes int64
}

// roomsFor is what the copy will put on other file systems: what lies there
// now, old and new side by side, since no donor says how large its is. It is
// measured again before anything is put there.
func roomsFor(p datadir.Place, paths map[string]string, channel string) ([]roomFor, error) {
	var out []roomFor
	for _, r := range roles(paths, channel) {
		if !r.copied || sameDir(inside(p.Live.Path, r.dir), p.Live.Path) {
			continue
		}
		o, err := datadir.FindOutside(p, inside(p.Live.Path, r.dir), r.own)
		if err != nil {
			return nil, err
		}
		if o.Dir.Dev == p.Live.Dev {
			continue
		}
		size, err := o.OwnBytes()
		if err != nil {
			return nil, err
		}
		out = append(out, roomFor{o.Dir, size})
	}
	return out, nil
}

// spaceElsewhere looks at the other file systems too; the facts are those of
// the one that has the least to spare.
func (g *gathering) spaceElsewhere(rooms []roomFor) {
	for _, room := range rooms {
		free, total, err := datadir.Free(room.dir.Path)
		if err != nil {
			g.f.SpaceErr = err.Error()
			return
		}
		need := g.h.o.MinFree(int64(total))
		for _, other := range rooms {
			if other.dir.Dev == room.dir.Dev {
				need += other.bytes
			}
		}
		if g.f.SpaceErr == "" && int64(free)-need < g.f.Free-g.f.Need {
			g.f.Free, g.f.Need, g.f.SpaceAt = int64(free), need, " in "+room.dir.Path
		}
	}
}

// scratchBytes is what the private servers need beside the copy: template and
// scratch datadir of MySQL 9.7, 95 MB each, with room to spare.
const scratchBytes = 256 << 20
