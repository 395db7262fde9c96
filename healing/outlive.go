package healing

import (
	"context"
	"errors"
	"sync"
	"time"

	"resilver/healing/service"
)

// outliving is the context of what goes on although the process was told to
// end, because the replica is away. It ends where the whole machine goes down:
// no server can be started there any more, and that is no fault of the copy.
// The journal leads on after the boot.
func (r *rebuild) outliving() (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.h.life))
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-r.h.life.Done():
		}
		for !r.goingDown() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(downPace):
			}
		}
		cancel(errStopping)
	})
	return ctx, func() { cancel(nil); watch.Wait() }
}

// downPace is how often a process that was told to end, and goes on, looks
// whether the machine goes down.
const downPace = time.Second

// goingDown asks mysqld's manager, which is the machine's where it can tell.
func (r *rebuild) goingDown() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.h.life), askDeadline)
	defer cancel()
	_, err := r.h.o.Service.Status(ctx)
	// A manager that is gone while this process ends, too, went down with it.
	return errors.Is(err, service.ErrGoingDown) || err != nil && r.h.life.Err() != nil
}
