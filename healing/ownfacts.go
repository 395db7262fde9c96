package healing

import (
	"errors"

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
	if err == nil {
		err = datadir.CanPreserve(p.Live, g.h.o.Preserve)
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
	g.root, g.rooms, g.at, g.variables = p.Live.Path, elsewhere, p, paths
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

// layout: what belongs to the data can be exchanged, wherever it lies; and a
// private server can be kept from every path of the live one.
func (g *gathering) layout(p datadir.Place, paths map[string]string) ([]roomFor, error) {
	channel := channelOf(g.f.Self)
	if _, err := outside(p, paths, channel); err != nil {
		return nil, err
	}
	own, err := g.ownScattered()
	if err != nil {
		return nil, err
	}
	files, err := datadir.FindScattered(p, own, nil)
	if err != nil {
		return nil, err
	}
	g.scattered = own
	if err := private.CheckSeal(paths); err != nil {
		return nil, err
	}
	rooms, err := roomsFor(p, paths, channel)
	for _, o := range files {
		if err == nil {
			rooms, err = addRoom(rooms, p, o)
		}
	}
	return rooms, err
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
		if out, err = addRoom(out, p, o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func addRoom(rooms []roomFor, p datadir.Place, o datadir.Outside) ([]roomFor, error) {
	if o.Dir.Dev == p.Live.Dev {
		return rooms, nil
	}
	size, err := o.OwnBytes()
	return append(rooms, roomFor{o.Dir, size}), err
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
