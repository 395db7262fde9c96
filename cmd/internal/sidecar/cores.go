package sidecar

import (
	"runtime"
	"sync"
)

// cores keeps Go's scheduler on one core while no copy flows: an idle sidecar
// wakes some dozens of times a second for a moment, and what each wake costs
// is mostly other cores being woken to help. A fifth of an idle sidecar's
// processor time was seen to go that way. A copy has all of them.
type cores struct {
	mu      sync.Mutex
	streams int
}

// rest is called when there is nothing yet to be done.
func (c *cores) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == 0 {
		runtime.GOMAXPROCS(1)
	}
}

// work gives all cores, until the function it returns is called.
func (c *cores) work() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams++; c.streams == 1 {
		runtime.SetDefaultGOMAXPROCS()
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		c.streams--
		c.mu.Unlock()
		c.rest()
	})
}
