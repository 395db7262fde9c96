package sidecar

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"resilver/config"
	"resilver/gossip/peer"
	"resilver/watchdog"
	"resilver/watchdog/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alone is the configuration of a cluster of one node on the loopback, beside
// a mysqld that is not there.
func alone(t *testing.T) *config.Config {
	t.Helper()
	dir := t.TempDir()
	if err := peer.InitCA(filepath.Join(dir, "ca"), "test"); err != nil {
		t.Fatal(err)
	}
	if err := peer.Issue(filepath.Join(dir, "ca"), dir, "test", "db1", []string{"127.0.0.1"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Node.Name = "db1"
	cfg.Cluster.Name, cfg.Cluster.Bind = "test", "127.0.0.1"
	cfg.Cluster.GossipPort, cfg.Cluster.PeerPort = freePort(t), freePort(t)
	cfg.Cluster.Join = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Cluster.GossipPort))}
	cfg.Cluster.TLS = config.TLS{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "db1.crt"), Key: filepath.Join(dir, "db1.key")}
	cfg.MySQL.Socket = filepath.Join(dir, "no-mysqld.sock")
	cfg.HTTP.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
	cfg.Admin.Socket = filepath.Join(dir, "admin", "resilver.sock")
	cfg.StateDir = filepath.Join(dir, "state")
	return cfg
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestEveryServiceKindIsBuilt: a kind that the configuration takes is one that
// the daemon comes up with.
func TestEveryServiceKindIsBuilt(t *testing.T) {
	for _, kind := range []string{config.ServiceSupervise, config.ServiceCommand} {
		cfg := alone(t)
		cfg.MySQL.Service = config.Service{Kind: kind, Start: []string{"/bin/true"}, Stop: []string{"/bin/true"}, Status: []string{"/bin/true"}}
		s, err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler), Version: "test"})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if err := s.stop(); err != nil {
			t.Errorf("%s: stop: %v", kind, err)
		}
	}
}

// TestWithoutMysqld: the daemon beside a mysqld that does not answer says so,
// refuses to rebuild, and ends in order.
func TestWithoutMysqld(t *testing.T) {
	cfg := alone(t)
	s, err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	client := await(t, cfg.Admin.Socket)
	defer client.Close()
	plan := awaitPlan(t, client, watchdog.ClassUnreachable)
	if plan.WouldAct {
		t.Error("it would rebuild a node whose server does not answer")
	}
	if _, err := client.Rebuild(t.Context(), admin.RebuildRequest{}); err == nil || !strings.Contains(err.Error(), "role-known") {
		t.Errorf("a person's rebuild: %v", err)
	}
	for name, c := range map[string]struct {
		req  admin.RebuildRequest
		want string
	}{
		"an unknown guard overridden":   {admin.RebuildRequest{Override: []string{"no-such-guard"}}, `"no-such-guard"`},
		"a firm guard overridden":       {admin.RebuildRequest{Override: []string{"cooldown", "not-primary"}}, "nobody may override guard not-primary"},
		"from itself":                   {admin.RebuildRequest{From: "db1"}, "db1: a node is never its own donor"},
		"from a node that nobody knows": {admin.RebuildRequest{From: "db9"}, "db9: no node of this cluster has that name"},
	} {
		_, err := client.Rebuild(t.Context(), c.req)
		var no *admin.Error
		if !errors.As(err, &no) || no.Code != admin.CodeUsage || !strings.Contains(no.Message, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	metrics := get(t, "http://"+cfg.HTTP.Listen+"/metrics")
	for _, want := range []string{`resilver_build_info{`, `resilver_diagnosis{class="unreachable",cluster="test"} 1`, `resilver_lease_held 0`,
		`resilver_rebuilds_total{cluster="test",outcome="healed"} 0`, `resilver_copied_bytes_total{`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	if strings.Contains(metrics, "resilver_replica_lag_seconds{") {
		t.Error("the lag is shown although it is not known")
	}
}

// TestRefusedAtTheGrant: a refusal by raft says as much as the guard of that
// name: what was seen and wanted, and whether a person may override it.
func TestRefusedAtTheGrant(t *testing.T) {
	d := watchdog.Decision{Guards: []watchdog.Guard{
		{ID: "cooldown", Verdict: watchdog.Pass, Value: "none", Want: "over", Overridable: true},
		{ID: "paused", Verdict: watchdog.Pass, Value: "no", Want: "no"},
	}}
	for _, want := range []watchdog.Guard{
		{ID: "cooldown", Verdict: watchdog.Fail, Value: "none", Want: "over", Reason: "why", Overridable: true},
		{ID: "paused", Verdict: watchdog.Fail, Value: "no", Want: "no", Reason: "why"},
	} {
		err := atTheGrant(d, &watchdog.Refusal{Guard: want.ID, Reason: "why"})
		var no *admin.Error
		if !errors.As(err, &no) || no.Code != admin.CodeRefused || len(no.Guards) != 1 || no.Guards[0] != want {
			t.Errorf("%s: %#v", want.ID, err)
		}
	}
	var other *watchdog.Refusal
	if err := atTheGrant(d, &watchdog.Refusal{Guard: "step"}); !errors.As(err, &other) {
		t.Errorf("a guard that no decision has: %v", err)
	}
}

// await dials the admin socket until it answers.
func await(t *testing.T, socket string) *admin.Client {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		client, err := admin.Dial(socket)
		if err == nil {
			if _, err = client.Status(t.Context()); err == nil {
				return client
			}
			client.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("the daemon does not answer: %v", err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func awaitPlan(t *testing.T, client *admin.Client, class watchdog.Class) admin.Plan {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		plan, err := client.Plan(t.Context())
		if err == nil && plan.Diagnosis.Class == class {
			return plan
		}
		if time.Now().After(deadline) {
			t.Fatalf("the class is %s, want %s: %v", plan.Diagnosis.Class, class, err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(b)
}
