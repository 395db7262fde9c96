package healing

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// TestBeginBesideAnother: a rebuild that runs is named as what it is; only one
// that an earlier process left is to be looked for in its journal, and refusing
// it claims nothing.
func TestBeginBesideAnother(t *testing.T) {
	h := &Healer{o: Options{StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}, life: context.Background()}
	j := Journal{Record: watchdog.Record{ID: "r1"}, Step: watchdog.StepStage}
	if err := j.save(h.o.StateDir, time.Now()); err != nil {
		t.Fatal(err)
	}
	refused := func(want string) {
		t.Helper()
		_, err := h.Begin(t.Context(), watchdog.Order{})
		var no *watchdog.Refusal
		if !errors.As(err, &no) || no.Guard != "lease" || !strings.Contains(no.Reason, want) {
			t.Errorf("refused with %v, want %q", err, want)
		}
	}
	refused("see its journal")
	if h.running != nil {
		t.Error("a refused rebuild is under way")
	}
	h.running = &rebuild{h: h, j: j}
	refused("rebuild r1 of this node is under way")
}
