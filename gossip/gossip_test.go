package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"resilver/watchdog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// syncBuffer takes log lines from many goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var testKey = bytes.Repeat([]byte{7}, 32)

func options(name string) Options {
	return Options{Name: name, Cluster: "orders", Bind: "127.0.0.1", Keys: [][]byte{testKey},
		PeerAddress: name + ":7374", RaftID: name + "#1", Version: "1.0",
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
}

func start(t *testing.T, o Options) *Gossip {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// addressIn is where g itself is found, host:port.
func addressIn(g *Gossip) string { return g.View().Nodes[g.opts.Name].Address }

// twinMet says that g has said of another node that it goes by its name.
func twinMet(g *Gossip) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.lastTwin.IsZero()
}

func aliveNames(g *Gossip) string {
	var names []string
	for _, m := range g.Members() {
		if m.Alive {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, " ")
}

// Three nodes on real sockets find each other, though two know only the first,
// and each hears of each report, a long one without its GTID set.
func TestThreeNodesShareReports(t *testing.T) {
	a := start(t, options("db1"))
	nodes := []*Gossip{a}
	for _, name := range []string{"db2", "db3"} {
		o := options(name)
		o.Join = []string{addressIn(a)}
		nodes = append(nodes, start(t, o))
	}
	for _, g := range nodes {
		eventually(t, "all alive", func() bool { return aliveNames(g) == "db1 db2 db3" })
		if m := g.Members()[1]; m.PeerAddress != "db2:7374" || m.RaftID != "db2#1" || m.Version != "1.0" {
			t.Errorf("db2 is told of as %+v", m)
		}
	}
	long := strings.Repeat("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77,", 100)
	nodes[1].Publish(watchdog.Report{Health: watchdog.HealthHealthy, Executed: "u:1-5"})
	nodes[2].Publish(watchdog.Report{Health: watchdog.HealthBroken, Executed: long})
	for _, g := range nodes {
		eventually(t, "reports everywhere", func() bool {
			v := g.View().Nodes
			two, three := v["db2"], v["db3"]
			return two.Fresh(5*time.Second) && two.Health == watchdog.HealthHealthy && two.Executed == "u:1-5" &&
				three.Fresh(5*time.Second) && three.Health == watchdog.HealthBroken
		})
	}
	if got := nodes[2].View().Nodes["db3"].Executed; got != long {
		t.Error("a node's view of itself is not whole")
	}
	if got := a.View().Nodes["db3"].Executed; got != "" {
		t.Errorf("a GTID set of %d bytes arrived in a packet", len(got))
	}
	if v := a.View(); v.Self != "db1" || !v.Nodes["db1"].Alive || v.Nodes["db1"].Heard || v.Nodes["db1"].Address != addressIn(a) {
		t.Errorf("view of itself: %+v", v.Nodes["db1"])
	}
	nodes[1].Stop()
	eventually(t, "the stopped node is seen dead", func() bool { return aliveNames(a) == "db1 db3" })
	if n := a.View().Nodes["db2"]; n.Alive || !n.Heard {
		t.Errorf("the dead node's last report is lost: %+v", n)
	}
}

// TrapR30: memberlist never rejoins after a longer cut by itself.
func TestTrapR30PartitionThenRejoin(t *testing.T) {
	for _, cut := range []time.Duration{25 * time.Second, 2 * time.Minute} {
		t.Run(cut.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { partitionThenRejoin(t, cut) })
		})
	}
}

func partitionThenRejoin(t *testing.T, cut time.Duration) {
	n := newNetwork()
	var nodes []*Gossip
	seeds := []string{"10.0.0.1:7373", "10.0.0.2:7373", "10.0.0.3:7373"}
	for i := 1; i <= 3; i++ {
		o := options(fmt.Sprintf("db%d", i))
		o.Join = seeds
		o.transport = n.add(fmt.Sprintf("10.0.0.%d", i))
		g, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, g)
	}
	publish := func(seconds int) {
		for range seconds {
			for _, g := range nodes {
				g.Publish(watchdog.Report{Health: watchdog.HealthHealthy})
			}
			time.Sleep(time.Second)
		}
	}
	publish(10)
	for _, g := range nodes {
		if aliveNames(g) != "db1 db2 db3" {
			t.Fatalf("%s sees %q", g.opts.Name, aliveNames(g))
		}
		for name, v := range g.View().Nodes {
			if !v.Fresh(3 * time.Second) {
				t.Errorf("%s: report of %s is %s old", g.opts.Name, name, v.Age)
			}
		}
	}
	n.isolate(seeds[2], true)
	publish(int(cut.Seconds()))
	if got := aliveNames(nodes[0]) + " / " + aliveNames(nodes[2]); got != "db1 db2 / db3" {
		t.Errorf("during the cut: %s", got)
	}
	if v := nodes[0].View().Nodes["db3"]; v.Alive || v.Age < cut-5*time.Second {
		t.Errorf("the report of the node cut off: alive %v, %s old", v.Alive, v.Age)
	}
	n.isolate(seeds[2], false)
	publish(45)
	for _, g := range nodes {
		if aliveNames(g) != "db1 db2 db3" {
			t.Errorf("after mending %s sees %q", g.opts.Name, aliveNames(g))
		}
		if twinMet(g) {
			t.Errorf("%s takes itself for a twin", g.opts.Name)
		}
	}
	for _, g := range nodes {
		g.Stop()
	}
	time.Sleep(time.Minute) // memberlist's last probes
}

// A node that restarts with the clock set back still makes itself heard.
func TestRestartWithClockSetBack(t *testing.T) {
	r := newReports("db1", 1200)
	other := newReports("db2", 1200)
	before := said{Life: r.life + int64(time.Hour), Origin: 1, Report: watchdog.Report{Node: "db1", Seq: 900}}
	other.take(before, time.Now())
	if v := r.take(before, time.Now()); v != known {
		t.Fatalf("its own earlier life is %v", v)
	}
	if _, err := r.publish(watchdog.Report{Health: watchdog.HealthHealthy}); err != nil {
		t.Fatal(err)
	}
	if v := other.take(r.byNode["db1"].said, time.Now()); v != fresh {
		t.Errorf("the report of the new life is %v", v)
	}
	// A second one that is ahead again is alive: it answered.
	if v := r.take(said{Life: r.life + 1, Origin: 1, Report: watchdog.Report{Node: "db1", Seq: 1}}, time.Now()); v != twin {
		t.Errorf("a living twin is %v", v)
	}
}

// A report handed on by a full exchange is as old as it was there.
func TestAgeTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newReports("a", 1200), newReports("b", 1200)
		a.take(said{Life: 1, Report: watchdog.Report{Node: "c", Seq: 1}}, time.Now())
		time.Sleep(time.Minute)
		all, err := a.all(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		g := &Gossip{reports: b, log: slog.New(slog.DiscardHandler)}
		if g.metrics, err = newMetrics(prometheus.NewRegistry(), g); err != nil {
			t.Fatal(err)
		}
		delegate{g: g}.MergeRemoteState(all, false)
		time.Sleep(time.Second)
		b.each(time.Now(), func(rep watchdog.Report, age time.Duration) {
			if rep.Node != "c" || age != 61*time.Second {
				t.Errorf("report of %s is %s old", rep.Node, age)
			}
		})
		time.Sleep(forgetAfter)
		if all, err = b.all(time.Now()); err != nil || string(all) != "[]" {
			t.Errorf("after a day: %s, %v", all, err)
		}
	})
}

func TestForeignClusterAndKeyRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		hint   string
	}{
		"cluster":    {func(o *Options) { o.Cluster = "payments" }, "cluster.name"},
		"key":        {func(o *Options) { o.Keys = [][]byte{bytes.Repeat([]byte{9}, 32)} }, "cluster.gossip_key_file"},
		"plain text": {func(o *Options) { o.Keys = nil }, "cluster.gossip_key_file"},
	} {
		t.Run(name, func(t *testing.T) {
			var lines syncBuffer
			ours := options("db1")
			ours.Logger = slog.New(slog.NewTextHandler(&lines, nil))
			a := start(t, ours)
			foreign := options("db9")
			c.change(&foreign)
			foreign.Join = []string{addressIn(a)}
			b := start(t, foreign)
			eventually(t, "a hint in the log", func() bool { return strings.Contains(lines.String(), c.hint) })
			if aliveNames(a) != "db1" || aliveNames(b) != "db9" {
				t.Errorf("they joined: %q, %q", aliveNames(a), aliveNames(b))
			}
			if strings.Contains(lines.String(), string(testKey)) {
				t.Error("the key is in the log")
			}
		})
	}
}

// The second key of a rotation is understood.
func TestSecondKeyIsUnderstood(t *testing.T) {
	next := bytes.Repeat([]byte{8}, 32)
	o := options("db1")
	o.Keys = [][]byte{testKey, next}
	a := start(t, o)
	o = options("db2")
	o.Keys, o.Join = [][]byte{next, testKey}, []string{addressIn(a)}
	b := start(t, o)
	eventually(t, "both alive", func() bool { return aliveNames(a) == "db1 db2" && aliveNames(b) == "db1 db2" })
}

func TestTwinName(t *testing.T) {
	a := start(t, options("db1"))
	o := options("db2")
	o.Join = []string{addressIn(a)}
	first := start(t, o)
	eventually(t, "joined", func() bool { return aliveNames(a) == "db1 db2" })
	o.Registerer = prometheus.NewRegistry()
	second := start(t, o)
	eventually(t, "the second sees its twin", func() bool { return twinMet(second) })
	eventually(t, "the first sees its twin", func() bool {
		first.Publish(watchdog.Report{Health: watchdog.HealthHealthy})
		second.Publish(watchdog.Report{Health: watchdog.HealthHealthy})
		return twinMet(first)
	})
	if twinMet(a) {
		t.Error("a bystander takes itself for a twin")
	}
}

// TrapP36: alertmanager's second close panicked.
func TestTrapP36StopTwice(t *testing.T) {
	g, err := New(options("db1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Stop()
	g.Stop()
	if err := g.Start(t.Context()); err == nil {
		t.Error("started after the end")
	}
	never, err := New(options("db2"))
	if err != nil {
		t.Fatal(err)
	}
	never.Stop()
	never.Stop()
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no name":    func(o *Options) { o.Name = "" },
		"short key":  func(o *Options) { o.Keys = [][]byte{{1, 2}} },
		"long meta":  func(o *Options) { o.RaftID = strings.Repeat("x", memberlist.MetaMaxSize) },
		"bad seed":   func(o *Options) { o.Join = []string{"db1"} },
		"no logger":  func(o *Options) { o.Logger = nil },
		"long label": func(o *Options) { o.Cluster = strings.Repeat("x", 256) },
	} {
		o := options("db1")
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPortTaken(t *testing.T) {
	a := start(t, options("db1"))
	o := options("db2")
	_, port, _ := strings.Cut(addressIn(a), ":")
	if _, err := fmt.Sscan(port, &o.Port); err != nil {
		t.Fatal(err)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "open the gossip port") {
		t.Errorf("start on a taken port: %v", err)
	}
	g.Stop()
}

func TestParseKeys(t *testing.T) {
	text, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys([]byte("# of 2026\n\n" + text + "AAAAAAAAAAAAAAAAAAAAAA==\n"))
	if err != nil || len(keys) != 2 || len(keys[0]) != 32 || len(keys[1]) != 16 {
		t.Errorf("keys %d, err %v", len(keys), err)
	}
	for _, bad := range []string{"", "# none\n", "c2VjcmV0\n", "not base64!\n"} {
		if _, err := ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%q: accepted", bad)
		} else if s := strings.TrimSpace(bad); s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("the error quotes the file: %v", err)
		}
	}
}

func TestParseLine(t *testing.T) {
	for line, want := range map[string]struct {
		level slog.Level
		text  string
	}{
		"[ERR] memberlist: Failed":     {slog.LevelError, "Failed"},
		"[ERROR] memberlist: Failed":   {slog.LevelError, "Failed"},
		"[WARN] memberlist: odd\n":     {slog.LevelWarn, "odd"},
		"[INFO] memberlist: Suspect":   {slog.LevelInfo, "Suspect"},
		"[DEBUG] memberlist: noise":    {slog.LevelDebug, "noise"},
		"Err: Could not set":           {slog.LevelWarn, "Err: Could not set"},
		"[ERR] Failed to shutdown":     {slog.LevelError, "Failed to shutdown"},
		"[db1] has [brackets] at ends": {slog.LevelWarn, "has [brackets] at ends"},
	} {
		if level, text := parseLine(line); level != want.level || text != want.text {
			t.Errorf("%q: %v %q", line, level, text)
		}
	}
}
