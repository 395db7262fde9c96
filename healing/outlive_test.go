package healing

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"resilver/healing/service"
)

// manager is one that says only how it is.
type manager struct {
	service.Service
	down atomic.Bool
}

func (m *manager) Status(context.Context) (service.Status, error) {
	if m.down.Load() {
		return service.Status{}, service.ErrGoingDown
	}
	return service.Status{}, errors.New("no answer")
}

// TestOutliving: what goes on after the process was told to end goes on until
// the machine goes down, and no longer.
func TestOutliving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(manager)
		h := &Healer{o: Options{Service: m}}
		h.life, h.stop = context.WithCancelCause(t.Context())
		r := &rebuild{h: h}
		ctx, end := r.outliving()
		defer end()
		m.down.Store(true)
		time.Sleep(time.Minute)
		if ctx.Err() != nil {
			t.Error("it ended although the process goes on")
		}
		m.down.Store(false)
		h.stop(errStopping)
		time.Sleep(time.Minute)
		if ctx.Err() != nil || r.goingDown() {
			t.Error("it ended although the machine does not go down")
		}
		m.down.Store(true)
		time.Sleep(2 * downPace)
		if !errors.Is(context.Cause(ctx), errStopping) {
			t.Errorf("the machine goes down, and it ends by %v", context.Cause(ctx))
		}
	})
}
