//go:build proof

package systemd

import (
	"strings"
	"testing"
	"time"
)

// TestSystemd runs one machine through everything; each part leaves the server
// running.
func TestSystemd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, part := range []struct {
		name string
		test func(*machine)
	}{
		{"Units", units},
		{"SocketUnit", socketUnit},
		{"R18KillStaysDownAndNeverMeetsTheStartLimit", killStaysDown},
		{"Shutdown", shutdown},
		{"Hold", hold},
		{"OtherProcess", otherProcess},
		{"Deaths", deaths},
		{"R26GuardRefuses", guardRefuses},
		{"Person", person},
		{"R27Sandbox", sandbox},
		{"Daemon", daemon},
		{"RebootInMidSwap", reboots},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(m.in(t)) }) {
			return
		}
	}
}

// units: the files of deploy/systemd are clean, and in force under the names
// that the distribution's unit has.
func units(m *machine) {
	if r := m.drive("check"); !strings.Contains(r.Error, "start guard") || !strings.Contains(r.Error, "resilver-finish.service") {
		m.t.Errorf("nothing is in force yet, and the check says %q", r.Error)
	}
	for _, command := range unitCommands(m.t) {
		if strings.HasPrefix(command, "systemctl ") && !strings.Contains(command, "--now") {
			m.sh(command)
		}
	}
	// mariadb.service is the distribution's, and not ours to judge.
	if out, code := m.try("systemd-analyze verify --man=no resilver.service resilver-finish.service mysql.service"); code != 0 || out != "" {
		m.t.Errorf("systemd-analyze verify: %d\n%s", code, out)
	}
	m.drives("check")
	for _, name := range []string{"resilver.service", "resilver-finish.service"} {
		out := m.sh("systemd-analyze security --no-pager " + name + " | tail -1")
		_, figure, _ := strings.Cut(out, name+": ")
		figure, _, _ = strings.Cut(figure, " ")
		if !strings.Contains(readme(m.t), "`"+name+"` "+figure) {
			m.t.Errorf("README.md says otherwise: %s", out)
		}
	}
	m.sh("systemctl restart " + unit)
	m.answers()
	if st := m.drives("status").Status; !st.Running || st.PID == 0 || st.Deaths != 0 || st.Refused != "" || st.Held || st.GaveUp {
		m.t.Errorf("a healthy server is %+v", st)
	}
}

// socketUnit: with the socket active, the server that was ended would be back
// with the next client (R26).
func socketUnit(m *machine) {
	m.sh("systemctl stop mariadb.service && systemctl start mariadb.socket mariadb.service")
	m.answers()
	pid := m.show(unit, "MainPID")
	m.drives("kill")
	if got := m.show("mariadb.socket", "ActiveState"); got != "inactive" {
		m.t.Errorf("the socket is %s", got)
	}
	if _, code := m.try("mariadb-admin ping"); code == 0 {
		m.t.Error("a client reached a server")
	}
	m.stays(unit, down, time.Second)
	if st := m.drives("status").Status; !st.Held || st.Running {
		m.t.Errorf("the ended server is %+v", st)
	}
	// The hold and what was stopped with it outlive the process that did it:
	// every word is a process of its own here.
	m.drives("start")
	m.answers()
	if got := m.show("mariadb.socket", "ActiveState"); got != "active" {
		m.t.Errorf("the socket is %s after the start", got)
	}
	if got := m.show(unit, "MainPID"); got == pid || got == "0" {
		m.t.Errorf("the process is %s, it was %s", got, pid)
	}
	if st := m.drives("status").Status; st.Held {
		m.t.Error("still held")
	}
	m.sh("systemctl disable --now mariadb.socket; systemctl restart " + unit)
	m.answers()
}

// killStaysDown: whatever Restart= says, a killed server stays down, and
// starting it again as often as one likes never meets the start limit.
func killStaysDown(m *machine) {
	m.reload("[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=5\n[Service]\nRestart=always\nRestartSec=0\n")
	m.drives("kill")
	m.stays(unit, down, 2*time.Second)
	begun := time.Now()
	const rounds = 9
	for range rounds {
		m.drives("start", "kill")
	}
	took := time.Since(begun)
	m.stays(unit, down, time.Second)
	m.drives("start")
	m.answers()
	kill := m.drives("kill")
	start := m.drives("start")
	m.t.Logf("%d rounds in %s; kill %.0f ms, start %.0f ms", rounds, took.Round(time.Millisecond), kill.Seconds*1000, start.Seconds*1000)
	m.answers()
	if got := m.show(unit, "NRestarts"); got != "0" {
		m.t.Errorf("systemd restarted it %s times", got)
	}
	m.reload("")
}

func shutdown(m *machine) {
	m.drives("shutdown")
	if got := m.show(unit, "ActiveState --property Result"); got != "inactive success" && got != "success inactive" {
		m.t.Errorf("after a shutdown the unit is %s", got)
	}
	if r := m.drives("person"); r.Person != "" {
		m.t.Errorf("our own stop is taken for a person's: %s", r.Person)
	}
	// Nothing runs: ending what is gone is no error, and changes nothing.
	m.drives("start", "status")
	m.answers()
}

// hold: a restart that is pending is ended, a running server is left alone.
func hold(m *machine) {
	m.drives("hold")
	m.stays(unit, "active", 500*time.Millisecond)
	m.sh("kill -9 $(systemctl show --value --property MainPID " + unit + ")")
	m.wait("a restart is pending", func() bool { return m.show(unit, "SubState") == "auto-restart" })
	m.drives("hold")
	if got := m.show(unit, "ActiveState"); got != "inactive" && got != "failed" {
		m.t.Errorf("held while it waited for its restart, the unit is %s", got)
	}
	m.drives("start")
	m.answers()
}

// otherProcess: a server of another unit is not ended by this one's service.
func otherProcess(m *machine) {
	m.sh("cp -a " + live + " /var/lib/other && install -d -o mysql /run/other")
	m.sh("systemd-run --unit=other --uid=mysql mariadbd --no-defaults --datadir=/var/lib/other --socket=/run/other/s --pid-file=/run/other/pid --skip-networking")
	m.wait("the other server answers", func() bool { _, code := m.try("mariadb-admin -S /run/other/s ping"); return code == 0 })
	r := m.drive("-datadir", "/var/lib/other", "-socket", "/run/other/s", "-pid-file", "/run/other/pid", "kill")
	if !r.Other {
		m.t.Errorf("got %q", r.Error)
	}
	if got := m.show(unit, "ActiveState") + m.show("other", "ActiveState"); got != "activeactive" {
		m.t.Errorf("the units are %s", got)
	}
	m.sh("systemctl stop other; rm -r /var/lib/other")
}

// deaths: what the unit went through is told in the words of a Service.
func deaths(m *machine) {
	m.sh("kill -9 $(systemctl show --value --property MainPID " + unit + ")")
	m.wait("a restart is pending", func() bool { return m.show(unit, "SubState") == "auto-restart" })
	if st := m.drives("status").Status; st.Running || st.Deaths != 1 || st.GaveUp || st.LastExit != "signal: killed" {
		m.t.Errorf("before the restart: %+v", st)
	}
	m.wait("it was restarted", func() bool { return m.show(unit, "ActiveState") == "active" })
	if st := m.drives("status").Status; !st.Running || st.Deaths != 1 || st.GaveUp {
		m.t.Errorf("after the restart: %+v", st)
	}
	m.must(m.Write(m.t.Context(), "/etc/mysql/mariadb.conf.d/99-test.cnf", "644", "[mariadbd]\nno_such_option=1\n"))
	m.drives("kill")
	m.drive("start") // the process exists for a moment, which may be missed
	m.wait("it gave up", func() bool { return m.show(unit, "ActiveState") == "failed" })
	if st := m.drives("status").Status; st.Running || !st.GaveUp || st.Deaths != 1 || !strings.HasPrefix(st.LastExit, "exit status ") {
		m.t.Errorf("with an option that it does not know: %+v", st)
	}
	m.sh("rm /etc/mysql/mariadb.conf.d/99-test.cnf")
	m.drives("start")
	m.answers()
	if st := m.drives("status").Status; st.Deaths != 0 || st.GaveUp {
		m.t.Errorf("well again: %+v", st)
	}
}

// person: a masked unit, a clean stop and an upgrade are somebody at work.
func person(m *machine) {
	says := func(want string) {
		m.t.Helper()
		if r := m.drives("person"); want == "" && r.Person != "" || !strings.Contains(r.Person, want) {
			m.t.Errorf("it says %q, want %q", r.Person, want)
		}
	}
	says("")
	m.sh("systemctl stop " + unit)
	says("was stopped")
	m.sh("systemctl mask " + unit)
	says("masked")
	if r := m.drive("start"); r.Error == "" {
		m.t.Error("a masked unit was started")
	}
	m.sh("systemctl unmask " + unit)
	// What package scripts do: new unit files, and the server is down for a while.
	m.must(m.Write(m.t.Context(), "/etc/systemd/system/mariadb.service.d/new.conf", "644", "[Service]\nNice=0\n"))
	says("changed on disk")
	m.sh("rm /etc/systemd/system/mariadb.service.d/new.conf; systemctl daemon-reload; systemctl start " + unit)
	m.answers()
	says("")
	done := m.installs()
	says("packages are being changed")
	done()
	says("")
}

// installs begins to install a package, which goes on until done.
func (m *machine) installs() (done func()) {
	m.t.Helper()
	m.sh(`mkdir -p /root/p/DEBIAN; cd /root/p
printf 'Package: slow\nVersion: 1\nArchitecture: all\nMaintainer: a test\nDescription: installs as long as it is let\n' > DEBIAN/control
printf '#!/bin/sh\ntouch /run/slow; while test -e /run/slow; do sleep 0.1; done\n' > DEBIAN/postinst
chmod 755 DEBIAN/postinst; dpkg-deb --build /root/p /root/slow.deb; systemd-run --unit=dpkg dpkg -i /root/slow.deb`)
	m.wait("dpkg is at work", func() bool { _, code := m.try("test -e /run/slow"); return code == 0 })
	return func() {
		m.t.Helper()
		m.sh("rm /run/slow")
		m.wait("dpkg is done", func() bool { return m.show("dpkg", "ActiveState") == "inactive" })
	}
}

// sandbox: all of it works under the limits of resilver.service, the exchange
// of directories among it.
func sandbox(m *machine) {
	const dropIn = "/etc/systemd/system/resilver.service.d/test.conf"
	m.must(m.Write(m.t.Context(), dropIn, "644", "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\n"+
		"ExecStart=/usr/bin/driver check prove status kill status start status\nStandardOutput=truncate:/run/driver.json\n"))
	pid := m.show(unit, "MainPID")
	m.sh("rm -rf " + staging + "; install -d -o mysql -g mysql " + staging)
	m.sh("systemctl daemon-reload && systemctl start resilver.service")
	if out := m.sh("cat /run/driver.json"); !strings.Contains(out, `"Error":""`) {
		m.t.Errorf("in the sandbox: %s", out)
	}
	if got := m.show(unit, "MainPID"); got == pid || got == "0" {
		m.t.Errorf("the process is %s, it was %s", got, pid)
	}
	m.sh("rm -r /etc/systemd/system/resilver.service.d && systemctl daemon-reload")
	m.answers()
}
