package healing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"resilver/healing/archive"
	"resilver/watchdog"
)

// traced is whether a set can be archived, as found a while ago: reading large
// logs takes long, and a rebuild that other guards refuse asks again and again.
type traced struct {
	set    string
	at     time.Time
	answer watchdog.Answer
}

// tracedFor is how long that stands. The rebuild itself looks again.
const tracedFor = time.Minute

// archivable asks whether what only this node has can be archived, where that
// is the policy.
func (g *gathering) archivable() {
	set := g.f.Errant.Text
	if !g.h.o.Policy.Archive || g.f.Errant.Open() != "" || set == "" {
		return
	}
	g.h.mu.Lock()
	was := g.h.traced
	g.h.mu.Unlock()
	if was.set == set && time.Since(was.at) < tracedFor {
		g.f.Archive = was.answer
		return
	}
	err := g.traceable(set)
	var never *archive.ImpossibleError
	if errors.As(err, &never) {
		g.f.Archive = watchdog.AnswerOf(never.Reason, nil)
	} else {
		g.f.Archive = watchdog.AnswerOf("", err)
	}
	if g.f.Archive.Open() == "" {
		g.h.mu.Lock()
		g.h.traced = traced{set, time.Now(), g.f.Archive}
		g.h.mu.Unlock()
	}
}

func (g *gathering) traceable(set string) error {
	ctx, cancel := context.WithTimeoutCause(g.ctx, logsTimeout, fmt.Errorf("not done within %s", logsTimeout))
	defer cancel()
	paths, err := g.paths()
	if err != nil {
		return err
	}
	last, err := g.h.known()
	if err == nil && (last.ReadAt.IsZero() || last.Observation.ServerUUID != g.f.Self.ServerUUID) {
		err = errors.New("how mysqld is run was not read yet")
	}
	if err != nil {
		return err
	}
	t := archive.Trail{Datadir: g.f.Self.Datadir, Paths: paths, Program: last.Program.Prefix, ToolDirs: g.h.o.ToolDirs,
		Self: g.f.Self, Primary: g.f.Primary.Observation, Sets: g.sets}
	if _, err := t.Find(ctx, set, ""); err != nil {
		return err
	}
	return archive.Reissued(set, t.Primary.Executed, t.Self)
}
