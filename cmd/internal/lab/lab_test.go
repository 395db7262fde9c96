package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// testWriter shows the lab's progress as the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// tetheredEnv makes the test binary start a tethered lab in a directory and wait.
const tetheredEnv = "RESILVER_LAB_TETHERED"

func TestMain(m *testing.M) {
	Janitor()
	if dir := os.Getenv(tetheredEnv); dir != "" {
		tethered(dir)
	}
	goleak.VerifyTestMain(m)
}

func tethered(dir string) {
	_, err := Tether(dir)
	if err == nil {
		_, err = Up(context.Background(), Options{Nodes: 1, Dir: dir, Out: os.Stderr})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("up")
	select {} // until it is killed
}

// onEach runs a test on every engine.
func onEach(t *testing.T, test func(t *testing.T, engine string)) {
	for _, engine := range Engines() {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}

// bareLab starts servers without sidecars; they end with the test.
func bareLab(t *testing.T, engine string) *Cluster {
	t.Helper()
	dir, err := NewDir("t")
	if err != nil {
		t.Fatal(err)
	}
	release, err := Tether(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	})
	c, err := Up(t.Context(), Options{Engine: engine, Dir: dir, Out: testWriter{t}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("server: %s", c.Version())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Down(ctx); err != nil {
			t.Errorf("down: %v", err)
		}
		if exists(dir) {
			t.Errorf("%s is left after down", dir)
		}
	})
	return c
}

// mend undoes a fault that bare SQL can undo, for the next one.
func mend(t *testing.T, c *Cluster, n *Node, fault string) {
	t.Helper()
	i := c.injury(c.Node(1), n)
	last, err := c.Node(1).Value(t.Context(), "SELECT MAX(id) FROM lab.faults")
	if err != nil {
		t.Fatal(err)
	}
	local := map[string]string{
		"row-missing":   "INSERT INTO lab.faults (id, note) VALUES (" + last + ", 'row-missing')",
		"duplicate-key": "DELETE FROM lab.faults WHERE id=" + last,
		"table-missing": "CREATE TABLE lab.missing_" + last + " (id BIGINT NOT NULL PRIMARY KEY)",
	}
	if statement, ok := local[fault]; ok {
		if err := i.locally(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Attach(t.Context(), c.Node(1)); err != nil {
		t.Fatal(err)
	}
	if err := i.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLabBreaksForRealAndCheckSeesIt(t *testing.T) { onEach(t, breaksForReal) }

func breaksForReal(t *testing.T, engine string) {
	c := bareLab(t, engine)
	ctx := t.Context()
	load, err := c.StartLoad(ctx, 50)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StartLoad(ctx, 50); err == nil {
		t.Error("a second load was started")
	}
	if err := c.Break(ctx, c.Node(1), "row-missing"); err == nil {
		t.Error("the primary was broken")
	}
	if err := c.Break(ctx, c.Node(2), "gremlins"); err == nil {
		t.Error("an unknown fault was injected")
	}
	faults := map[string]string{ // and what SHOW REPLICA STATUS says of it
		"row-missing": "Yes No 0 1032", "duplicate-key": "Yes No 0 1062", "table-missing": "Yes No 0 1146",
		"threads-stopped": "No No 0 0", "wrong-password": "Connecting Yes 1045 0",
		"source-unreachable": "Connecting Yes 2003 0", "purged": "No Yes " + c.engine.purged + " 0",
	}
	for _, f := range Faults() {
		want, ok := faults[f.Name]
		if !ok {
			t.Errorf("fault %s has no expectation here", f.Name)
		}
		n := c.Node(2)
		if f.Name == "purged" {
			continue // only a rebuild mends it: last, below
		}
		if err := c.Break(ctx, n, f.Name); err != nil {
			t.Fatal(err)
		}
		got := symptoms(t, n)
		if also := c.engine.followedSuit; also != "" && got == "Yes No 0 "+also {
			got = want // a worker that stopped because another had failed
		}
		if got != want {
			t.Errorf("%s shows itself as %q, want %q", f.Name, got, want)
		}
		if got, err := n.Value(ctx, shutQuery[engine]); got != "1" {
			t.Errorf("after %s the replica is open to writers: %s, %v", f.Name, got, err)
		}
		mend(t, c, n, f.Name)
	}
	r, err := c.Check(ctx, 30*time.Second)
	if err != nil || !r.OK() || r.Acknowledged == 0 || r.Tables < 4 {
		t.Errorf("check of a mended lab under load: %v, %v", r, err)
	}
	t.Log(r)

	if err := c.Break(ctx, c.Node(3), "purged"); err != nil {
		t.Fatal(err)
	}
	if got := symptoms(t, c.Node(3)); got != faults["purged"] {
		t.Errorf("purged shows itself as %q", got)
	}
	if ok, seen := c.Node(2).Replicating(ctx); !ok {
		t.Errorf("the bystander broke too: %s", seen)
	}
	if result, err := load.Stop(); err != nil || result.Refused != 0 {
		t.Errorf("load: %+v, %v", result, err)
	}
	if r, err := c.Check(ctx, 2*time.Second); err != nil || r.OK() {
		t.Errorf("check of a broken lab: %v, %v", r, err)
	}
}

// shutQuery asks whether a replica is as its option file has it.
var shutQuery = map[string]string{
	MySQL:   "SELECT @@read_only AND @@super_read_only",
	MariaDB: "SELECT @@read_only",
}

func symptoms(t *testing.T, n *Node) string {
	t.Helper()
	s, err := n.Replica(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join([]string{s["Replica_IO_Running"], s["Replica_SQL_Running"], s["Last_IO_Errno"], s["Last_SQL_Errno"]}, " ")
}

// A replica whose threads run and whose data is not the primary's: nothing
// but a comparison finds it.
func TestCheckFindsSilentDivergence(t *testing.T) { onEach(t, findsSilentDivergence) }

func findsSilentDivergence(t *testing.T, engine string) {
	c := bareLab(t, engine)
	ctx := t.Context()
	load, err := c.StartLoad(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	err = WaitFor(ctx, time.Minute, "some rows", func(context.Context) (bool, string) {
		return load.Progress().Acknowledged >= 50, load.Progress().LastError
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Check(ctx, 30*time.Second); err != nil || !r.OK() {
		t.Fatalf("check before: %v, %v", r, err)
	}
	i := c.injury(c.Node(1), c.Node(2))
	if err := i.locally(ctx, "DELETE FROM lab.writes WHERE id IN (3, 5)"); err != nil {
		t.Fatal(err)
	}
	r, err := c.Check(ctx, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(r.Differences, "; ")
	if want := "db2 differs from db1 in table `lab`.`writes`; db2 lacks 2 of"; !strings.HasPrefix(text, want) {
		t.Errorf("differences: %s, want %s", text, want)
	}
}

// Promoted, the new primary is followed by all others, the old one too, and
// the same back again.
func TestPromote(t *testing.T) { onEach(t, promotes) }

func promotes(t *testing.T, engine string) {
	c := bareLab(t, engine)
	ctx := t.Context()
	for rows, number := range []int{1, 2, 1, 3} {
		if err := c.Promote(ctx, c.Node(number)); err != nil {
			t.Fatal(err)
		}
		if err := c.Node(number).SQL(ctx, fmt.Sprintf("INSERT INTO lab.faults (note) VALUES ('row %d')", rows)); err != nil {
			t.Fatal(err)
		}
		if primary, err := c.Primary(ctx); err != nil || primary != c.Node(number) {
			t.Errorf("primary is %v, %v, want db%d", primary, err, number)
		}
		r, err := c.Check(ctx, 30*time.Second)
		if err != nil || !r.OK() {
			t.Fatalf("with db%d as the primary: %v, %v", number, r, err)
		}
	}
}

func TestLabStartsAgainWhatWasKilled(t *testing.T) { onEach(t, startsAgain) }

func startsAgain(t *testing.T, engine string) {
	c := bareLab(t, engine)
	ctx := t.Context()
	// MariaDB's DDL and what a replica remembers of it are two things: a server
	// killed between them stops at its next start (1950). That is not the lab's.
	done, err := c.Node(1).Executed(ctx)
	if err == nil {
		err = c.Node(3).WaitExecuted(ctx, done, time.Minute)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Node(3).Kill(ctx, Mysqld); err != nil {
		t.Fatal(err)
	}
	if c.Node(3).PID(Mysqld) != 0 {
		t.Error("a killed mysqld has a pid")
	}
	again, err := Open(c.Dir, testWriter{t})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := again.Node(3).WaitReplicating(ctx, time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := Up(ctx, Options{Dir: c.Dir, Out: testWriter{t}}); err == nil {
		t.Error("a second lab was started in the same directory")
	}
}

// However the process of a tethered lab ends, no server outlives it.
func TestTetheredLabDiesWithItsProcess(t *testing.T) {
	dir, err := NewDir("t")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := command(ctx, self)
	cmd.Env = append(os.Environ(), tetheredEnv+"="+dir)
	cmd.Stderr = testWriter{t}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("it said %q, %v", line, err)
	}
	c, err := Open(dir, testWriter{t})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pid := c.Node(1).PID(Mysqld)
	if pid == 0 {
		t.Fatal("its mysqld does not run")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	err = WaitFor(t.Context(), time.Minute, "the lab to end", func(context.Context) (bool, string) {
		return !exists(dir) && !alive(pid), fmt.Sprintf("directory there: %t, mysqld runs: %t", exists(dir), alive(pid))
	})
	if err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
}
