//go:build proof

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// TestInvariant2OneAtATime: while one replica copies, another one's rebuild is
// refused, by command and by policy; nobody copies from a donor that is
// BACKUPING or is itself being rebuilt. Then a person cancels the copy, and
// the node is as it was.
func TestInvariant2OneAtATime(t *testing.T) {
	t.Parallel()
	c := up(t, map[string]string{"policy.cooldown": "1s"})
	db2, db3 := c.Node(2), c.Node(3)
	before := identityOf(t, db2)
	gate := filepath.Join(t.TempDir(), "go-on")
	restartWith(t, db2, "stage.begin=wait:"+gate)
	together(t, c)
	breakIt(t, c, db2, "row-missing")
	reached(t, gate)

	var s admin.Status
	must(t, lab.WaitFor(t.Context(), 10*time.Second, "db3 to see the lease", func(ctx context.Context) (bool, string) {
		var err error
		s, err = db3.Status(ctx)
		return err == nil && s.Lease != nil, fmt.Sprint(err)
	}))
	if s.Lease.Holder != "db2" || s.Lease.Donor != "db3" || s.Lease.Phase != watchdog.PhaseCopying {
		t.Errorf("the lease is %+v", s.Lease)
	}
	for _, n := range s.Nodes {
		want := "NONE"
		if n.Name == "db3" {
			want = "BACKUPING"
		}
		if string(n.DonorState) != want {
			t.Errorf("%s is %s, want %s", n.Name, n.DonorState, want)
		}
	}
	for _, r := range []struct {
		args []string
		code int
	}{
		{[]string{"rebuild"}, 3},
		{[]string{"rebuild", "--from", "db2"}, 3},
		{[]string{"rebuild", "--from", "db1", "--override", "lease"}, 2},
	} {
		_, stderr, code, err := db3.Resilver(t.Context(), r.args...)
		must(t, err)
		if code != r.code || !strings.Contains(stderr, "lease") {
			t.Errorf("%v: exit code %d, want %d and guard lease: %s", r.args, code, r.code, stderr)
		}
	}
	breakIt(t, c, db3, "purged")
	refuses(t, db3, "lease", time.Minute)

	cli(t, db2, 0, "pause", "--reason", "let me look first")
	cli(t, db2, 0, "cancel")
	must(t, os.WriteFile(gate, nil, 0o644))
	r := ended(t, db2, 1, time.Minute)
	if r.Outcome != watchdog.Cancelled || !strings.Contains(r.Error, "cancelled by") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Error)
	}
	before.untouched(t, db2)
	if _, err := os.Stat(db2.Datadir + ".resilver/new"); err == nil {
		t.Error("the copy was left behind")
	}
	db2.Env()
	must(t, db2.StopSidecar(t.Context()))
	must(t, db2.StartSidecar())
	together(t, c)
	cli(t, db3, 0, "resume")
	healed(t, db2, 2)
	healed(t, db3, 1)
	equal(t, c)
}

// TestInvariant9ErrantIsRefused: a transaction that exists only on the broken
// replica is never destroyed silently, and one that exists only on the donor
// never comes over (R6): neither where it is made while the copy is. From then
// on the plan confirms both as long as an installation does by default, and
// still says of every other guard what is true.
func TestInvariant9ErrantIsRefused(t *testing.T) { onEngines(t, errantIsRefused) }

func errantIsRefused(t *testing.T, engine string) {
	c := upOn(t, engine, map[string]string{"policy.errant_confirm": "10s"})
	n, donor := c.Node(3), c.Node(2)
	before, pid := identityOf(t, n), n.PID(lab.Mysqld)
	cli(t, n, 0, "pause", "--reason", "until it is broken")
	breakIt(t, c, n, "table-missing")
	for i, made := range []struct {
		on  *lab.Node
		why string
	}{
		{donor, map[string]string{
			lab.MySQL:   "the copy has transactions that the primary does not have: ",
			lab.MariaDB: "the copy may have transactions of the donor that the primary does not have: ",
		}[engine]},
		{n, "guard errant: "},
	} {
		gate := filepath.Join(t.TempDir(), "go-on")
		restartWith(t, n, "stage.begin=wait:"+gate)
		together(t, c)
		cli(t, n, 0, "resume")
		reached(t, gate)
		cli(t, n, 0, "pause", "--reason", "one rebuild at a time")
		must(t, made.on.SQL(t.Context(), onReplica(made.on, fmt.Sprintf("CREATE TABLE lab.only_here_%d (id INT PRIMARY KEY)", i))...))
		must(t, os.WriteFile(gate, nil, 0o644))
		r := ended(t, n, i+1, 3*time.Minute)
		t.Logf("made on %s, copied from %s: %s at %s: %s", made.on.Name, r.Donor, r.Outcome, r.Steps[len(r.Steps)-1].Name, r.Error)
		if r.Outcome != watchdog.Cancelled || !strings.Contains(r.Error, made.why) {
			t.Errorf("outcome %s, want cancelled and %q: %s", r.Outcome, made.why, r.Error)
		}
		before.untouched(t, n)
		doors(t, n, replicaDoors)
		if now := n.PID(lab.Mysqld); now != pid {
			t.Errorf("%s: mysqld is process %d, it was %d: it was ended", n.Name, now, pid)
		}
	}
	rebuilds := begun(t, c)
	cli(t, n, 0, "resume")
	refuses(t, n, "errant", time.Minute)
	plan, err := n.Plan(t.Context())
	must(t, err)
	own := []string{"staging-place", "starts-read-only", "service", "source-account", "disk-space", "versions"}
	for _, g := range plan.Guards {
		if g.ID == "errant" && (g.Verdict != watchdog.Fail || !strings.Contains(g.Reason, ownGTID(before))) {
			t.Errorf("the guard does not name the transaction: %+v", g)
		}
		if slices.Contains(own, g.ID) && g.Verdict != watchdog.Pass {
			t.Errorf("guard %s of a node that only has a transaction of its own: %s: %s", g.ID, g.Verdict, g.Reason)
		}
	}
	for _, d := range plan.Donors {
		if why := strings.Join(d.Reasons, "; "); d.Name == donor.Name && !strings.Contains(why, "has transactions that the primary does not have") {
			t.Errorf("donor %s: %s", d.Name, why)
		}
	}
	quiet(t, c, rebuilds, 5*brokenFor)
	before.untouched(t, n)
}
