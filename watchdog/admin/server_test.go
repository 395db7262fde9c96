package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"resilver/watchdog"
)

// daemon is a test double: it answers what it was told to, and remembers
// what it was asked.
type daemon struct {
	status  Status
	plan    Plan
	history []watchdog.Record
	lease   watchdog.LeaseState
	answer  RebuildAnswer
	err     error
	boom    bool
	block   chan struct{}
	given   time.Duration // until the deadline of the last plan

	mu    sync.Mutex
	asked []string
}

func (d *daemon) note(format string, args ...any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprintf(format, args...))
	if d.boom {
		panic("boom")
	}
	return d.err
}

func (d *daemon) Status(ctx context.Context) (Status, error) {
	if d.block != nil {
		select {
		case <-d.block:
		case <-ctx.Done():
			return Status{}, ctx.Err()
		}
	}
	return d.status, d.note("status")
}
func (d *daemon) Plan(ctx context.Context, w PlanWish) (Plan, error) {
	deadline, _ := ctx.Deadline()
	d.given = time.Until(deadline)
	if w.Rollback {
		return d.plan, d.note("plan of a rollback")
	}
	return d.plan, d.note("plan")
}
func (d *daemon) History(context.Context) ([]watchdog.Record, error) {
	return d.history, d.note("history")
}
func (d *daemon) Lease(context.Context) (watchdog.LeaseState, error) { return d.lease, d.note("lease") }
func (d *daemon) Rebuild(_ context.Context, r RebuildRequest) (RebuildAnswer, error) {
	return d.answer, d.note("rebuild %+v", r)
}
func (d *daemon) Cancel(_ context.Context, by string) error { return d.note("cancel by %s", by) }
func (d *daemon) Pause(_ context.Context, p watchdog.Pause) error {
	return d.note("pause %s %q %q until %v", p.By, p.Reason, p.Node, !p.Until.IsZero())
}
func (d *daemon) Resume(_ context.Context, node, by string) error {
	return d.note("resume %q by %s", node, by)
}
func (d *daemon) Ack(_ context.Context, by string) error { return d.note("ack by %s", by) }

func (d *daemon) last() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) == 0 {
		return ""
	}
	return d.asked[len(d.asked)-1]
}

// tempDir is short and open to other users, unlike that of testing.T.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "adm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run serves until the test ends, and returns a stop function for earlier.
func run(t *testing.T, o Options) (stop func()) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func client(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRequestsReachTheDaemon(t *testing.T) {
	d := &daemon{answer: RebuildAnswer{ID: "r1", Donor: "db2", Method: "clone", Token: 7}}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: d})
	c, ctx, me := client(t, socket), t.Context(), caller{uid: uint32(os.Geteuid()), known: true}.name()
	answer, err := c.Rebuild(ctx, RebuildRequest{From: "db2", Override: []string{"budget-node"}})
	if err != nil || answer != d.answer {
		t.Fatalf("rebuild: %+v, %v", answer, err)
	}
	if want := fmt.Sprintf("rebuild {From:db2 Method: Override:[budget-node] To: WipeFirst:false By:%s Trigger:manual}", me); d.last() != want {
		t.Errorf("asked %s, want %s", d.last(), want)
	}
	for want, do := range map[string]func() error{
		fmt.Sprintf("rebuild {From: Method: Override:[] To: WipeFirst:false By:%s Trigger:drill}", me): func() error {
			_, err := c.Drill(ctx, RebuildRequest{})
			return err
		},
		fmt.Sprintf("rebuild {From: Method: Override:[local-objects] To: WipeFirst:false By:%s Trigger:rollback}", me): func() error {
			_, err := c.Rollback(ctx, RebuildRequest{Override: []string{"local-objects"}})
			return err
		},
		fmt.Sprintf("rebuild {From: Method: Override:[] To:/backups WipeFirst:false By:%s Trigger:backup}", me): func() error {
			_, err := c.Backup(ctx, RebuildRequest{To: "/backups"})
			return err
		},
		"cancel by " + me: func() error { return c.Cancel(ctx) },
		"ack by " + me:    func() error { return c.Ack(ctx) },
		"pause " + me + ` "why" "db3" until true`: func() error {
			return c.Pause(ctx, PauseRequest{Reason: "why", Node: "db3", ForSeconds: 60})
		},
		"pause " + me + ` "why" "" until false`: func() error { return c.Pause(ctx, PauseRequest{Reason: "why"}) },
		`resume "db3" by ` + me:                 func() error { return c.Resume(ctx, ResumeRequest{Node: "db3"}) },
		"status":                                func() error { _, err := c.Status(ctx); return err },
		"plan":                                  func() error { _, err := c.Plan(ctx); return err },
		"plan of a rollback":                    func() error { _, err := c.PlanRollback(ctx); return err },
		"lease":                                 func() error { _, err := c.Lease(ctx); return err },
		"history":                               func() error { _, err := c.History(ctx); return err },
	} {
		if err := do(); err != nil || d.last() != want {
			t.Errorf("%s: asked %s, %v", want, d.last(), err)
		}
	}
}

// TestRollbackCopiesNothing: it has neither donor nor method, nor a place.
func TestRollbackCopiesNothing(t *testing.T) {
	d := &daemon{}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: d})
	c := client(t, socket)
	for _, r := range []RebuildRequest{{From: "db2"}, {Method: "clone"}, {To: "/srv"}} {
		_, err := c.Rollback(t.Context(), r)
		var no *Error
		if !errors.As(err, &no) || no.Code != CodeUsage || d.last() != "" {
			t.Errorf("%+v: %v, asked %q", r, err, d.last())
		}
	}
}

func TestErrorsComeThroughAsTheyAre(t *testing.T) {
	d := &daemon{}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: d})
	c := client(t, socket)
	guards := []watchdog.Guard{
		{ID: "mode", Verdict: watchdog.Pass},
		{ID: "lease", Verdict: watchdog.Fail, Value: "db2", Want: "free", Reason: "held by db2", Overridable: true},
		{ID: "donor", Verdict: watchdog.Unknown, Reason: "no answer"},
	}
	for name, test := range map[string]struct {
		err    error
		code   Code
		text   string
		guards int
	}{
		"refused":   {fmt.Errorf("rebuild: %w", Refuse(guards)), CodeRefused, "refused by 2 guards: lease: held by db2; donor: no answer", 2},
		"refusal":   {fmt.Errorf("x: %w", &watchdog.Refusal{Guard: "paused", Reason: "by ann"}), CodeRefused, "by ann", 1},
		"no quorum": {watchdog.ErrNoQuorum, CodeRefused, "no quorum", 1},
		"usage":     {Usage("there is no node %s", "db9"), CodeUsage, "there is no node db9", 0},
		"deadline":  {fmt.Errorf("ask raft: %w", context.DeadlineExceeded), CodeTimeout, "ask raft", 0},
		"other":     {errors.New("disk on fire"), CodeFailed, "disk on fire", 0},
	} {
		d.err = test.err
		_, err := c.Rebuild(t.Context(), RebuildRequest{})
		var e *Error
		if !errors.As(err, &e) || e.Code != test.code || !strings.Contains(e.Message, test.text) || len(e.Guards) != test.guards {
			t.Errorf("%s: %#v", name, err)
		}
	}
	d.err = watchdog.ErrNoQuorum
	var e *Error
	if err := c.Ack(t.Context()); !errors.As(err, &e) || e.Code != CodeNoQuorum {
		t.Errorf("ack without quorum: %v", err)
	}
}

// TestAPlanHasTimeForItsQuestions: other servers are asked for it, and what
// differs is confirmed for up to a minute; cut short, its guards would tell of
// the time limit and not of the node.
func TestAPlanHasTimeForItsQuestions(t *testing.T) {
	d := &daemon{}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: d})
	if _, err := client(t, socket).Plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.given < 2*time.Minute {
		t.Errorf("a plan has %s", d.given)
	}
}

// A pause that no clock can hold must not be taken for one that is over.
func TestPauseIsBounded(t *testing.T) {
	d := &daemon{}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: d})
	c := client(t, socket)
	for _, seconds := range []float64{1e300, 1e10, 367 * 86400} {
		var e *Error
		if err := c.Pause(t.Context(), PauseRequest{Reason: "why", ForSeconds: seconds}); !errors.As(err, &e) || e.Code != CodeUsage || d.last() != "" {
			t.Errorf("%g s: %v, asked %q", seconds, err, d.last())
		}
	}
	if err := c.Pause(t.Context(), PauseRequest{Reason: "why", ForSeconds: 366 * 86400}); err != nil || d.last() == "" {
		t.Errorf("a year: %v, asked %q", err, d.last())
	}
}

func TestPanicIsAnError(t *testing.T) {
	d := &daemon{boom: true}
	socket := filepath.Join(tempDir(t), "s")
	var log bytes.Buffer
	run(t, Options{Socket: socket, Daemon: d, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := client(t, socket)
	_, err := c.Status(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeFailed || strings.Contains(e.Message, "boom") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "server_test.go") {
		t.Errorf("the log has no trace of it:\n%s", log.String())
	}
}

func TestBadRequests(t *testing.T) {
	d := &daemon{}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: d})
	c := client(t, socket)
	for name, test := range map[string]struct {
		method, path, body string
		status             int
	}{
		"unknown route":  {"GET", "/v1/nonsense", "", 400},
		"wrong method":   {"POST", "/v1/status", "{}", 400},
		"change by get":  {"GET", "/v1/cancel", "", 400},
		"no json":        {"POST", "/v1/pause", "reason", 400},
		"unknown field":  {"POST", "/v1/pause", `{"reason":"x","force":true}`, 400},
		"forged by":      {"POST", "/v1/rebuild", `{"by":"root"}`, 400},
		"two values":     {"POST", "/v1/pause", `{"reason":"x"}{}`, 400},
		"no reason":      {"POST", "/v1/pause", `{}`, 400},
		"huge body":      {"POST", "/v1/pause", `{"reason":"` + strings.Repeat("x", 70<<10) + `"}`, 400},
		"outside":        {"GET", "/metrics", "", 400},
		"path traversal": {"GET", "/v1/../v1/status", "", 307},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, "http://resilver"+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != test.status {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
	if d.last() != "" {
		t.Errorf("the daemon was asked for %s", d.last())
	}
}

func TestChangesAreAudited(t *testing.T) {
	d := &daemon{}
	socket := filepath.Join(tempDir(t), "s")
	var log bytes.Buffer
	stop := run(t, Options{Socket: socket, Daemon: d, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := client(t, socket)
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("looking was logged: %s", log.String())
	}
	if err := c.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.err = errors.New("no")
	d.mu.Unlock()
	_ = c.Ack(t.Context())
	d.mu.Lock()
	d.err = Refuse([]watchdog.Guard{{ID: "mode", Verdict: watchdog.Fail}, {ID: "lease", Verdict: watchdog.Fail}})
	d.mu.Unlock()
	_, _ = c.Rebuild(t.Context(), RebuildRequest{From: "db2"})
	stop()
	for _, want := range []string{
		fmt.Sprintf(`msg="admin change" route=/v1/cancel uid=%d`, os.Geteuid()),
		fmt.Sprintf(`msg="admin change not done" route=/v1/ack uid=%d`, os.Geteuid()), "error=no",
		`code=refused guards=mode,lease`, `\"from\":\"db2\"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in\n%s", want, log.String())
		}
	}
}

func TestSocketRightsAndEnd(t *testing.T) {
	dir := filepath.Join(tempDir(t), "run")
	socket := filepath.Join(dir, "s")
	stop := run(t, Options{Socket: socket, Daemon: &daemon{}})
	for path, want := range map[string]os.FileMode{socket: os.ModeSocket | 0o660, dir: os.ModeDir | 0o750} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left in the directory: %v", entries)
	}
	if _, err := Listen(Options{Socket: socket, Daemon: &daemon{}, Logger: slog.Default()}); err == nil || !strings.Contains(err.Error(), "another sidecar answers") {
		t.Errorf("a second server: %v", err)
	}
	client(t, socket)
	stop()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	_, err := Dial(socket)
	var u *Unreachable
	if !errors.As(err, &u) || !strings.Contains(err.Error(), "start `resilver run`") {
		t.Errorf("dial: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	dir := tempDir(t)
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil { // as a killed process leaves it
		t.Fatal(err)
	}
	_, err = Dial(socket)
	var u *Unreachable
	if !errors.As(err, &u) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a stale socket: %v", err)
	}
	run(t, Options{Socket: socket, Daemon: &daemon{}})
	client(t, socket)
}

func TestListenRefusesToHarm(t *testing.T) {
	dir := tempDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "is not a socket", filepath.Join(open, "s"): "chmod o-w"} {
		_, err := Listen(Options{Socket: path, Daemon: &daemon{}, Logger: slog.Default()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if data, _ := os.ReadFile(file); string(data) != "data" {
		t.Error("the file was touched")
	}
}

// A socket that another process has put in our place is not removed.
func TestTheNextSocketSurvives(t *testing.T) {
	socket := filepath.Join(tempDir(t), "s")
	stop := run(t, Options{Socket: socket, Daemon: &daemon{}})
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	run(t, Options{Socket: socket, Daemon: &daemon{}})
	stop()
	client(t, socket)
}

func TestTooManyRequests(t *testing.T) {
	d := &daemon{block: make(chan struct{})}
	socket := filepath.Join(tempDir(t), "s")
	run(t, Options{Socket: socket, Daemon: d})
	c := client(t, socket)
	var wg sync.WaitGroup
	busy := make(chan struct{}, 2*maxRequests)
	for range 2 * maxRequests {
		wg.Go(func() {
			_, err := c.Status(t.Context())
			var e *Error
			if errors.As(err, &e) && e.Code == CodeBusy {
				busy <- struct{}{}
			} else if err != nil {
				t.Errorf("status: %v", err)
			}
		})
	}
	for range maxRequests {
		select {
		case <-busy:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was turned away")
		}
	}
	close(d.block)
	wg.Wait()
}

// The end of the server does not wait for ever for one who asks.
func TestServeEndsWithARequestUnderWay(t *testing.T) {
	d := &daemon{block: make(chan struct{})}
	socket := filepath.Join(tempDir(t), "s")
	stop := run(t, Options{Socket: socket, Daemon: d})
	c := client(t, socket)
	ended := make(chan error, 1)
	go func() { _, err := c.Status(context.Background()); ended <- err }()
	time.AfterFunc(200*time.Millisecond, func() { close(d.block) })
	stop()
	if err := <-ended; err != nil {
		var u *Unreachable
		if !errors.As(err, &u) {
			t.Errorf("status: %v", err)
		}
	}
}
