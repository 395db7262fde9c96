package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

// drift is the bound that is assumed on how far two nodes' clocks run apart
// while a lease lasts: one per cent, a hundred times what a bad quartz does.
const drift = 0.01

// maxMargin is what the holder gives up of its lease besides the drift.
const maxMargin = 2 * time.Second

// boottime is a clock that also runs while the machine sleeps, which Go's own
// monotonic clock does not.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Not on any Linux since 2.6.39. Far in the future: no lease is held.
		return 1 << 62
	}
	return time.Duration(ts.Nano())
}

// holderSpan is how long a holder may act after it first sent its request.
func holderSpan(ttl time.Duration) time.Duration {
	margin := min(maxMargin, ttl/20)
	return ttl - time.Duration(float64(ttl)*drift) - margin
}

// expirySpan is how long a leader waits after it applied a renewal.
func expirySpan(ttl time.Duration) time.Duration {
	return ttl + time.Duration(float64(ttl)*drift)
}
