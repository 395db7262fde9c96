package sidecar

import (
	"context"
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
	if _, err := client.Rebuild(t.Context(), admin.RebuildRequest{Override: []string{"no-such-guard"}}); err == nil || !strings.Contains(err.Error(), "no-such-guard") {
		t.Errorf("an unknown guard overridden: %v", err)
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
