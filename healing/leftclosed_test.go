package healing

import (
	"os"
	"testing"

	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// A copy that an earlier rebuild left closed is opened as the server was
// before it; what a person has opened since is open.
func TestOpenAs(t *testing.T) {
	on := "ON"
	closed := replica.Persisted{"offline_mode": &on}
	free := replica.Persisted{"offline_mode": nil}
	failed := Journal{Step: watchdog.StepSettle, Stood: watchdog.StepVerify, Record: watchdog.Record{ID: "r1", Outcome: watchdog.Failed}, Persisted: free,
		Live: datadir.Ref{Path: "/d", Dev: 1, Ino: 2}, Staged: datadir.Ref{Path: "/d.resilver/new", Dev: 1, Ino: 3}, Closed: &replica.Openness{}}
	for name, test := range map[string]struct {
		ino       uint64
		persisted replica.Persisted
		offline   bool
		want      bool
	}{
		"as it was left":         {3, closed, true, false},
		"opened by a person":     {3, free, false, false},
		"closed for good":        {3, free, true, false},
		"another datadir, open":  {4, free, false, false},
		"another datadir, close": {4, closed, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := &rebuild{h: &Healer{o: Options{StateDir: dir}}, j: failed}
			if err := first.keepClosed(t.Context()); err != nil {
				t.Fatal(err)
			}
			next := &rebuild{h: first.h, j: Journal{Live: datadir.Ref{Path: "/d", Dev: 1, Ino: test.ino}, Persisted: test.persisted,
				Closed: &replica.Openness{OfflineMode: test.offline}}}
			persisted, offline, err := next.openAs()
			if err != nil || offline != test.want || allOn(persisted) != test.want {
				t.Errorf("persisted %v, offline %t, %v", persisted, offline, err)
			}
		})
	}
}

// A note that cannot be read is not taken for none.
func TestLeftClosedIsNotForgotten(t *testing.T) {
	state, live := t.TempDir(), t.TempDir()
	h := &Healer{o: Options{StateDir: state}}
	if got := h.LeftClosed(live); got != "" {
		t.Errorf("no note: %q", got)
	}
	if err := os.WriteFile(leftClosedPath(state), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := h.LeftClosed(live); got == "" {
		t.Error("a damaged note is taken for none")
	}
}
