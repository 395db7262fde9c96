package replica

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"resilver/watchdog"
)

func TestCloseToClients(t *testing.T) {
	lab.closeAndUndo(t, func() {
		if obs := lab.replica.own.Observe(t.Context()); !obs.OfflineMode {
			t.Errorf("closed, but: %+v", obs)
		}
		if _, err := lab.replica.own.Executed(t.Context()); err != nil {
			t.Errorf("we ourselves are shut out: %v", err)
		}
	})
}

// closeAndUndo closes the replica, looks, and opens it as it was.
func (p *pair) closeAndUndo(t *testing.T, look func()) {
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	before, c := p.closed(t)
	if err := c.Check(ctx); err != nil {
		t.Error(err)
	}
	p.source.must(t, "REPLACE INTO t.a VALUES (2000,'while closed')")
	if obs := s.Observe(ctx); !obs.Reachable || !obs.ReadOnly || obs.Sources[0].Receiver.Running != watchdog.ThreadStopped {
		t.Errorf("closed, but: %+v", obs)
	}
	look()
	if err := c.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if after, err := s.Openness(ctx); err != nil || after != before {
		t.Errorf("%+v, wanted %+v, %v", after, before, err)
	}
	p.healthy(t)
}

// A promoter with every privilege opens a closed server: even so its write
// waits, and undoing leaves the server as the promoter wants it.
func TestPromotedWhileClosed(t *testing.T) {
	lab.promotedWhileClosed(t)
	lab.replica.must(t, "START REPLICA")
	healthy(t)
}

// promotedWhileClosed leaves the replica writable, its threads stopped.
func (p *pair) promotedWhileClosed(t *testing.T) {
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	_, c := p.closed(t)
	promoter := promote(t, p.replica)
	if err := c.Check(ctx); err == nil {
		t.Error("a server opened by somebody counts as closed")
	}
	select {
	case err := <-promoter:
		t.Errorf("a write got through: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := c.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-promoter; err != nil {
		t.Errorf("the promoter's write: %v", err)
	}
	if after, err := s.Openness(ctx); err != nil || after != (Openness{}) {
		t.Errorf("%+v, %v; wanted it open and its receiver left alone", after, err)
	}
	p.replica.locally(t, "DELETE FROM t.a WHERE id=3000")
}

func (p *pair) closed(t *testing.T) (Openness, *Closed) {
	t.Helper()
	before, err := p.replica.own.Openness(t.Context())
	if err != nil || !before.ReadOnly || !before.SuperReadOnly && !p.replica.maria || before.OfflineMode || !before.ReceiverRunning {
		t.Fatalf("%+v, %v", before, err)
	}
	c, err := p.replica.own.CloseToClients(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	return before, c
}

// promote turns read-only off and writes, without a binary log so that the
// replica stays one; the result comes when the write ended.
func promote(t *testing.T, n *node) <-chan error {
	done := make(chan error, 1)
	conn, err := n.root.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"SET sql_log_bin=0", "SET SESSION lock_wait_timeout=20", "SET GLOBAL read_only=OFF"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			// The lock may hold this up as well; then it is no way in either.
			t.Logf("%s: %v", q, err)
		}
	}
	go func() {
		_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "INSERT INTO t.a VALUES (3000,'promoted')")
		_ = conn.Close()
		done <- err
	}()
	return done
}

// Something holds the server up: closing gives up, and all is as before.
func TestCloseToClientsHangs(t *testing.T) {
	healthy(t)
	s := lab.replica.own
	for name, hold := range map[string][]string{
		"table lock":       {"LOCK TABLES t.a WRITE"},
		"global read lock": {"FLUSH TABLES WITH READ LOCK"},
	} {
		t.Run(name, func(t *testing.T) {
			lab.replica.must(t, "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
			conn, err := lab.replica.root.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range hold {
				if _, err := conn.ExecContext(t.Context(), q); err != nil {
					t.Fatal(err)
				}
			}
			before, err := s.Openness(t.Context())
			if err != nil || before.ReadOnly {
				t.Fatal(before, err)
			}
			// The global read lock is shared with ours: then it closes.
			lab.closeInVain(t, conn, before, name == "global read lock")
			if n := lab.replica.value(t, `SELECT GROUP_CONCAT(CONCAT_WS('|', PROCESSLIST_ID, PROCESSLIST_TIME, PROCESSLIST_STATE, PROCESSLIST_INFO)) FROM performance_schema.threads
				WHERE NAME='thread/sql/one_connection' AND PROCESSLIST_USER='resilver' AND PROCESSLIST_COMMAND='Query'`); n != "" {
				t.Errorf("statements of ours are still running: %s", n)
			}
			lab.replica.must(t, "SET GLOBAL super_read_only=ON", "START REPLICA")
			healthy(t)
		})
	}
}

// closeInVain closes a server that conn holds up, and lets that go; may says
// that it may close all the same.
func (p *pair) closeInVain(t *testing.T, conn *sql.Conn, before Openness, may bool) {
	t.Helper()
	s := p.replica.own
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	if c, err := s.CloseToClients(ctx, before); !errors.Is(err, ErrHung) {
		if err == nil {
			_ = c.Undo(t.Context())
		}
		if !may {
			t.Errorf("error: %v", err)
		}
	}
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
	discard(conn)
	after, err := s.Openness(t.Context())
	want := before
	want.ReceiverRunning = after.ReceiverRunning // left alone where the server is writable
	if err != nil || after != want {
		t.Errorf("%+v, wanted %+v, %v", after, want, err)
	}
}

// A server frozen while closing: the error comes in time, and nothing stays
// behind once it thaws and is reopened.
func TestCloseToClientsOfAFrozenServer(t *testing.T) {
	healthy(t)
	s := lab.replica.own
	before, err := s.Openness(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	freeze(t, lab.replica, func() {
		if _, err := s.CloseToClients(ctx, before); !errors.Is(err, ErrHung) {
			t.Errorf("error: %v", err)
		}
	})
	if err := s.Reopen(t.Context(), before); err != nil {
		t.Error(err)
	}
	after, err := s.Openness(t.Context())
	if err != nil || after != before {
		t.Errorf("%+v, wanted %+v, %v", after, before, err)
	}
	healthy(t)
}
