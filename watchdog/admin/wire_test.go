package admin

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"resilver/watchdog"
)

func stamp(seconds int) watchdog.Stamp {
	return watchdog.StampOf(time.Date(2026, 1, 2, 3, 4, seconds, 5678900, time.FixedZone("x", 3600)))
}

func ptr[T any](v T) *T { return &v }

// The shapes that scripts rely on: fields may be added, never renamed.
func TestShapes(t *testing.T) {
	holding := &watchdog.Holding{Token: 9, Holder: "db2", Donor: "db3", ID: "r1", Trigger: "auto", Phase: watchdog.PhaseCopying, Since: stamp(1)}
	full := StatusOf("orders", "db2", stamp(9), watchdog.LeaseState{Leader: "db1", Lease: holding,
		Pauses: []watchdog.Pause{{By: "ann", Reason: "backup", Node: "db3"}, {By: "bob", Reason: "upgrade", Until: stamp(3)}}})
	full.Nodes = append(full.Nodes,
		NodeOf(watchdog.NodeView{Address: "db2:7373", Report: watchdog.Report{Node: "db2", SQLAddress: "db2:3306",
			Health: watchdog.HealthRebuilding, Reason: "row-missing", LagSeconds: ptr(1.5), Version: "9.7.4", Executed: "u:1-5",
			Progress: &watchdog.Progress{ID: "r1", Trigger: "auto", Step: watchdog.StepStage, Method: "clone", Donor: "db3", Bytes: 5, BytesTotal: 10, Rate: 2}}},
			watchdog.RoleReplica, holding),
		NodeOf(watchdog.NodeView{Report: watchdog.Report{Node: "db3"}}, watchdog.RoleUnknown, holding))
	full.Nodes[0].Drill = DrillOf([]watchdog.Record{
		{ID: "d3", Node: "db2", Trigger: "drill"}, {ID: "d2", Node: "db3", Trigger: "drill", Outcome: watchdog.Passed},
		{ID: "r0", Node: "db2", Trigger: "auto", Outcome: watchdog.Failed}, {ID: "d1", Node: "db2", Trigger: "backup", Outcome: watchdog.Failed, Ended: stamp(2), Error: "e"},
	}, "db2")
	for name, test := range map[string]struct {
		daemon *daemon
		route  string
		want   string
	}{
		"empty status": {&daemon{status: StatusOf("orders", "db1", watchdog.Stamp{}, watchdog.LeaseState{})}, "status",
			`{"cluster":"orders","node":"db1","time":null,"leader":null,"nodes":[],"lease":null,"paused":null,"pauses":[],"breaker":{"open":false,"reason":null,"since":null}}`},
		"status": {&daemon{status: full}, "status",
			`{"cluster":"orders","node":"db2","time":"2026-01-02T02:04:09.005Z","leader":"db1","nodes":[` +
				`{"name":"db2","address":"db2:3306","role":"replica","health":"rebuilding","reason":"row-missing","lag_seconds":1.5,"gtid_executed":"u:1-5","version":"9.7.4","donor_state":"NONE",` +
				`"rebuild":{"id":"r1","trigger":"auto","step":"stage","method":"clone","donor":"db3","bytes":5,"bytes_total":10,"rate":2,"eta_seconds":null},` +
				`"drill":{"id":"d1","trigger":"backup","outcome":"failed","ended":"2026-01-02T02:04:02.005Z","error":"e"}},` +
				`{"name":"db3","address":null,"role":"unknown","health":"unknown","reason":null,"lag_seconds":null,"gtid_executed":null,"version":null,"donor_state":"BACKUPING","rebuild":null,"drill":null}],` +
				`"lease":{"holder":"db2","donor":"db3","token":9,"phase":"copying","id":"r1","trigger":"auto","since":"2026-01-02T02:04:01.005Z"},` +
				`"paused":{"by":"bob","reason":"upgrade","until":"2026-01-02T02:04:03.005Z","node":null},` +
				`"pauses":[{"by":"ann","reason":"backup","until":null,"node":"db3"},{"by":"bob","reason":"upgrade","until":"2026-01-02T02:04:03.005Z","node":null}],` +
				`"breaker":{"open":false,"reason":null,"since":null}}`},
		"empty plan": {&daemon{plan: PlanOf("db1", watchdog.Diagnosis{Class: watchdog.ClassHealthy}, watchdog.Decision{}, Estimate{})}, "plan",
			`{"node":"db1","diagnosis":{"class":"healthy","reason":null,"detail":null,"since":null},"rung":null,"would_act":false,"guards":[],"donors":[],"method":null,"estimate":{"bytes":null,"copy_seconds":null,"outage_seconds":null}}`},
		"plan": {&daemon{plan: PlanOf("db1", watchdog.Diagnosis{Class: watchdog.ClassPurged, Reason: "purged", Detail: "d", Since: stamp(1)},
			watchdog.Decision{Rung: watchdog.RungRebuild, WouldAct: true, Method: "clone",
				Guards: []watchdog.Guard{{ID: "mode", Verdict: watchdog.Pass, Value: "heal", Want: "heal", Reason: "r", Overridable: true}},
				Donors: []watchdog.Candidate{{Name: "db2", Score: 0.5, Fit: true}}},
			Estimate{Bytes: ptr(int64(7)), CopySeconds: ptr(1.5)})}, "plan",
			`{"node":"db1","diagnosis":{"class":"purged","reason":"purged","detail":"d","since":"2026-01-02T02:04:01.005Z"},"rung":"rebuild","would_act":true,` +
				`"guards":[{"id":"mode","verdict":"pass","value":"heal","want":"heal","reason":"r","overridable":true}],` +
				`"donors":[{"name":"db2","score":0.5,"fit":true,"reasons":[]}],"method":"clone","estimate":{"bytes":7,"copy_seconds":1.5,"outage_seconds":null}}`},
		"empty history": {&daemon{}, "history", `[]`},
		"history": {&daemon{history: []watchdog.Record{{ID: "r1", Node: "db2", Trigger: "auto", Cause: watchdog.Cause{Class: watchdog.ClassDivergent, Reason: "row-missing"},
			Donor: "db3", Method: "clone", Token: 9, Started: stamp(1), Ended: stamp(4), Outcome: watchdog.Healed, Bytes: 10, OutageSeconds: ptr(1.25),
			Steps: []watchdog.StepTime{{Name: watchdog.StepStage, Seconds: 2}}}, {ID: "r0", Node: "db3", Trigger: "manual", By: "ann"}}}, "history",
			`[{"id":"r1","node":"db2","trigger":"auto","by":null,"cause":{"class":"divergent","reason":"row-missing","gtid":null,"since":null},"donor":"db3","method":"clone","token":9,` +
				`"started":"2026-01-02T02:04:01.005Z","ended":"2026-01-02T02:04:04.005Z","outcome":"healed","error":null,"bytes":10,"outage_seconds":1.25,"backup":null,` +
				`"steps":[{"name":"stage","seconds":2}],"guards":[],"archive":null,"compared":null,"untouched":false},` +
				`{"id":"r0","node":"db3","trigger":"manual","by":"ann","cause":{"class":null,"reason":null,"gtid":null,"since":null},"donor":null,"method":null,"token":0,` +
				`"started":null,"ended":null,"outcome":null,"error":null,"bytes":0,"outage_seconds":null,"backup":null,"steps":[],"guards":[],"archive":null,"compared":null,"untouched":false}]`},
		"empty lease": {&daemon{}, "lease",
			`{"cluster_id":null,"quorum":false,"leader":null,"lease":null,"pauses":[],"breaker":{"open":false,"reason":null,"since":null},"last_token":0,"voters":[],"applied":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(tempDir(t), "s")
			run(t, Options{Socket: socket, Daemon: test.daemon})
			c := client(t, socket)
			raw, err := c.Get(t.Context(), test.route)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(bytes.TrimSpace(raw)); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestHistoryComesBack(t *testing.T) {
	want := []watchdog.Record{{ID: "r1", Started: stamp(1), Outcome: watchdog.Failed, Error: "e", OutageSeconds: ptr(2.0)}, {ID: "r0"}}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: &daemon{history: want}})
	got, err := client(t, socket).History(t.Context())
	if err != nil || len(got) != 2 || got[0].Outcome != watchdog.Failed || got[1].Outcome != "" || got[0].Started != want[0].Started || *got[0].OutageSeconds != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTextComesBack(t *testing.T) {
	var v struct{ A, B Text }
	if err := json.Unmarshal([]byte(`{"A":"x","B":null}`), &v); err != nil || v.A != "x" || v.B != "" {
		t.Errorf("%+v, %v", v, err)
	}
}
