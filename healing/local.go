package healing

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// local is what was made by SQL on this node alone, as found a while ago: the
// list takes long where there are many tables.
type local struct {
	donors  string // who were asked beside the primary
	at      time.Time
	objects []string
}

// localFor is how long that stands.
const localFor = time.Minute

// local lists what neither the primary has nor the copy would bring: what the
// primary lacks, and one of the candidates at least.
func (g *gathering) local() {
	if g.f.Down != nil || !g.f.Self.Reachable || g.f.Primary == nil {
		return
	}
	objects, err := g.localObjects()
	g.f.Local.Asked = true
	if err != nil {
		g.f.Local.Err = err.Error()
		return
	}
	g.f.Local.Objects = objects
}

func (g *gathering) localObjects() ([]string, error) {
	names := []string{g.standing.Primary}
	for _, d := range g.f.Donors {
		if d.State != nil && d.State.Observation.Reachable && d.Node != g.standing.Primary {
			names = append(names, d.Node)
		}
	}
	donors := strings.Join(names, " ")
	g.h.mu.Lock()
	was := g.h.local
	g.h.mu.Unlock()
	if was.donors == donors && time.Since(was.at) < localFor && !g.anew && !g.wiping {
		return was.objects, nil
	}
	left, err := g.h.o.Server.Objects(g.ctx)
	if err != nil {
		return nil, err
	}
	there, err := g.h.o.Peers.Objects(g.ctx, names[0])
	if err != nil {
		return nil, err
	}
	left = without(left, there)
	if len(left) > 0 && len(names) > 1 {
		left = without(left, g.common(names[1:]))
	}
	now := local{donors: donors, at: time.Now()}
	for _, o := range left {
		now.objects = append(now.objects, o.String())
	}
	g.h.mu.Lock()
	g.h.local = now
	g.h.mu.Unlock()
	return now.objects, nil
}

// common are the objects that all of these nodes have; one that does not answer
// has none.
func (g *gathering) common(nodes []string) []string {
	count := map[string]int{}
	for _, node := range nodes {
		keys, _ := g.h.o.Peers.Objects(g.ctx, node)
		for _, key := range keys {
			count[key]++
		}
	}
	maps.DeleteFunc(count, func(_ string, n int) bool { return n < len(nodes) })
	return slices.Collect(maps.Keys(count))
}

// without leaves out the objects with these keys.
func without(list []replica.Object, keys []string) []replica.Object {
	have := map[string]bool{}
	for _, key := range keys {
		have[key] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(o replica.Object) bool { return have[o.Key()] })
}

// objectsName is the file of an archive with the definitions of what was made
// on this node alone.
const objectsName = "objects.sql"

// define keeps how that was made, for who misses it: the rows stay in the old
// datadir. What this account is not shown stands there too.
func (r *rebuild) define(ctx context.Context) error {
	if len(r.facts.Local.Objects) == 0 {
		return nil
	}
	objects, err := r.h.o.Server.Objects(ctx)
	if err != nil {
		return err
	}
	dir, err := r.place.Archive(r.j.Record.ID)
	if err != nil {
		return err
	}
	err = dir.Create(objectsName, func(f *os.File) error {
		for _, o := range objects {
			if !slices.Contains(r.facts.Local.Objects, o.String()) {
				continue
			}
			if _, err := f.WriteString(r.definition(ctx, o)); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	m := r.archived
	m.Rebuild, m.Node, m.Objects = r.j.Record.ID, r.h.o.Node, r.facts.Local.Objects
	if r.archived, err = m.Save(dir, r.facts.Self); err != nil {
		return err
	}
	r.log.Warn("objects that exist only here are not in the copy, and their definitions are kept", "objects", list(slices.Clone(m.Objects)), "path", dir.Ref.Path)
	return r.noteArchive(dir.Ref.Path)
}

// definition is text for a file, never for a log: an account's has the hash of
// its password.
func (r *rebuild) definition(ctx context.Context, o replica.Object) string {
	text, err := r.h.o.Server.Definition(ctx, o)
	if err != nil {
		return fmt.Sprintf("-- %s: not shown to resilver; it is in the old datadir\n\n", oneComment(o.String()))
	}
	out := fmt.Sprintf("-- %s\n", oneComment(o.String()))
	if o.Name != "" && o.Kind != "account" {
		out += "USE `" + strings.ReplaceAll(o.Schema, "`", "``") + "`;\n"
	}
	end := ";\n"
	if slices.Contains([]string{"procedure", "function", "trigger", "event"}, o.Kind) {
		out, end = out+"DELIMITER //\n", "//\nDELIMITER ;\n"
	}
	for _, statement := range text {
		out += statement + end
	}
	return out + "\n"
}

// oneComment keeps a name within its line.
func oneComment(name string) string { return strings.Join(strings.Fields(name), " ") }

// noteArchive names the archive in what history will have.
func (r *rebuild) noteArchive(path string) error {
	m := r.archived
	return r.note(func(j *Journal) {
		j.Record.Archive = &watchdog.Archive{Path: path, GTIDs: shortSet(m.GTIDs), Transactions: m.Transactions, Bytes: m.Bytes, Objects: len(m.Objects)}
	})
}
