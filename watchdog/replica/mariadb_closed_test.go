package replica

import (
	"context"
	"errors"
	"testing"
	"time"

	"resilver/watchdog"
)

func TestMariaDBCloseToClients(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	client, err := p.replica.root.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.ExecContext(ctx, "SET @x = 1"); err != nil {
		t.Fatal(err)
	}
	before, c := mariaClosed(t, p)
	if err := c.Check(ctx); err != nil {
		t.Error(err)
	}
	if err := client.PingContext(ctx); err == nil {
		t.Error("a client's session is still there")
	}
	p.source.must(t, "REPLACE INTO t.a VALUES (2000,'while closed')")
	if obs := s.Observe(ctx); !obs.Reachable || !obs.ReadOnly || obs.Sources[0].Receiver.Running != watchdog.ThreadStopped {
		t.Errorf("closed, but: %+v", obs)
	}
	if err := c.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if after, err := s.Openness(ctx); err != nil || after != before {
		t.Errorf("%+v, wanted %+v, %v", after, before, err)
	}
	p.healthy(t)
}

func mariaClosed(t *testing.T, p *pair) (Openness, *Closed) {
	t.Helper()
	before, err := p.replica.own.Openness(t.Context())
	if err != nil || !before.ReadOnly || before.OfflineMode || !before.ReceiverRunning {
		t.Fatalf("%+v, %v", before, err)
	}
	c, err := p.replica.own.CloseToClients(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	return before, c
}

// A promoter opens a closed server, and read_only never held him anyway: his
// write waits for the lock all the same, and undoing leaves the server as he
// wants it.
func TestMariaDBPromotedWhileClosed(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s, ctx := p.replica.own, t.Context()
	_, c := mariaClosed(t, p)
	conn, err := p.replica.root.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"SET sql_log_bin=0", "SET SESSION lock_wait_timeout=20", "SET GLOBAL read_only=OFF"} {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "INSERT INTO t.a VALUES (3000,'promoted')")
		_ = conn.Close()
		wrote <- err
	}()
	if err := c.Check(ctx); err == nil {
		t.Error("a server opened by somebody counts as closed")
	}
	select {
	case err := <-wrote:
		t.Errorf("a write got through: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := c.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the promoter's write: %v", err)
	}
	if after, err := s.Openness(ctx); err != nil || after != (Openness{}) {
		t.Errorf("%+v, %v; wanted it open and its receiver left alone", after, err)
	}
	p.replica.locally(t, "DELETE FROM t.a WHERE id=3000")
	p.replica.must(t, "SET GLOBAL read_only=ON", "START SLAVE")
	p.healthy(t)
}

// Something holds the server up: closing gives up, and all is as before. A
// writable server that was closed is opened again.
func TestMariaDBCloseToClientsHangs(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	s := p.replica.own
	p.replica.must(t, "SET GLOBAL read_only=OFF")
	// A session of our own account is not ended, so that it can be in the way.
	p.replica.locally(t, "GRANT LOCK TABLES, SELECT ON t.* TO resilver@localhost")
	holder := open(t, Options{Socket: p.replica.socket, User: "resilver", Password: pw(ownPassword)})
	conn, err := holder.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "LOCK TABLES t.a WRITE"); err != nil {
		t.Fatal(err)
	}
	defer discard(conn)
	before, err := s.Openness(t.Context())
	if err != nil || before.ReadOnly {
		t.Fatal(before, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	if c, err := s.CloseToClients(ctx, before); !errors.Is(err, ErrHung) {
		if err == nil {
			_ = c.Undo(t.Context())
		}
		t.Errorf("error: %v", err)
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
	before, err = s.Openness(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.CloseToClients(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := s.Openness(t.Context()); err != nil || !now.ReadOnly {
		t.Errorf("%+v, %v", now, err)
	}
	if err := c.Undo(t.Context()); err != nil {
		t.Error(err)
	}
	if now, err := s.Openness(t.Context()); err != nil || now.ReadOnly {
		t.Errorf("%+v, %v", now, err)
	}
	p.replica.locally(t, "REVOKE LOCK TABLES, SELECT ON t.* FROM resilver@localhost")
	p.replica.must(t, "SET GLOBAL read_only=ON", "START SLAVE")
	p.healthy(t)
}

// What the option files say is known until a statement says something.
func TestMariaDBStartsReadOnly(t *testing.T) {
	for _, c := range []struct {
		line string
		set  []string
		want string
	}{
		{"read_only=ON", nil, ""},
		{"read_only=OFF", nil, "no option file says read_only=ON: add that line under [mariadbd]"},
		{"", nil, "no option file says read_only=ON: add that line under [mariadbd]"},
		{"read_only=ON", []string{"SET GLOBAL read_only=ON"}, "read_only was set by a statement, which hides what the option files say"},
	} {
		n := mariaNode(t, "reads", 3, c.line, "skip_networking=ON")
		if err := n.fill(); err != nil {
			t.Fatal(err)
		}
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		n.must(t, append(c.set, "DO 1")...)
		if got, err := n.own.StartsReadOnly(t.Context()); err != nil || got != c.want {
			t.Errorf("%q, then %v: %q, %v", c.line, c.set, got, err)
		}
		if c.line == "read_only=ON" && c.set == nil {
			mariaStaysKnown(t, n)
		}
		n.end()
	}
}

// mariaStaysKnown closes the server and opens it: the server still knows that
// its option file says read_only, or the next rebuild would be refused.
func mariaStaysKnown(t *testing.T, n *node) {
	ctx := t.Context()
	before, err := n.own.Openness(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.own.CloseToClients(ctx, before)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.own.OpenForClients(ctx, Persisted{}, false); err != nil {
		t.Fatal(err)
	}
	if err := n.own.OpenForClients(ctx, Persisted{"read_only": nil}, false); err == nil {
		t.Error("what MariaDB cannot persist was taken for restored")
	}
	p, err := protection(ctx, n.own)
	if err != nil || !p.ByOptionFile() || p.Hidden() || p.Path == "" {
		t.Errorf("%+v, %v", p, err)
	}
}
