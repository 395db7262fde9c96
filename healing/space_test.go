package healing

import (
	"context"
	"strings"
	"testing"
	"time"

	"resilver/healing/datadir"
)

// A copy is given up before it fills the file system that the live server
// needs; as long as there is room it is left alone.
func TestCopyIsGivenUpBeforeTheDiskIsFull(t *testing.T) {
	for keep, want := range map[int64]string{0: "", 1 << 62: "must stay free (rebuild.min_free)"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := time.AfterFunc(3*spacePause/2, func() { cancel(nil) })
		r := &rebuild{h: &Healer{o: Options{MinFree: func(int64) int64 { return keep }}}, place: datadir.Place{Root: t.TempDir()}}
		r.watchSpace(ctx, cancel)
		stop.Stop()
		if ctx.Err() == nil {
			<-ctx.Done()
		}
		if why := context.Cause(ctx); want != "" && !strings.Contains(why.Error(), want) || want == "" && why != context.Canceled { //nolint:errorlint // this very cause
			t.Errorf("keep %d: ended with %v", keep, why)
		}
	}
}
