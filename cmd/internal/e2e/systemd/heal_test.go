//go:build proof

package systemd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
)

// TestHeal lets one replica of three machines break again and again, under a
// steady load, and heal by itself whatever else happens.
func TestHeal(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	l := f.startLoad()
	for _, part := range []struct {
		name string
		test func(*fleet, *load)
	}{
		{"R28NoUpgradeBesideTheNewServer", healsAsShipped},
		{"PersonAtWorkThenClientsOnTheSocket", personThenSocket},
		{"SidecarEndsInMidCopy", sidecarEnds},
		{"PowerCutInStopAndBeforeTheExchange", cutBeforeTheExchange},
		{"ShutDownAfterTheExchange", shutDown},
		{"PowerCutAfterTheExchange", cutAfterTheExchange},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(f.in(t), l) }) {
			return
		}
	}
}

// whole is what every heal must leave behind.
func (f *fleet) whole(m *machine, r watchdog.Record, old string, l *load) {
	m.t.Helper()
	m.settles()
	for property, want := range map[string]string{"ActiveState": "active", "Result": "success", "NRestarts": "0"} {
		if got := m.show(unit, property); got != want {
			m.t.Errorf("after the heal %s of %s is %s", property, unit, got)
		}
	}
	if out := m.sh("journalctl --no-pager --boot --unit " + unit + " --unit mariadb.socket"); strings.Contains(out, "start-limit") || strings.Contains(out, "too quickly") {
		m.t.Errorf("a start limit was met:\n%s", out)
	}
	if got := m.sh("stat -c %i " + staging + "/old/" + r.ID); got != old {
		m.t.Errorf("in quarantine lies directory %s, the old one was %s", got, old)
	}
	if out := m.sh("ls -d " + staging + "/new " + staging + "/scratch " + live + "/resilver.no-start 2>/dev/null || true"); out != "" {
		m.t.Errorf("left behind: %s", out)
	}
	// The package's own files are root's, before and after.
	if out := m.sh("find " + live + " ! -name mysql_upgrade_info ! -name 'debian-*.flag' '(' ! -user mysql -o ! -group mysql ')'"); out != "" {
		m.t.Errorf("not mysql's: %s", out)
	}
	if got := m.sh("stat -c '%U:%G %a' " + live); got != m.sh("stat -c '%U:%G %a' "+staging+"/old/"+r.ID) {
		m.t.Errorf("the datadir is %s", got)
	}
	if out := m.tools(); out != "" {
		m.t.Errorf("still running: %s", out)
	}
	if got := m.sql("SELECT @@read_only"); got != "1" {
		m.t.Error("the replica is writable")
	}
	f.equal(l)
}

// settles waits until the sidecar has nothing left to do for a rebuild.
func (m *machine) settles() {
	m.t.Helper()
	m.wait("the rebuild has ended", func() bool { _, code := m.try("test -e " + state + "/journal.json"); return code == 1 })
}

func (m *machine) inode() string { m.t.Helper(); return m.sh("stat -c %i " + live) }

// healsAsShipped: every file is as deploy/systemd has it. Debian's start script
// runs an upgrade beside a server whose datadir does not say that it had one.
func healsAsShipped(f *fleet, l *load) {
	m := f.nodes[1]
	m.sh("rm " + live + "/mysql_upgrade_info && systemctl restart " + unit)
	if !m.upgraded() {
		m.t.Error("no upgrade was seen where there should be one: this could not be noticed")
	}
	m.confined()
	old, began := m.inode(), len(records(m))
	f.breaks(1)
	r := f.healed(m, began)
	if m.upgraded() {
		m.t.Error("Debian's start script has run an upgrade beside the new server")
	}
	if r.Trigger != "auto" || r.Method != "mariabackup" || r.Cause.Reason != "row-missing" {
		m.t.Errorf("healed by %s, %s, for %+v", r.Trigger, r.Method, r.Cause)
	}
	m.sh("ls " + live + "/debian-*.flag")
	f.whole(m, r, old, l)
	if got := m.show("resilver.service", "NRestarts"); got != "0" {
		m.t.Errorf("the sidecar was restarted %s times", got)
	}
}

// upgraded says whether Debian's start script has run an upgrade on the server
// since its start: only that checks tables here.
func (m *machine) upgraded() bool {
	m.t.Helper()
	m.answers()
	m.wait("the start script has ended", func() bool {
		out := m.sh(`journalctl --no-pager --identifier=/etc/mysql/debian-start --since="$(systemctl show --timestamp=us --value --property ExecMainStartTimestamp ` + unit + `)"`)
		_, code := m.try("pgrep --full /etc/mysql/debian-star[t]")
		return strings.Contains(out, "Upgrading MySQL tables if necessary") && code == 1
	})
	return m.sql("SHOW GLOBAL STATUS LIKE 'Com_check'") != "Com_check\t0"
}

// confined: the limits that the unit's file states are those of the process.
func (m *machine) confined() {
	m.t.Helper()
	if got := m.show("resilver.service", "DropInPaths"); got != "" {
		m.t.Errorf("the unit is not as shipped: %s", got)
	}
	pid := m.show("resilver.service", "MainPID")
	const rights = 1<<0 | 1<<1 | 1<<3 | 1<<5 | 1<<6 | 1<<7 // CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID
	for _, line := range []string{fmt.Sprintf("CapBnd:\t%016x", rights), fmt.Sprintf("CapEff:\t%016x", rights), "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if out := m.sh("cat /proc/" + pid + "/status"); !strings.Contains(out, line) {
			m.t.Errorf("not %q in\n%s", line, out)
		}
	}
	for dir, writable := range map[string]bool{"/etc": false, "/usr": false, "/var/lib": true, "/var/lib/dpkg": false, "/run/resilver": true} {
		if out, code := m.try(fmt.Sprintf("nsenter --target %s --mount sh -c 'touch %[2]s/try && rm %[2]s/try'", pid, dir)); (code == 0) != writable {
			m.t.Errorf("%s: writable %v, want %v: %s", dir, code == 0, writable, out)
		}
	}
	before := m.show("resilver.service", "WatchdogTimestampMonotonic")
	m.wait("the watchdog is fed", func() bool { return m.show("resilver.service", "WatchdogTimestampMonotonic") != before })
}

// personThenSocket: nothing is done to a server that a person is at work on.
// Left alone it heals, although its socket is active and clients knock all
// the time.
func personThenSocket(f *fleet, l *load) {
	m := f.nodes[1]
	began := len(records(m))
	done := m.installs()
	f.breaks(1)
	refused(m, "service", "packages are being changed")
	m.sh("systemctl mask " + unit)
	refused(m, "service", "is masked")
	done()
	refused(m, "service", "is masked")
	m.sh("systemctl stop " + unit + "; systemctl unmask " + unit)
	refused(m, "", "was stopped")
	m.stays(unit, down, 5*time.Second)
	if all := records(m); len(all) > began {
		m.t.Errorf("a rebuild was begun: %+v", all[0])
	}

	m.sh("systemd-run --unit=clients sh -c 'while :; do mariadb -e \"SELECT 1\"; done'")
	m.sh("systemctl start mariadb.socket " + unit)
	m.answers()
	old := m.inode()
	r := f.healed(m, began)
	if got := m.show("mariadb.socket", "ActiveState"); got != "active" {
		m.t.Errorf("the socket is %s", got)
	}
	m.sh("systemctl stop clients mariadb.socket 2>&1")
	f.whole(m, r, old, l)
}

// sidecarEnds: restarted by a person, killed, and the power cut, each in the
// middle of a copy. The server does not notice the first two.
func sidecarEnds(f *fleet, l *load) {
	m := f.nodes[1]
	old, began, pid := m.inode(), len(records(m)), m.show(unit, "MainPID")
	// Nothing new may begin before all has been looked at.
	ends := func(how string) {
		m.t.Helper()
		m.copying()
		if m.tools() == "" {
			m.t.Error("no tool was seen: this could not be noticed")
		}
		f.nodes[0].sh("resilver pause --reason 'a test looks'")
		m.sh(how)
		for _, n := range f.nodes {
			n.wait("nothing of the copy runs on "+n.name, func() bool { return n.tools() == "" })
		}
		if got := m.show(unit, "MainPID"); got != pid {
			m.t.Errorf("the server is process %s, it was %s", got, pid)
		}
		m.settles()
		f.nodes[0].sh("resilver resume")
	}
	f.breaks(1)
	ends("systemctl restart resilver.service")
	ends("kill -9 $(systemctl show --value --property MainPID resilver.service)")
	m.wait("systemd has restarted the sidecar", func() bool { return m.show("resilver.service", "NRestarts") == "1" })
	m.copying()
	m.cut()
	if got := m.inode(); got != old {
		m.t.Error("other data is in service after the boot")
	}
	r := f.healed(m, began)
	if n := len(records(m)) - began; n != 4 {
		m.t.Errorf("%d rebuilds, want three that were cut short and one that healed", n)
	}
	f.whole(m, r, old, l)
}

// cut cuts the power and boots again; the server comes up by itself.
func (m *machine) cut() {
	m.t.Helper()
	m.sh("sync")
	m.must(m.Cut(m.t.Context()))
	m.must(m.Boot(m.t.Context()))
	m.answers()
}

const failpoint = "/etc/systemd/system/resilver.service.d/failpoint.conf"

// stopsAt writes a drop-in by which the next sidecar waits at a point; an
// empty one removes it.
func (m *machine) stopsAt(point string) {
	m.t.Helper()
	if point == "" {
		m.sh("rm -r " + failpoint[:strings.LastIndex(failpoint, "/")])
		return
	}
	m.must(m.Write(m.t.Context(), failpoint, "644", "[Service]\nEnvironment=RESILVER_FAILPOINT="+point+"=wait:/run/resilver/go\n"))
}

// reaches waits until the sidecar stands at its point.
func (m *machine) reaches() {
	m.t.Helper()
	m.sh("for i in $(seq 1200); do if test -e /run/resilver/go.reached; then exit; fi; sleep 0.05; done; echo not reached; exit 1")
}

// finished: the exchange was completed before the server came up.
func (m *machine) finished(copied string) {
	m.t.Helper()
	if got := m.inode(); got != copied {
		m.t.Errorf("directory %s is in service, the copy is %s", got, copied)
	}
	done, begun := m.clock("resilver-finish.service", "ExecMainExitTimestampMonotonic"), m.clock(unit, "ExecMainStartTimestampMonotonic")
	if got := m.show("resilver-finish.service", "Result"); got != "success" || done == 0 || done > begun {
		m.t.Errorf("resilver-finish.service: %s at %d, the server began at %d", got, done, begun)
	}
}

// clock reads a time that systemd notes of a unit, 0 where it was not.
func (m *machine) clock(unit, property string) int64 {
	m.t.Helper()
	at, err := strconv.ParseInt(m.show(unit, property), 10, 64)
	m.must(err)
	return at
}

// cutBeforeTheExchange: twice while the old server is not ended: it comes back
// open; then when it was ended, and nothing exchanged.
func cutBeforeTheExchange(f *fleet, l *load) {
	m := f.nodes[1]
	old, began := m.inode(), len(records(m))
	m.stopsAt("stop.begin")
	m.sh("systemctl daemon-reload && systemctl restart resilver.service")
	f.together()
	f.breaks(1)
	for _, next := range []string{"stop.closed", "swap.begin"} {
		m.reaches()
		m.stopsAt(next)
		m.cut()
		if got := m.inode(); got != old {
			m.t.Errorf("other data is in service after the cut before %s", next)
		}
	}
	m.reaches()
	copied := m.sh("stat -c %i " + staging + "/new")
	if got := m.inode(); got != old {
		m.t.Error("already exchanged")
	}
	m.stopsAt("")
	m.cut()
	m.finished(copied)
	r := f.healed(m, began)
	f.whole(m, r, old, l)
}

// shutDown: the machine is shut down by the book while the replica is away.
// systemd starts nothing any more; that is no fault of the copy.
func shutDown(f *fleet, l *load) {
	m := f.nodes[1]
	old, began := m.inode(), len(records(m))
	m.stopsAt("swap.exchanged")
	m.sh("systemctl daemon-reload && systemctl restart resilver.service")
	f.together()
	f.breaks(1)
	m.reaches()
	m.stopsAt("")
	m.sh("systemctl poweroff --no-block")
	m.wait("systemd shuts down", func() bool { out, _ := m.try("systemctl is-system-running"); return out == "stopping" })
	m.sh("touch /run/resilver/go")
	m.must(m.Wait(m.t.Context()))
	m.must(m.Boot(m.t.Context()))
	m.answers()
	if got := m.inode(); got == old {
		m.t.Error("the old data is in service")
	}
	r := f.healed(m, began)
	f.whole(m, r, old, l)
}

// cutAfterTheExchange also heals without what keeps Debian's upgrade away.
func cutAfterTheExchange(f *fleet, l *load) {
	m := f.nodes[1]
	old, began := m.inode(), len(records(m))
	changed := map[string]any{"rebuild": map[string]any{"preserve": []string{"debian-*.flag"}}}
	merge(changed, quick)
	f.set(m, changed, readRecipe(f.t))
	m.stopsAt("swap.exchanged")
	m.sh("systemctl daemon-reload && systemctl restart resilver.service")
	f.together()
	f.breaks(1)
	m.reaches()
	copied := m.inode()
	if copied == old {
		m.t.Error("not exchanged yet")
	}
	m.stopsAt("")
	m.cut()
	m.finished(copied)
	if !m.upgraded() {
		m.t.Error("without mysql_upgrade_info no upgrade was run: is it still needed?")
	}
	r := f.healed(m, began)
	f.whole(m, r, old, l)
}
