package healing

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"resilver/healing/service"
)

// manager is one that says only how it is.
type manager struct {
	service.Service
	mu  sync.Mutex
	err error
}

func (m *manager) Status(context.Context) (service.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return service.Status{}, m.err
}

func (m *manager) says(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// TestOutliving: what goes on after the process was told to end goes on until
// the machine goes down, or mysqld's manager has gone, and no longer.
func TestOutliving(t *testing.T) {
	for name, ends := range map[string]error{"the machine": service.ErrGoingDown, "the manager": errors.New("no answer")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &manager{err: ends}
				h := &Healer{o: Options{Service: m}}
				h.life, h.stop = context.WithCancelCause(t.Context())
				r := &rebuild{h: h}
				ctx, end := r.outliving()
				defer end()
				time.Sleep(time.Minute)
				if ctx.Err() != nil {
					t.Error("it ended although the process goes on")
				}
				m.says(nil)
				h.stop(errStopping)
				time.Sleep(time.Minute)
				if ctx.Err() != nil || r.goingDown() {
					t.Error("it ended although the machine does not go down")
				}
				m.says(ends)
				time.Sleep(2 * downPace)
				if !errors.Is(context.Cause(ctx), errStopping) {
					t.Errorf("it goes down, and this ends by %v", context.Cause(ctx))
				}
			})
		})
	}
}
