package replica

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

func TestObserve(t *testing.T) {
	obs := healthy(t)
	fmt.Printf("server: mysql %s\n", obs.Version)
	src := obs.Source()
	if src == nil || src.Host != "127.0.0.1" || src.Port != lab.source.port || src.User != "repl" || !src.AutoPosition {
		t.Fatalf("source: %+v", src)
	}
	if !src.Lag.Known || src.Retrieved == "" || src.Channel != "" || src.Delay != 0 || src.Filters != "" {
		t.Errorf("source: %+v", src)
	}
	if obs.Flavor != "mysql" || obs.VersionNumber < 80023 || obs.ServerID != 2 || !obs.LogBin || obs.GroupMember {
		t.Errorf("server: %+v", obs)
	}
	if !obs.SuperReadOnly || !obs.ReadOnly || obs.OfflineMode || obs.Writable() || len(obs.Attached) != 0 {
		t.Errorf("openness: %+v", obs)
	}
	if want := fmt.Sprintf("127.0.0.1:%d", lab.replica.port); obs.Address != want {
		t.Errorf("address %s, want %s", obs.Address, want)
	}
	if strings.TrimSuffix(obs.Datadir, "/") != lab.replica.datadir || time.Since(obs.StartedAt) > 10*time.Minute {
		t.Errorf("datadir %s, started %s", obs.Datadir, obs.StartedAt)
	}
	primary := lab.source.own.Observe(t.Context())
	if !primary.Writable() || len(primary.Sources) != 0 || len(primary.Attached) != 1 || primary.Attached[0] != obs.ServerUUID {
		t.Errorf("primary: %+v", primary)
	}
	if src.UUID != primary.ServerUUID || primary.SemiSync != (watchdog.SemiSync{}) {
		t.Errorf("source uuid %s, semi-sync %+v", src.UUID, primary.SemiSync)
	}
	if n, err := lab.source.own.DataBytes(t.Context()); err != nil || n < 10<<20 {
		t.Errorf("data: %d bytes, %v", n, err)
	}
	if n := statements(t); n > 6 {
		t.Errorf("observing takes %d statements, want at most 6", n)
	}
}

// statements counts what one observation asks the server.
func statements(t *testing.T) int {
	count := func() (n int) {
		_, err := fmt.Sscan(lab.replica.value(t, `SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME='Questions'`), &n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	lab.replica.own.Observe(t.Context())
	return count() - before - 1
}

// An account that may not see something must not read it as absent.
func TestObserveWithoutPrivileges(t *testing.T) {
	healthy(t)
	all := []string{"SYSTEM_VARIABLES_ADMIN", "REPLICATION CLIENT", "REPLICATION SLAVE"}
	for i := range all {
		name := fmt.Sprintf("poor%d", i)
		lab.source.must(t, "CREATE USER "+name+"@localhost IDENTIFIED BY 'x'")
		for j, p := range all {
			if j != i {
				lab.source.must(t, "GRANT "+p+" ON *.* TO "+name+"@localhost")
			}
		}
		if i != 0 {
			lab.source.must(t, "GRANT SELECT ON performance_schema.* TO "+name+"@localhost")
		}
	}
	healthy(t)
	for i, want := range []string{"sql_log_bin|SYSTEM_VARIABLES_ADMIN", "REPLICATION CLIENT", "REPLICATION SLAVE"} {
		s := open(t, Options{Socket: lab.replica.socket, User: fmt.Sprintf("poor%d", i), Password: pw("x")})
		obs := s.Observe(t.Context())
		if obs.Reachable || obs.Trouble != watchdog.TroubleDenied {
			t.Errorf("without %s: reachable %v, trouble %q, %s", all[i], obs.Reachable, obs.Trouble, obs.Err)
		}
		if !strings.Contains(obs.Err, strings.Split(want, "|")[len(strings.Split(want, "|"))-1]) {
			t.Errorf("without %s: %s", all[i], obs.Err)
		}
		if d, _ := watchdog.Diagnose(watchdog.Memory{}, obs, watchdog.PrimaryFacts{}, time.Now(), watchdog.DiagnoseConfig{}); d.Class != watchdog.ClassUnknown {
			t.Errorf("without %s: class %s", all[i], d.Class)
		}
	}
	lab.source.must(t, "DROP USER poor0@localhost, poor1@localhost, poor2@localhost")
	s := open(t, Options{Socket: lab.replica.socket, User: "nobody", Password: pw("hidden-secret")})
	obs := s.Observe(t.Context())
	if obs.Trouble != watchdog.TroubleDenied || strings.Contains(obs.Err, "hidden-secret") {
		t.Errorf("no account: %q, %s", obs.Trouble, obs.Err)
	}
	s = open(t, Options{Socket: lab.dir + "/none.sock", User: "resilver"})
	if obs := s.Observe(t.Context()); obs.Trouble != watchdog.TroubleDown {
		t.Errorf("no server: %q, %s", obs.Trouble, obs.Err)
	}
}

func open(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Disconnect(); err != nil {
			t.Error(err)
		}
	})
	return s
}
