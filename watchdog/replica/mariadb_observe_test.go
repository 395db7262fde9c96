package replica

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

func TestMariaDBObserve(t *testing.T) {
	p := mariaPair(t)
	obs := p.healthy(t)
	fmt.Printf("server: mariadb %s\n", obs.Version)
	src := obs.Source()
	if src == nil || src.Host != "127.0.0.1" || src.Port != p.source.port || src.User != "repl" || !src.AutoPosition {
		t.Fatalf("source: %+v", src)
	}
	if !src.Lag.Known || src.Retrieved == "" || src.Channel != "" || src.Delay != 0 || src.Filters != "" {
		t.Errorf("source: %+v", src)
	}
	if obs.Flavor != "mariadb" || obs.VersionNumber < 100600 || obs.ServerID != 2 || obs.ServerUUID != "server-id:2" || !obs.LogBin || obs.GroupMember {
		t.Errorf("server: %+v", obs)
	}
	if !obs.ReadOnly || !obs.SuperReadOnly || obs.OfflineMode || obs.Writable() || len(obs.Attached) != 0 {
		t.Errorf("openness: %+v", obs)
	}
	if want := fmt.Sprintf("127.0.0.1:%d", p.replica.port); obs.Address != want {
		t.Errorf("address %s, want %s", obs.Address, want)
	}
	if strings.TrimSuffix(obs.Datadir, "/") != p.replica.datadir || time.Since(obs.StartedAt) > 10*time.Minute || obs.Replicated == "" {
		t.Errorf("datadir %s, started %s, replicated %s", obs.Datadir, obs.StartedAt, obs.Replicated)
	}
	primary := p.source.own.Observe(t.Context())
	if !primary.Writable() || len(primary.Sources) != 0 || len(primary.Attached) != 1 || primary.Attached[0] != obs.ServerUUID {
		t.Errorf("primary: %+v", primary)
	}
	if src.UUID != primary.ServerUUID || primary.SemiSync.On || primary.SemiSync.Wants != 1 || primary.Replicated != "" {
		t.Errorf("source uuid %s, semi-sync %+v", src.UUID, primary.SemiSync)
	}
	if n, err := p.source.own.DataBytes(t.Context()); err != nil || n < 10<<20 {
		t.Errorf("data: %d bytes, %v", n, err)
	}
	if d, _ := watchdog.Diagnose(watchdog.Memory{}, obs, watchdog.PrimaryFacts{}, time.Now(), watchdog.DiagnoseConfig{MaxLag: time.Minute}); d.Class != watchdog.ClassHealthy {
		t.Errorf("%+v", d)
	}
	p.replica.own.Observe(t.Context()) // in a session that has begun
	before := mariaQuestions(t, p.replica)
	p.replica.own.Observe(t.Context())
	if n := mariaQuestions(t, p.replica) - before - 1; n > 5 {
		t.Errorf("observing takes %d statements, want at most 5", n)
	}
}

func mariaQuestions(t *testing.T, n *node) int {
	t.Helper()
	count, err := strconv.Atoi(n.value(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='QUESTIONS'"))
	if err != nil {
		t.Fatal(err)
	}
	return count
}

func TestMariaDBSemiSync(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	p.source.must(t, "SET GLOBAL rpl_semi_sync_master_enabled=ON")
	p.replica.must(t, "SET GLOBAL rpl_semi_sync_slave_enabled=ON", "STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD")
	until(t, "the replica to acknowledge", func() bool {
		return p.source.own.Observe(t.Context()).SemiSync == watchdog.SemiSync{On: true, Clients: 1, Wants: 1} &&
			p.replica.own.Observe(t.Context()).SemiSync.Replica
	})
	p.source.must(t, "SET GLOBAL rpl_semi_sync_master_enabled=OFF")
	p.replica.must(t, "SET GLOBAL rpl_semi_sync_slave_enabled=OFF", "STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD")
	p.healthy(t)
}

// The server goes on showing the server_id of its last source after it was
// told to use another; that must not name the wrong node.
func TestMariaDBNamesItsSourceOnlyWhereProven(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	p.replica.must(t, "STOP SLAVE")
	pos := p.replica.value(t, "SELECT @@GLOBAL.gtid_slave_pos")
	if src := sourceOf(t, p.replica.own); src.UUID != "server-id:1" {
		t.Errorf("stopped: %q", src.UUID)
	}
	p.replica.must(t, "CHANGE MASTER TO MASTER_PORT=1", "START SLAVE")
	for range 3 {
		if src := sourceOf(t, p.replica.own); src.UUID != "" {
			t.Errorf("told to use another: %q", src.UUID)
		}
	}
	// Nor does an error of the last source, which is still shown too.
	p.replica.must(t, "STOP SLAVE", mariaSource(p.source), "SET GLOBAL gtid_slave_pos='0-1-5000000'", "START SLAVE")
	p.diagnosed(t, watchdog.ClassUnknown, watchdog.ReasonErrant)
	refused := open(t, Options{Socket: p.replica.socket, User: "resilver", Password: pw(ownPassword)})
	if src := sourceOf(t, refused); src.UUID != "server-id:1" {
		t.Errorf("refused by it: %q", src.UUID)
	}
	p.replica.must(t, "STOP SLAVE", "CHANGE MASTER TO MASTER_PORT=1")
	for _, s := range []*Server{p.replica.own, refused} {
		if src := sourceOf(t, s); src.UUID != "" || src.Receiver.Errno != 1236 {
			t.Errorf("refused, then told to use another: %+v", src)
		}
	}
	p.replica.must(t, "SET GLOBAL gtid_slave_pos="+literal(pos), mariaSource(p.source))
	again := open(t, Options{Socket: p.replica.socket, User: "resilver", Password: pw(ownPassword)})
	if src := sourceOf(t, again); src.UUID != "" {
		t.Errorf("never seen connected: %q", src.UUID)
	}
	p.replica.must(t, "START SLAVE")
	p.healthy(t)
	if src := sourceOf(t, p.replica.own); src.UUID != "server-id:1" {
		t.Errorf("connected: %q", src.UUID)
	}
}

func sourceOf(t *testing.T, s *Server) watchdog.SourceStatus {
	t.Helper()
	obs := s.Observe(t.Context())
	if !obs.Reachable || len(obs.Sources) != 1 {
		t.Fatalf("%+v", obs)
	}
	return obs.Sources[0]
}

// An account that may not see something must not read it as absent.
func TestMariaDBObserveWithoutPrivileges(t *testing.T) {
	p := mariaPair(t)
	p.healthy(t)
	all := []string{"BINLOG ADMIN", "SLAVE MONITOR", "BINLOG MONITOR", "REPLICATION MASTER ADMIN"}
	for i := range all {
		name := fmt.Sprintf("poor%d@localhost", i)
		p.source.must(t, "CREATE USER "+name+" IDENTIFIED BY 'x'")
		for j, right := range all {
			if j != i {
				p.source.must(t, "GRANT "+right+" ON *.* TO "+name)
			}
		}
	}
	p.healthy(t)
	for i, right := range all {
		s := open(t, Options{Socket: p.replica.socket, User: fmt.Sprintf("poor%d", i), Password: pw("x")})
		if obs := s.Observe(t.Context()); obs.Reachable || obs.Trouble != watchdog.TroubleDenied || !strings.Contains(obs.Err, right) {
			t.Errorf("without %s: reachable %v, trouble %q, %s", right, obs.Reachable, obs.Trouble, obs.Err)
		}
	}
	p.source.must(t, "DROP USER poor0@localhost, poor1@localhost, poor2@localhost, poor3@localhost")
	s := open(t, Options{Socket: p.replica.socket, User: "nobody", Password: pw("hidden-secret")})
	if obs := s.Observe(t.Context()); obs.Trouble != watchdog.TroubleDenied || strings.Contains(obs.Err, "hidden-secret") {
		t.Errorf("no account: %q, %s", obs.Trouble, obs.Err)
	}
	p.healthy(t)
}
