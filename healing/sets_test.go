package healing

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"resilver/watchdog"
)

// letters compares sets of letters; it stands for a server's arithmetic.
type letters struct{}

func (letters) GTIDBeyond(_ context.Context, set string, _ uint32, primary watchdog.Observation) (string, error) {
	if set == "?" {
		return "", errors.New("no answer")
	}
	return strings.Join(slices.DeleteFunc(strings.Split(set, ""), func(s string) bool { return strings.Contains(primary.Executed, s) }), ""), nil
}

// TestDifferencesAreConfirmedAtOnce: however many servers differ from the
// primary, the wait is one; what passes meanwhile was no difference, and what
// cannot be asked any more is unknown.
func TestDifferencesAreConfirmedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 10 * time.Second
		reads := 0
		again := func(context.Context) (watchdog.PeerState, error) {
			reads++
			return watchdog.PeerState{Observation: watchdog.Observation{Executed: "abc"}}, nil
		}
		claims := []*claim{{set: "ab"}, {set: "abcx"}, {set: "abc"}, {set: "axy"}, {set: "?"}}
		began := time.Now()
		beyond(t.Context(), letters{}, claims, watchdog.Observation{Executed: "ab"}, patience, again)
		if took := time.Since(began); took < patience || took > patience+time.Second {
			t.Errorf("it took %s, want %s once", took, patience)
		}
		if most := int(patience/(500*time.Millisecond)) + 1; reads > most {
			t.Errorf("the primary was read %d times, want at most %d", reads, most)
		}
		for i, want := range []string{"", "x", "", "xy", ""} {
			if claims[i].diff != want || (claims[i].err != nil) != (claims[i].set == "?") {
				t.Errorf("%s: %q, %v; want %q", claims[i].set, claims[i].diff, claims[i].err, want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		short := []*claim{{set: "ab"}, {set: "ax"}}
		beyond(ctx, letters{}, short, watchdog.Observation{Executed: "ab"}, patience, again)
		if short[0].err != nil || !errors.Is(short[1].err, context.DeadlineExceeded) {
			t.Errorf("cut short: %v and %v", short[0].err, short[1].err)
		}
	})
}
