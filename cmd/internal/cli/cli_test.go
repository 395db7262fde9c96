package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a test double behind a real admin socket.
type daemon struct {
	mu       sync.Mutex
	err      error // of every change
	asked    []string
	statuses []admin.Status // one after the other; the last one stays
	history  []watchdog.Record
	onStatus func(n int)
	n        int
}

func (d *daemon) note(format string, args ...any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprintf(format, args...))
	return d.err
}

func (d *daemon) Status(context.Context) (admin.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	if d.onStatus != nil {
		d.onStatus(d.n)
	}
	return d.statuses[min(d.n, len(d.statuses))-1], nil
}
func (d *daemon) Plan(_ context.Context, w admin.PlanWish) (admin.Plan, error) {
	if w.Rollback {
		return admin.Plan{Node: "db2", Rung: admin.Text(watchdog.RungRollback), WouldAct: true, Guards: []watchdog.Guard{{ID: "old-datadir", Verdict: watchdog.Pass, Value: "of rebuild r1"}}}, nil
	}
	return admin.PlanOf("db2", watchdog.Diagnosis{Class: watchdog.ClassDivergent, Reason: "row-missing", Detail: "Can't find record\nin 't'", Since: at(1)},
		watchdog.Decision{Rung: watchdog.RungRebuild, Method: "clone", Guards: []watchdog.Guard{
			{ID: "mode", Verdict: watchdog.Pass, Value: "heal", Want: "heal", Reason: "policy"},
			{ID: "lease", Verdict: watchdog.Fail, Value: "db3", Want: "free", Reason: "held by db3"}},
			Donors: []watchdog.Candidate{{Name: "db3", Score: 1, Fit: true}, {Name: "db1", Reasons: []string{"is the primary", "lags"}}}},
		admin.Estimate{Bytes: ptr(int64(3 << 29)), CopySeconds: ptr(75.0), OutageSeconds: ptr(1.1)}), nil
}
func (d *daemon) History(context.Context) ([]watchdog.Record, error) { return d.history, nil }
func (d *daemon) Lease(context.Context) (watchdog.LeaseState, error) {
	return watchdog.LeaseState{ClusterID: "c1", Quorum: true, Leader: "db1", Voters: []string{"db1", "db2"}, LastToken: 9}, nil
}
func (d *daemon) Rebuild(_ context.Context, r admin.RebuildRequest) (admin.RebuildAnswer, error) {
	answer := admin.RebuildAnswer{ID: "r1", Token: 9}
	if r.Trigger != watchdog.TriggerRollback {
		answer.Donor, answer.Method = "db3", "clone"
	}
	return answer, d.note("%s%s from=%s method=%s override=%v", nameOf(r.Trigger), r.To, r.From, r.Method, r.Override)
}
func (d *daemon) Cancel(context.Context, string) error { return d.note("cancel") }
func (d *daemon) Pause(_ context.Context, p watchdog.Pause) error {
	return d.note("pause node=%s reason=%s until=%v", p.Node, p.Reason, !p.Until.IsZero())
}
func (d *daemon) Resume(_ context.Context, node, _ string) error {
	return d.note("resume node=%s", node)
}
func (d *daemon) Ack(context.Context, string) error { return d.note("ack") }

func at(seconds int) watchdog.Stamp {
	return watchdog.StampOf(time.Date(2026, 1, 2, 3, 4, seconds, 0, time.UTC))
}

func ptr[T any](v T) *T { return &v }

func healed() watchdog.Record {
	return watchdog.Record{ID: "r1", Node: "db2", Trigger: "auto", Cause: watchdog.Cause{Class: watchdog.ClassPurged, Reason: "purged"}, Donor: "db3", Method: "clone",
		Token: 9, Started: at(1), Ended: at(13), Outcome: watchdog.Healed, Bytes: 5 << 20, OutageSeconds: ptr(1.25),
		Steps: []watchdog.StepTime{{Name: watchdog.StepStage, Seconds: 8}}}
}

// status is a cluster in which db2 is at a step of its rebuild, or at none.
func status(step watchdog.Step, bytes int64) admin.Status {
	var progress *watchdog.Progress
	state := watchdog.LeaseState{Leader: "db1"}
	health := watchdog.HealthCatchingUp
	if step != "" {
		progress = &watchdog.Progress{ID: "r1", Step: step, Method: "clone", Donor: "db3", Bytes: bytes, BytesTotal: 5 << 20, Rate: 1 << 20, ETASeconds: ptr(2.0)}
		state.Lease = &watchdog.Holding{Token: 9, Holder: "db2", Donor: "db3", ID: "r1", Phase: watchdog.PhaseCopying, Since: at(1)}
		health = watchdog.HealthRebuilding
	}
	s := admin.StatusOf("orders", "db2", at(5), state)
	s.Nodes = append(s.Nodes,
		admin.NodeOf(watchdog.NodeView{Report: watchdog.Report{Node: "db1", SQLAddress: "db1:3306", Health: watchdog.HealthHealthy, Version: "9.7.4"}}, watchdog.RolePrimary, state.Lease),
		admin.NodeOf(watchdog.NodeView{Report: watchdog.Report{Node: "db2", Health: health, Reason: "row-missing", Progress: progress}}, watchdog.RoleReplica, state.Lease),
		admin.NodeOf(watchdog.NodeView{Report: watchdog.Report{Node: "db3", Health: watchdog.HealthHealthy, LagSeconds: ptr(0.2)}}, watchdog.RoleReplica, state.Lease))
	return s
}

// serve lets the double answer at a socket until the test ends.
func serve(t *testing.T, d *daemon) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	s, err := admin.Listen(admin.Options{Socket: socket, Daemon: d, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func run(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = Program{Version: "1.2.3", Stdout: &out, Stderr: &errs}.Main(ctx, args)
	return out.String(), errs.String(), code
}

func TestCommands(t *testing.T) {
	refused := admin.Refuse([]watchdog.Guard{
		{ID: "not-primary", Verdict: watchdog.Fail, Value: "primary", Want: "replica", Reason: "db2 accepts the writes"},
		{ID: "budget-node", Verdict: watchdog.Fail, Value: "2", Want: "< 2", Reason: "two in a day", Overridable: true}})
	for name, test := range map[string]struct {
		args   string
		err    error
		code   int
		asked  string
		stdout string // part of it
		stderr string // all of it
	}{
		"version":             {args: "version", stdout: "resilver 1.2.3 (go"},
		"help":                {args: "--help", stdout: "Exit codes: 0 done"},
		"unknown command":     {args: "reboot", code: 2, stderr: "resilver: unknown command \"reboot\" for \"resilver\"; see `resilver --help`\n"},
		"unknown flag":        {args: "status --loud", code: 2, stderr: "resilver: unknown flag: --loud; see `resilver --help`\n"},
		"unknown output":      {args: "status -o yaml", code: 2, stderr: "resilver: unknown output \"yaml\": it is text or json; see `resilver --help`\n"},
		"unexpected argument": {args: "ack now", code: 2, stderr: "resilver: unknown command \"now\" for \"resilver ack\"; see `resilver --help`\n"},
		"cancel":              {args: "cancel", asked: "cancel", stdout: "if a rebuild of this node was under way, it is given up; `resilver history` has its end\n"},
		"cancel json":         {args: "cancel -o json", asked: "cancel", stdout: "{}\n"},
		"ack":                 {args: "ack", asked: "ack", stdout: "the breaker is closed\n"},
		"resume":              {args: "resume", asked: "resume node=", stdout: "the cluster is not paused\n"},
		"resume node":         {args: "resume --node db3", asked: "resume node=db3", stdout: "db3 is not paused by itself\n"},
		"pause":               {args: "pause --reason upgrade", asked: "pause node= reason=upgrade until=false", stdout: "every node is paused, until `resilver resume`\n"},
		"pause node":          {args: "pause --reason upgrade --for 2h --node db3", asked: "pause node=db3 reason=upgrade until=true", stdout: "db3 is paused, until in 2h00m, or `resilver resume --node db3`\n"},
		"pause why":           {args: "pause", code: 2, stderr: "resilver: required flag(s) \"reason\" not set; see `resilver --help`\n"},
		"pause backwards":     {args: "pause --reason x --for -1s", code: 2, stderr: "resilver: --for -1s is negative\n"},
		"pause nobody":        {args: "pause --reason x --node db9", err: admin.Usage("no node is called db9"), code: 2, asked: "pause node=db9 reason=x until=false", stderr: "resilver: no node is called db9\n"},
		"no quorum":           {args: "ack", err: watchdog.ErrNoQuorum, code: 1, asked: "ack", stderr: "resilver: no quorum: no raft leader answered\n"},
		"failed":              {args: "cancel", err: errors.New("disk on fire"), code: 1, asked: "cancel", stderr: "resilver: disk on fire\n"},
		"rebuild": {args: "rebuild --from db3 --method clone --override budget-node --override cooldown",
			asked: "rebuild from=db3 method=clone override=[budget-node cooldown]", stdout: "rebuild r1 has the lease, token 9: copying from db3 by clone\n"},
		"rebuild json": {args: "rebuild -o json", asked: "rebuild from= method= override=[]", stdout: "{\n  \"id\": \"r1\",\n  \"donor\": \"db3\",\n  \"method\": \"clone\",\n  \"token\": 9\n}\n"},
		"rebuild refused": {args: "rebuild", err: refused, code: 3, asked: "rebuild from= method= override=[]",
			stdout: "GUARD        VERDICT  SEEN     WANTED   REASON\nnot-primary  fail     primary  replica  db2 accepts the writes\nbudget-node  fail     2        < 2      two in a day\n",
			stderr: "resilver: rebuild refused by not-primary, budget-node; nobody may override not-primary\n"},
		"rebuild refused json": {args: "rebuild -o json", err: refused, code: 3, asked: "rebuild from= method= override=[]", stdout: `"code": "refused"`,
			stderr: "resilver: rebuild refused by not-primary, budget-node; nobody may override not-primary\n"},
		"rebuild lost the lease": {args: "rebuild", err: &watchdog.Refusal{Guard: "lease", Reason: "held by db3"}, code: 3, asked: "rebuild from= method= override=[]",
			stdout: "lease  fail", stderr: "resilver: rebuild refused by lease: held by db3; nobody may override lease\n"},
		"rebuild without quorum": {args: "rebuild", err: watchdog.ErrNoQuorum, code: 3, asked: "rebuild from= method= override=[]",
			stdout: "unknown", stderr: "resilver: rebuild refused by lease: no quorum: no raft leader answered; nobody may override lease\n"},
		"drill":           {args: "drill --from db3", asked: "drill from=db3 method= override=[]", stdout: "drill r1 has the lease, token 9: copying from db3 by clone\n"},
		"drill refused":   {args: "drill", err: refused, code: 3, asked: "drill from= method= override=[]", stdout: "budget-node", stderr: "resilver: drill refused by not-primary, budget-node; nobody may override not-primary\n"},
		"rollback":        {args: "rollback --override local-objects", asked: "rollback from= method= override=[local-objects]", stdout: "rollback r1 has the lease, token 9: going back to the datadir that the last rebuild set aside\n"},
		"rollback plan":   {args: "plan --rollback", stdout: "would go back\n\nGUARD        VERDICT  SEEN           WANTED  REASON\nold-datadir  pass     of rebuild r1  -\n"},
		"rollback json":   {args: "rollback -o json", asked: "rollback from= method= override=[]", stdout: "{\n  \"id\": \"r1\",\n  \"donor\": null,\n  \"method\": null,\n  \"token\": 9\n}\n"},
		"rollback from":   {args: "rollback --from db3", code: 2, stderr: "resilver: unknown flag: --from; see `resilver --help`\n"},
		"drill anywhere":  {args: "drill --to /srv", code: 2, stderr: "resilver: unknown flag: --to; see `resilver --help`\n"},
		"backup":          {args: "backup --to /srv", asked: "backup/srv from= method= override=[]", stdout: "backup r1 has the lease, token 9: copying from db3 by clone\n"},
		"backup nowhere":  {args: "backup", code: 2, stderr: "resilver: required flag(s) \"to\" not set; see `resilver --help`\n"},
		"lease":           {args: "lease", stdout: "leader      db1\n"},
		"history":         {args: "history", stdout: "purged  db3    clone   5.0 MiB  12s    1.2s"},
		"history one":     {args: "history r", stdout: "outcome  healed\n"},
		"history nothing": {args: "history x", code: 2, stderr: "resilver: there is no rebuild x in the history: `resilver history` lists them\n"},
		"status json":     {args: "status -o json", stdout: `"donor_state": "BACKUPING"`},
		"grants":          {args: "grants --os-user svc", stdout: "CREATE USER IF NOT EXISTS 'resilver'@'localhost' IDENTIFIED WITH auth_socket AS 'svc';\n"},
		"grants donor":    {args: "grants --role donor", stdout: "GRANT BACKUP_ADMIN ON *.* TO 'resilver_clone'@'localhost';\n"},
		"grants nobody":   {args: "grants --role king", code: 2, stderr: "resilver: there is no role \"king\": it is sidecar or donor\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &daemon{err: test.err, history: []watchdog.Record{healed()}, statuses: []admin.Status{status(watchdog.StepStage, 1<<20)}}
			args := append(strings.Fields(test.args), "--socket", serve(t, d))
			stdout, stderr, code := run(t.Context(), args...)
			if code != test.code || stderr != test.stderr || !strings.Contains(stdout, test.stdout) {
				t.Errorf("exit %d\nstdout:\n%s\nstderr:\n%s", code, stdout, stderr)
			}
			if asked := strings.Join(d.asked, "\n"); asked != test.asked {
				t.Errorf("asked %q", asked)
			}
		})
	}
}

func TestDaemonAway(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for _, args := range []string{"status", "status --watch", "plan", "history", "history r1", "lease", "rebuild --follow", "cancel", "pause --reason x", "resume", "ack"} {
		_, stderr, code := run(t.Context(), append(strings.Fields(args), "--socket", socket)...)
		if code != 4 || !strings.HasPrefix(stderr, "resilver: the daemon cannot be reached: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
}

// What the daemon says in JSON goes out as it came, unknown fields included.
func TestJSONIsThatOfTheWire(t *testing.T) {
	d := &daemon{history: []watchdog.Record{healed(), {ID: "r0"}}, statuses: []admin.Status{status("", 0)}}
	socket := serve(t, d)
	c, err := admin.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, route := range []string{"status", "plan", "history", "lease"} {
		stdout, stderr, code := run(t.Context(), route, "-o", "json", "--socket", socket)
		raw, err := c.Get(t.Context(), route)
		if err != nil {
			t.Fatal(err)
		}
		var got, want bytes.Buffer
		if err := errors.Join(json.Compact(&got, []byte(stdout)), json.Compact(&want, raw)); err != nil || code != 0 || got.String() != want.String() {
			t.Errorf("%s: exit %d %s, %v\ngot  %s\nwant %s", route, code, stderr, err, got.String(), want.String())
		}
	}
	stdout, _, code := run(t.Context(), "history", "r0", "-o", "json", "--socket", socket)
	var one []watchdog.Record
	if err := json.Unmarshal([]byte(stdout), &one); err != nil || code != 0 || len(one) != 1 || one[0].ID != "r0" {
		t.Errorf("history r0: exit %d, %v\n%s", code, err, stdout)
	}
}

func TestStatusText(t *testing.T) {
	s := status(watchdog.StepStage, 1<<20)
	s.Pauses = append(s.Pauses, admin.PauseStatus{By: "ann", Reason: "backup", Node: "db3"}, admin.PauseStatus{By: "bob", Reason: "upgrade\x1b[2J", Until: at(9)})
	s.Breaker = admin.BreakerStatus{Open: true, Reason: "rolled back", Since: at(2)}
	var b strings.Builder
	statusText(&b, s)
	want := `cluster orders, seen by db2 at 2026-01-02T03:04:05.000Z, leader db1

NODE  ROLE     HEALTH      LAG   DONOR      VERSION  ADDRESS   WHAT
db1   primary  healthy     -     -          9.7.4    db1:3306
db2   replica  rebuilding  -     -          -        -         from db3: stage      [#####.......................]  20%  1.0 MiB of 5.0 MiB  1.0 MiB/s  ETA 2.0s
db3   replica  healthy     0.2s  BACKUPING  -        -

lease: db2 rebuilds from db3, copying, token 9
paused: db3, by ann, until ` + "`resilver resume --node db3`" + `: backup
paused: the cluster, by bob, until 2026-01-02T03:04:09.000Z: upgrade [2J
breaker: OPEN since 2026-01-02T03:04:02.000Z: rolled back; look at it, then ` + "`resilver ack`" + `
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPlanText(t *testing.T) {
	p, _ := (&daemon{}).Plan(t.Context(), admin.PlanWish{})
	var b strings.Builder
	planText(&b, p, false)
	want := `node db2 is divergent (row-missing) since 2026-01-02T03:04:01.000Z: Can't find record in 't'
would rebuild by clone, about 1.5 GiB in 1m15s, away for 1.1s, but not now: 1 of 2 guards do not pass

GUARD  VERDICT  SEEN  WANTED  REASON
lease  fail     db3   free    held by db3
mode   pass     heal  heal    policy

DONOR  FIT  SCORE  WHY
db3    yes  1.00
db1    no   0.00   is the primary; lags
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPlanTextWhereNothingIsToDo(t *testing.T) {
	guard := func(id string) watchdog.Guard {
		return watchdog.Guard{ID: id, Verdict: watchdog.Fail, Reason: "because"}
	}
	for want, guards := range map[string][]watchdog.Guard{
		"node db1 is healthy\nnothing to do\n": {guard("fixable-by-rebuild"), guard("broken-long-enough")},
		"node db1 is healthy\nnothing to do\n" +
			"were it broken, it would not be rebuilt: not-primary: because (--all shows every guard)\n": {guard("broken-long-enough"), guard("not-primary"), guard("donor")},
	} {
		p := admin.Plan{Node: "db1", Diagnosis: admin.PlanDiagnosis{Class: watchdog.ClassHealthy}, Guards: guards}
		var b strings.Builder
		if planText(&b, p, false); b.String() != want {
			t.Errorf("got\n%s\nwant\n%s", b.String(), want)
		}
		b.Reset()
		if planText(&b, p, true); !strings.Contains(b.String(), "GUARD") {
			t.Errorf("--all shows\n%s", b.String())
		}
	}
}

func TestStatusWatch(t *testing.T) {
	for name, flags := range map[string][]string{"text": nil, "json": {"-o", "json"}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := &daemon{statuses: []admin.Status{status(watchdog.StepStage, 1<<20), status("", 0)}}
			d.onStatus = func(n int) {
				if n == 3 {
					cancel()
				}
			}
			stdout, stderr, code := run(ctx, append(flags, "status", "--watch", "--socket", serve(t, d))...)
			if code != 0 || stderr != "" {
				t.Fatalf("exit %d, %s", code, stderr)
			}
			sep := "cluster orders"
			if flags != nil {
				sep = `{"cluster":"orders"`
			}
			// The third is asked for when the end is; it may still be shown.
			if n := strings.Count(stdout, sep); n < 2 || n > 3 {
				t.Errorf("%d pages:\n%s", n, stdout)
			}
		})
	}
}

func TestScreenRedrawsInPlace(t *testing.T) {
	var b strings.Builder
	s := screen{w: &b, terminal: true}
	s.show("one\ntwo\n")
	s.show("three\n")
	if want := "\x1b[2J\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J" + "\x1b[Hthree\x1b[K\n\x1b[J"; b.String() != want {
		t.Errorf("got %q", b.String())
	}
}
