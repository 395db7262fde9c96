package healing

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/watchdog"
)

// grant is a lease that a test ends, and that keeps the record it was given.
type grant struct {
	watchdog.Lease
	ctx  context.Context
	with *watchdog.Record
}

func (grant) Token() uint64              { return 7 }
func (grant) ClusterID() string          { return "c" }
func (g grant) Context() context.Context { return g.ctx }

func (g grant) Release(_ context.Context, rec watchdog.Record) error {
	*g.with = rec
	return watchdog.ErrLeaseLost
}

// endless is a method whose copy is never done; begun is called once there is
// some of it.
type endless struct {
	method.Method
	name  string
	begun func()
}

func (m endless) Name() string                                     { return m.name }
func (m endless) Fit(context.Context, method.Facts) (bool, string) { return true, "" }

func (m endless) Stage(ctx context.Context, job method.Job, report func(done, total int64)) (method.Copy, error) {
	if err := os.Mkdir(job.Staging, 0o700); err != nil {
		return method.Copy{}, err
	}
	if err := os.WriteFile(filepath.Join(job.Staging, "ibdata1"), []byte("half"), 0o600); err != nil {
		return method.Copy{}, err
	}
	report(4, 8)
	m.begun()
	select {
	case <-ctx.Done():
		return method.Copy{}, ctx.Err()
	case <-time.After(20 * time.Second):
		return method.Copy{}, errors.New("nobody has stopped the copy")
	}
}

// TestLostLeaseStopsTheCopy: the end of the lease's context is that of the
// step, with its cause; no other method is tried, what was copied goes, and the
// live data are not touched.
func TestLostLeaseStopsTheCopy(t *testing.T) {
	place, _ := laidOut(t)
	if err := os.RemoveAll(place.Path(datadir.NameNew)); err != nil {
		t.Fatal(err)
	}
	var recorded, last watchdog.Record
	ctx, lose := context.WithCancelCause(t.Context())
	h := &Healer{ended: make(chan struct{}, 1), life: t.Context(), o: Options{
		StateDir: t.TempDir(), MinFree: func(int64) int64 { return 0 }, Logger: slog.New(slog.DiscardHandler),
		Failpoint: func(string) {}, Stepped: func(watchdog.Step, time.Duration) {}, Copied: func(int64) {},
		Methods: []method.Method{
			endless{name: "first", begun: func() { lose(watchdog.ErrLeaseLost) }},
			endless{name: "second", begun: func() { t.Error("another method was tried without a lease") }},
		},
		Ended: func(rec watchdog.Record) { last = rec },
	}}
	r := &rebuild{h: h, place: place}
	r.j.Record = watchdog.Record{ID: "r1", Node: "db2", Method: "first"}
	r.j.Live, r.j.Was = place.Live.Ref, place.Live
	if err := h.claim(r); err != nil {
		t.Fatal(err)
	}
	r.hold(grant{ctx: ctx, with: &recorded})
	err := r.steps(r.ctx, copying()[2:]) // from stage on
	if !errors.Is(err, watchdog.ErrLeaseLost) || !r.j.at(watchdog.StepStage) || r.j.Done {
		t.Errorf("ended in %s (done: %t) with %v, want stage and %v", r.j.Step, r.j.Done, err, watchdog.ErrLeaseLost)
	}
	if _, err := os.Stat(place.Path(datadir.NameNew)); err != nil {
		t.Fatalf("there is nothing to be removed: %v", err)
	}
	r.finish(err)
	if recorded.Outcome != watchdog.Failed || recorded.Untouched || !strings.Contains(recorded.Error, watchdog.ErrLeaseLost.Error()) {
		t.Errorf("recorded %s, untouched %t: %s", recorded.Outcome, recorded.Untouched, recorded.Error)
	}
	if last.Outcome != watchdog.Failed || h.Progress() != nil {
		t.Errorf("the healer ended with %s, and has %+v", last.Outcome, h.Progress())
	}
	if _, err := os.Stat(place.Path(datadir.NameNew)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was copied is left: %v", err)
	}
	if live, err := os.ReadFile(filepath.Join(place.Live.Path, "which")); string(live) != "old" {
		t.Errorf("the live data are %q: %v", live, err)
	}
	if left, err := loadJournal(h.o.StateDir); left != nil || err != nil {
		t.Errorf("the journal is left: %+v, %v", left, err)
	}
}
