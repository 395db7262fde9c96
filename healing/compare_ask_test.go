package healing

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"resilver/watchdog"
)

// asking is a comparison with a primary that answers as told.
func asking(answer func(watchdog.ChecksumOrder) (watchdog.Checksums, error)) *comparison {
	o := Options{Checksums: func(_ context.Context, _ string, order watchdog.ChecksumOrder) (watchdog.Checksums, error) {
		return answer(order)
	}}
	r := &rebuild{h: &Healer{o: o}, log: slog.New(slog.DiscardHandler)}
	return &comparison{r: r, primary: "db1", patience: 5 * time.Minute, seen: map[watchdog.TableName]bool{}}
}

// TestChunksGrowAgain: only a chunk that was not read in time makes the next
// ones smaller, and one slow spell does not make them so for good.
func TestChunksGrowAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails []error
		var asked []int
		var chunks, ended int
		c := asking(func(o watchdog.ChecksumOrder) (watchdog.Checksums, error) {
			asked = append(asked, o.Rows)
			if len(fails) > 0 {
				err := fails[0]
				fails = fails[1:]
				return watchdog.Checksums{}, err
			}
			return watchdog.Checksums{Position: "p", Ended: ended, Chunks: slices.Repeat([]watchdog.Chunk{chunkOf("a", watchdog.Key{"9"})}, chunks)}, nil
		})
		round := func(walk watchdog.Walk, read, through int, failing ...error) []int {
			fails, asked, chunks, ended = failing, nil, read, through
			walks := []watchdog.Walk{walk}
			batch, err := c.ask(t.Context(), watchdog.ChecksumOrder{Walks: walks})
			if err != nil {
				t.Fatal(err)
			}
			if !walk.Single { // which again asks for
				c.count(walks, batch)
			}
			return asked
		}
		slow, other := watchdog.ErrTooSlow, errors.New("connection refused")
		single := tableWalk("a")
		single.Single = true
		for _, s := range []struct {
			what string
			got  []int
			want []int
		}{
			{"other errors", round(tableWalk("a"), 5, 0, other, context.DeadlineExceeded, other), []int{0, 0, 0, 0}},
			{"a slow spell", round(tableWalk("a"), 5, 0, slow, slow, other, slow, slow, slow), []int{0, 1000, 100, 100, 10, 1, 1}},
			{"few chunks in time", round(tableWalk("a"), growAt, 0), []int{1}},
			{"many", round(tableWalk("a"), growAt, 0), []int{10}},
			{"many more", round(tableWalk("a"), growAt-1, 0), []int{100}},
			{"too few", round(tableWalk("a"), growAt, 0), []int{100}},
			{"slow again", round(tableWalk("a"), 1, 1, slow), []int{1000, 100}},
			{"it is through", round(tableWalk("b"), 1, 0), []int{0}},
			{"a chunk of a given size", round(single, 1, 0, slow), []int{0, 0}},
		} {
			if !slices.Equal(s.got, s.want) {
				t.Errorf("%s: asked for %d rows, want %d", s.what, s.got, s.want)
			}
		}
	})
}

// TestComparedPositionIsShort: a record of history goes through raft.
func TestComparedPositionIsShort(t *testing.T) {
	c := asking(nil)
	for _, sep := range []string{",", ":"} {
		c.count(nil, watchdog.Checksums{Position: "7583e806-e72e-11f1-8eee-02fc00000001:1-3" + strings.Repeat(sep+"5-7", 10000)})
		if got := c.out.Position; len(got) > 1010 || len(got) < 900 || !strings.HasSuffix(got, sep+"…") {
			t.Errorf("position of %d bytes: %s", len(got), got)
		}
	}
}
