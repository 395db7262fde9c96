package healing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// lone is the view of a node that sees nobody.
type lone struct{ watchdog.Cluster }

func (lone) View() watchdog.View { return watchdog.View{Self: "db1"} }

// unasked is a lease machine that knows nothing.
type unasked struct{ watchdog.Leases }

func (unasked) State() watchdog.LeaseState { return watchdog.LeaseState{} }

// TestCancelledWhileTheGuardsAreAsked: the record names who cancelled, not a
// guard that could not be asked any more.
func TestCancelledWhileTheGuardsAreAsked(t *testing.T) {
	server, err := replica.Open(replica.Options{Socket: filepath.Join(t.TempDir(), "none.sock"), User: "resilver", Timeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Disconnect() //nolint:errcheck // it never connected
	h := &Healer{o: Options{StateDir: t.TempDir(), Server: server, Known: &Keeper{}, Cluster: lone{}, Leases: unasked{}}}
	ctx, cancel := context.WithCancelCause(t.Context())
	by := fmt.Errorf("%w by root", errCancelled)
	cancel(by)
	_, err = (&rebuild{h: h}).guards(ctx, func(watchdog.Guard) bool { return true })
	if err != by { //nolint:errorlint // this very error, and nothing around it
		t.Errorf("ended with %v, want %v", err, by)
	}
}

// TestWhatIsCharged: a rebuild that was given up before a copy was begun gives
// its charge back, one whose sidecar died never.
func TestWhatIsCharged(t *testing.T) {
	for _, c := range []struct {
		step      watchdog.Step
		err       error
		untouched bool
	}{
		{"", errCancelled, true},
		{watchdog.StepPreflight, errCancelled, true},
		{watchdog.StepQuarantine, errStopping, true},
		{watchdog.StepStage, errCancelled, false},
		{watchdog.StepPreflight, errDied, false},
		{"", errors.New("something else"), false},
	} {
		r := &rebuild{h: &Healer{o: Options{StateDir: t.TempDir()}}, log: slog.New(slog.DiscardHandler), j: Journal{Step: c.step}}
		r.conclude(c.err)
		if r.j.Record.Untouched != c.untouched {
			t.Errorf("%v at step %q: untouched %t", c.err, c.step, r.j.Record.Untouched)
		}
	}
}
