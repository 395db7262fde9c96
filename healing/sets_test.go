package healing

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"resilver/healing/archive"
	"resilver/watchdog"
)

// letters compares sets of letters; it stands for a server's arithmetic.
type letters struct{}

func (letters) GTIDSubtract(_ context.Context, a, b string) (string, error) {
	if a == "?" {
		return "", errNoAnswer
	}
	return strings.Join(slices.DeleteFunc(strings.Split(a, ""), func(s string) bool { return strings.Contains(b, s) }), ""), nil
}

func (letters) GTIDUnion(_ context.Context, a, b string) (string, error) { return a + b, nil }

func (l letters) GTIDBeyond(ctx context.Context, set string, _ uint32, primary watchdog.Observation) (string, error) {
	return l.GTIDSubtract(ctx, set, primary.Executed)
}

var errNoAnswer = errors.New("no answer")

// TestTrapR6RulesOfStop: each rule refuses by itself, with what
// it is about, and an answer that cannot be had is no yes.
func TestTrapR6RulesOfStop(t *testing.T) {
	const (
		only   = "this node holds transactions that neither the copy nor the primary has: "
		purged = "the primary has purged logs that the new server would need: "
		beyond = "the copy has transactions that the primary does not have: "
		donor  = "the copy may have transactions of the donor that the primary does not have: "
	)
	for name, c := range map[string]struct {
		own, copied, archived, executed, purged string
		donated                                 string // by a donor whose copy does not say what it wrote itself
		old                                     string // the rebuild whose datadir a rollback brings back
		want                                    string
	}{
		"nothing is lost":                    {own: "ab", copied: "abc", executed: "abcd", purged: "ab"},
		"the copy is behind this node":       {own: "abc", copied: "ab", executed: "abc", purged: "a"},
		"only here":                          {own: "abx", copied: "ab", executed: "abc", purged: "a", want: only + "x"},
		"only here, and archived":            {own: "abx", copied: "ab", archived: "x", executed: "abc", purged: "a"},
		"only here, one archived":            {own: "abxy", copied: "ab", archived: "x", executed: "abc", purged: "a", want: only + "y"},
		"the copy has it, the primary not":   {own: "abx", copied: "abx", executed: "abc", purged: "a", want: beyond + "x"},
		"purged since the copy":              {own: "ab", copied: "ab", executed: "abcd", purged: "abc", want: purged + "c"},
		"purged, and this node has it":       {own: "abc", copied: "ab", executed: "abcd", purged: "abc", want: purged + "c"},
		"the donor was errant":               {own: "ab", copied: "abe", executed: "abcd", purged: "a", want: beyond + "e"},
		"the donor has it, the copy may":     {own: "ab", copied: "ab", donated: "abcs", executed: "abcd", purged: "a", want: donor + "s"},
		"the donor is ahead of its copy":     {own: "ab", copied: "ab", donated: "abcd", executed: "abcd", purged: "a"},
		"the donor's cannot be asked":        {own: "ab", copied: "ab", donated: "?", executed: "abcd", purged: "a", want: errNoAnswer.Error()},
		"another primary never had it":       {own: "ab", copied: "abc", executed: "abd", purged: "a", want: beyond + "c"},
		"the old server had it before":       {own: "ab", copied: "abe", executed: "abcd", purged: "a", old: "r0"},
		"the old server lacks what is gone":  {own: "ab", copied: "a", executed: "abcd", purged: "ab", old: "r0", want: "the primary has purged logs that the old server would need: b"},
		"the old server and what this wrote": {own: "abx", copied: "a", executed: "ab", purged: "a", old: "r0", want: only + "x"},
		"this node cannot be asked":          {own: "?", copied: "ab", executed: "abc", purged: "a", want: errNoAnswer.Error()},
		"what is purged cannot be asked":     {own: "ab", copied: "ab", executed: "abc", purged: "?", want: errNoAnswer.Error()},
		"the copy cannot be asked":           {own: "ab", copied: "?", executed: "abc", purged: "", want: errNoAnswer.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			r := &rebuild{j: Journal{Executed: c.copied, Old: c.old}, archived: archive.Manifest{GTIDs: c.archived}, donated: c.donated}
			err := r.rules(t.Context(), letters{}, c.own, 2, watchdog.Observation{Executed: c.executed, Purged: c.purged})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			var lost *onlyHereError
			if errors.As(err, &lost) != strings.HasPrefix(c.want, only) {
				t.Errorf("only here: %v", err) // what policy.errant: archive goes by
			}
		})
	}
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
