package peer

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"resilver/watchdog"
)

// TestChecksums: the order and the answer come over as they are, under the
// caller's own name, and a stale token keeps its meaning.
func TestChecksums(t *testing.T) {
	c := newCluster(t, "orders")
	a, b := c.port("a"), c.port("b")
	ctx := within(t)
	handle(t, b, refuse())
	order := watchdog.ChecksumOrder{ClusterID: "id", Token: 7, Rows: 5, Walks: []watchdog.Walk{
		{TableName: watchdog.TableName{Schema: "s", Table: "t"}, After: watchdog.Key{"1", "0x00"}, Single: true}}}
	if _, err := a.Client().Checksums(ctx, "b", order); err == nil || !strings.Contains(err.Error(), "makes no checksums") {
		t.Errorf("a node that makes none: %v", err)
	}
	want := watchdog.Checksums{Position: "u:1-7", Ended: 1, Chunks: []watchdog.Chunk{{TableName: order.Walks[0].TableName, After: watchdog.Key{"1", "0x00"}, Rows: 3, Sum: "12345678901234567890123", Shape: "x"}}}
	h := refuse()
	h.Checksums = func(_ context.Context, caller string, got watchdog.ChecksumOrder) (watchdog.Checksums, error) {
		switch {
		case got.Token != 7:
			return watchdog.Checksums{}, watchdog.ErrTokenStale
		case caller != "a" || !reflect.DeepEqual(got, order):
			t.Errorf("%s asks %+v", caller, got)
		case got.Rows == 0:
			return watchdog.Checksums{}, nil
		}
		return want, nil
	}
	handle(t, b, h)
	if got, err := a.Client().Checksums(ctx, "b", order); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	order.Token = 6
	if _, err := a.Client().Checksums(ctx, "b", order); !errors.Is(err, watchdog.ErrTokenStale) {
		t.Errorf("a stale token: %v", err)
	}
	order.Token, order.Rows = 7, 0
	if _, err := a.Client().Checksums(ctx, "b", order); err == nil || !strings.Contains(err.Error(), "no position") {
		t.Errorf("an answer without a position: %v", err)
	}
}
