package replica

import (
	"testing"
)

func TestMariaDBCloseToClients(t *testing.T) {
	p := mariaPair(t)
	client, err := p.replica.root.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.ExecContext(t.Context(), "SET @x = 1"); err != nil {
		t.Fatal(err)
	}
	p.closeAndUndo(t, func() {
		if err := client.PingContext(t.Context()); err == nil {
			t.Error("a client's session is still there")
		}
	})
}

// Here read_only never held a promoter anyway.
func TestMariaDBPromotedWhileClosed(t *testing.T) {
	p := mariaPair(t)
	p.promotedWhileClosed(t)
	p.replica.must(t, "SET GLOBAL read_only=ON", "START REPLICA")
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
	p.closeInVain(t, conn, before, false)
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
