package sidecar

import (
	"runtime"
	"testing"
)

// TestCores: one core while nothing flows, all of them from the first stream's
// beginning to the last one's end, however often that is said.
func TestCores(t *testing.T) {
	t.Cleanup(runtime.SetDefaultGOMAXPROCS)
	runtime.SetDefaultGOMAXPROCS()
	all := runtime.GOMAXPROCS(0)
	want := func(n int, when string) {
		t.Helper()
		if got := runtime.GOMAXPROCS(0); got != n {
			t.Errorf("%s it runs on %d cores, want %d", when, got, n)
		}
	}
	c := &cores{}
	c.rest()
	want(1, "at rest")
	first, second := c.work(), c.work()
	want(all, "with two streams")
	first()
	first()
	c.rest()
	want(all, "with one stream left")
	second()
	want(1, "after the last stream")
}
