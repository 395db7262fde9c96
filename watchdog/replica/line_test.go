package replica

import (
	"fmt"
	"testing"

	"resilver/watchdog"
)

// TestSessionKnowsItself: what was asked of a connection once stays true of it,
// and a server that was started again is asked anew: KILL goes by that number.
func TestSessionKnowsItself(t *testing.T) {
	healthy(t)
	s := open(t, Options{Socket: lab.replica.socket, User: "resilver"})
	check := func(when string) {
		t.Helper()
		for range 2 {
			ss, err := s.session(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			r, err := ss.one(t.Context(), "ask", "SELECT CONNECTION_ID() AS id, VERSION() AS version")
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if r.unsigned("id") != ss.id || r.text("version") != ss.version.text || r.err() != nil {
				t.Errorf("%s: it is %s of a %s, and took itself for %d of a %s", when, r.text("id"), r.text("version"), ss.id, ss.version.text)
			}
			ss.close()
		}
	}
	check("at first")
	lab.replica.stop()
	if err := lab.replica.start(); err != nil {
		t.Fatal(err)
	}
	lab.replica.must(t, "SET GLOBAL super_read_only = ON") // as the other tests find it
	check("after a restart")
	healthy(t)
}

// TestGrantedAtOnce: what an account is granted counts from the next look on. A
// server gives a session the rights that its account had when it began, and
// accounts come by replication, statement by statement.
func TestGrantedAtOnce(t *testing.T) {
	healthy(t)
	lab.replica.locally(t, "CREATE USER late@localhost IDENTIFIED WITH auth_socket AS 'root'", "GRANT SESSION_VARIABLES_ADMIN ON *.* TO late@localhost")
	defer lab.replica.locally(t, "DROP USER late@localhost")
	s := open(t, Options{Socket: lab.replica.socket, User: "late"})
	if obs := s.Observe(t.Context()); obs.Trouble != watchdog.TroubleDenied {
		t.Fatalf("without rights: %q %s", obs.Trouble, obs.Err)
	}
	lab.replica.locally(t, "GRANT REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO late@localhost", "GRANT SELECT ON performance_schema.* TO late@localhost")
	if obs := s.Observe(t.Context()); !obs.Reachable {
		t.Errorf("granted: %s", obs.Err)
	}
}

// TestDisconnectEndsASessionThatHolds: a session that is checked out, and holds
// the global read lock, is gone from the server with Disconnect, and so is one
// whose statement is under way.
func TestDisconnectEndsASessionThatHolds(t *testing.T) {
	healthy(t)
	s := open(t, Options{Socket: lab.replica.socket, User: "resilver"})
	holder, err := s.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.exec(t.Context(), closeLimit, "lock", "FLUSH TABLES WITH READ LOCK"); err != nil {
		t.Fatal(err)
	}
	busy, err := s.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- busy.exec(t.Context(), 0, "sleep", "DO SLEEP(60)") }()
	count := func(id uint64) string {
		return lab.replica.value(t, fmt.Sprintf("SELECT COUNT(*) FROM performance_schema.processlist WHERE ID = %d AND (ID = %d OR COMMAND = 'Query')", id, holder.id))
	}
	until(t, "both sessions to be there", func() bool { return count(holder.id) == "1" && count(busy.id) == "1" })
	if err := s.Disconnect(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the statement under way ended well")
	}
	until(t, "the lock's session to be gone", func() bool { return count(holder.id) == "0" })
	holder.drop()
	busy.drop()
	// The server may notice a lost client only when it answers.
	_, _ = lab.replica.root.ExecContext(t.Context(), fmt.Sprintf("KILL %d", busy.id))
	healthy(t)
}
