package healing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"resilver/config/secret"
	"resilver/healing/datadir"
	"resilver/healing/private"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
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

// closed: the rebuilt server comes up closed, by its option files or by the
// copy's mysqld-auto.cnf where the engine has that.
func (g *gathering) closed() {
	if !g.known() {
		return
	}
	const remedy = ": nothing would close the rebuilt server while it starts"
	why, args, err := g.boot()
	if err == nil && why != "" {
		g.f.Closed = watchdog.AnswerOf(why+remedy, nil)
		return
	}
	if err == nil && slices.Contains(args, "--no-defaults") {
		g.f.Closed = watchdog.AnswerOf("mysqld is run with --no-defaults"+remedy, nil)
		return
	}
	g.f.Closed = watchdog.AnswerOf("", err)
}

// boot is what keeps the next start from being read-only, and the options on
// the server's command line.
func (g *gathering) boot() (why string, args []string, err error) {
	if g.last != nil {
		return g.last.Opens, g.last.Program.Args, nil
	}
	if why, err = g.h.o.Server.StartsReadOnly(g.ctx); err == nil {
		args, err = g.h.arguments(g.ctx, g.f.Self)
	}
	return why, args, err
}

// service: the manager answers, and the process it runs is the server.
func (g *gathering) service() {
	if !g.known() {
		return
	}
	status, err := g.h.o.Service.Status(g.ctx)
	if err != nil {
		g.f.Service = watchdog.AnswerOf("the manager of mysqld does not answer (is it run by `resilver supervise`, or is mysql.service right?): "+err.Error(), nil)
		return
	}
	if why, err := atWork(g.ctx, g.h.o.Service); err != nil || why != "" {
		g.f.Service = watchdog.AnswerOf(why, err)
		return
	}
	if g.last != nil { // that nobody runs it has been proven
		g.f.Service = watchdog.AnswerOf("", nil)
		return
	}
	pid, err := g.h.serverPID(g.ctx, g.f.Self)
	if err == nil && (!status.Running || (status.PID != 0 && status.PID != pid)) {
		g.f.Service = watchdog.AnswerOf(fmt.Sprintf("the manager of mysqld (%s) does not run the server on %s, which is process %d", status.Managed, g.f.Self.Datadir, pid), nil)
		return
	}
	g.f.Service = watchdog.AnswerOf("", err)
}

// person is a manager that can tell whether a person is at work on mysqld.
type person interface {
	Person(ctx context.Context) (at bool, reason string, err error)
}

// atWork asks a manager that can tell whether a person is at work on mysqld, and
// whether its guard against a start in mid-swap is in force.
func atWork(ctx context.Context, s service.Service) (string, error) {
	if m, ok := s.(person); ok {
		if at, why, err := m.Person(ctx); err != nil || at {
			return "a person is at work on mysqld: " + why, err
		}
	}
	if m, ok := s.(interface{ Check(context.Context) error }); ok {
		if err := m.Check(ctx); err != nil {
			return err.Error(), nil
		}
	}
	return "", nil
}

// account: a password for the source, from the server or the configuration.
func (g *gathering) account() {
	if !g.known() {
		return
	}
	if g.last != nil {
		g.f.Account = watchdog.AnswerOf(g.last.noAccount(g.h.o.Password), nil)
		return
	}
	source, err := g.h.o.Server.SourceConfig(g.ctx)
	switch {
	case errors.Is(err, replica.ErrNotReplica), errors.Is(err, replica.ErrManySources):
		g.f.Account = watchdog.AnswerOf(err.Error(), nil)
	case err == nil && source.Password.IsZero() && g.h.o.Password.IsZero():
		g.f.Account = watchdog.AnswerOf("the server has no password stored for its source: set mysql.replication", nil)
	default:
		g.f.Account = watchdog.AnswerOf("", err)
	}
}

// noAccount is why a copy for a dead server could not log in at its source:
// what the server has stored cannot be read.
func (l *Last) noAccount(configured secret.Secret) string {
	switch {
	case l.Source == nil:
		return "it had no single source when it was last seen"
	case configured.IsZero():
		return "the password for its source is in the dead server, where nobody can read it: set mysql.replication"
	}
	return ""
}
