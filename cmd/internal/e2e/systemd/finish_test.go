//go:build proof

package systemd

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"resilver/healing"
	"resilver/healing/datadir"
	"resilver/watchdog"
)

// half brings the machine to where a rebuild stands at a step: two datadirs
// that say which they are, the marker, and a journal. Where ended, the server
// has been.
func (m *machine) half(step watchdog.Step, done, ended, exchanged bool) {
	m.t.Helper()
	m.sql("CREATE DATABASE IF NOT EXISTS t; CREATE OR REPLACE TABLE t.w (w TEXT) ENGINE=InnoDB; INSERT INTO t.w VALUES ('copy')")
	m.drives("shutdown")
	m.sh(fmt.Sprintf("rm -rf %[1]s && install -d -o mysql -g mysql %[1]s && cp -a %[2]s %[1]s/new", staging, live))
	m.drives("start")
	m.answers()
	m.sql("UPDATE t.w SET w = 'old'")
	if ended {
		m.drives("kill")
	}
	m.mark(live)
	j := healing.Journal{Version: 1, Step: step, Done: done, Live: m.ref(live), Staged: m.ref(staging + "/new"),
		Record: watchdog.Record{ID: "r1", Node: "db1", Started: watchdog.StampOf(time.Now())}}
	j.Was = datadir.Dir{Ref: j.Live}
	m.save(j)
	if exchanged {
		m.mark(staging + "/new")
		m.sh(fmt.Sprintf("mv %[1]s %[1]s.x && mv %[2]s/new %[1]s && mv %[1]s.x %[2]s/new", live, staging))
	}
}

func (m *machine) mark(dir string) {
	m.t.Helper()
	m.sh("echo rebuild r1 > " + dir + "/" + datadir.MarkerName)
}

func (m *machine) ref(dir string) datadir.Ref {
	m.t.Helper()
	r := datadir.Ref{Path: dir}
	_, err := fmt.Sscan(m.sh("stat -c '%d %i' "+dir), &r.Dev, &r.Ino)
	m.must(err)
	return r
}

func (m *machine) save(j healing.Journal) {
	m.t.Helper()
	text, err := json.Marshal(j)
	m.must(err)
	m.must(m.Write(m.t.Context(), state+"/journal.json", "600", string(text)))
}

func (m *machine) journal() healing.Journal {
	m.t.Helper()
	var j healing.Journal
	m.must(json.Unmarshal([]byte(m.sh("cat "+state+"/journal.json")), &j))
	return j
}

// settled ends the rebuild of half.
func (m *machine) settled() {
	m.t.Helper()
	m.sh(fmt.Sprintf("rm -rf %s/journal.json %s %s/%s", state, staging, live, datadir.MarkerName))
}

// reboots: the power goes away in the middle of a swap, and the server comes
// up by itself on the old data or the finished new data (B4, P33).
func reboots(m *machine) {
	for _, c := range []struct {
		name            string
		step            watchdog.Step
		done            bool
		ended, exchange bool
		which           string
	}{
		{"closed, not ended", watchdog.StepStop, false, false, false, "old"},
		{"stopped", watchdog.StepStop, true, true, false, "copy"},
		{"swap begun", watchdog.StepSwap, false, true, false, "copy"},
		{"exchanged", watchdog.StepSwap, false, true, true, "copy"},
	} {
		m.half(c.step, c.done, c.ended, c.exchange)
		m.sh("sync")
		m.must(m.Cut(m.t.Context()))
		m.must(m.Boot(m.t.Context()))
		m.answers()
		if got := m.sql("SELECT w FROM t.w"); got != c.which {
			m.t.Errorf("%s: the server came up with the %s data, want %s", c.name, got, c.which)
		}
		j := m.journal()
		if c.which == "old" && !j.Back || c.which == "copy" && (j.Step != watchdog.StepStart || j.Done) {
			m.t.Errorf("%s: the journal stands in %s, back %v", c.name, j.Step, j.Back)
		}
		m.settled()
	}
	m.finishBeforeStart()
	m.finishFails()
}

// finishBeforeStart: without a reboot, too, a start completes the swap where
// no sidecar is there to do it, and leaves it to one that is.
func (m *machine) finishBeforeStart() {
	m.half(watchdog.StepSwap, false, true, false)
	m.sh("systemd-run --unit=sidecar driver lock")
	m.wait("the sidecar has its lock", func() bool { _, code := m.try("flock -n " + state + "/lock true"); return code != 0 })
	if out, code := m.try("systemctl start " + unit); code == 0 || !strings.Contains(out, "dependency") {
		m.t.Errorf("started beside the sidecar that swaps: %d %s", code, out)
	}
	if r := m.drive("start"); r.Error == "" || m.show(unit, "ActiveState") == "active" {
		m.t.Errorf("our own start: %q", r.Error)
	}
	if got := m.journal(); got.Step != watchdog.StepSwap {
		m.t.Errorf("the journal stands in %s", got.Step)
	}
	m.sh("systemctl stop sidecar; systemctl start " + unit)
	m.answers()
	if got := m.sql("SELECT w FROM t.w"); got != "copy" {
		m.t.Errorf("the server came up with the %s data", got)
	}
	m.settled()
}

// finishFails: with the copy gone nothing is started.
func (m *machine) finishFails() {
	m.half(watchdog.StepSwap, false, true, false)
	m.sh("mv " + staging + " " + staging + ".gone")
	if _, code := m.try("systemctl start " + unit); code == 0 {
		m.t.Error("started although the swap cannot be finished")
	}
	m.stays(unit, down, time.Second)
	m.settled()
	m.drives("start")
	m.answers()
}

// guardRefuses: ExecCondition makes a refused start look like a success; only
// the unit's state tells (R26).
func guardRefuses(m *machine) {
	// finish would complete the swap: here it is not installed.
	m.sh("systemctl disable resilver-finish.service")
	defer m.sh("systemctl enable resilver-finish.service")
	m.half(watchdog.StepSwap, false, true, false)
	out, code := m.try("systemctl start " + unit)
	if code != 0 {
		m.t.Errorf("systemctl start: %d %s", code, out)
	}
	r := m.drive("start")
	if !r.Refused {
		m.t.Errorf("our own start: %q", r.Error)
	}
	if st := m.drives("status").Status; st.Running || st.Refused == "" || st.GaveUp {
		m.t.Errorf("refused, the server is %+v", st)
	}
	if got := m.show(unit, "ActiveState"); got != "inactive" {
		m.t.Errorf("the unit is %s", got)
	}
	if r := m.drives("person"); r.Person != "" {
		m.t.Errorf("our own guard is taken for a person: %s", r.Person)
	}
	if out := m.sh("journalctl --no-pager --unit " + unit + " --lines 20"); !strings.Contains(out, "mysqld must not start until the sidecar has finished it") {
		m.t.Errorf("the reason is not in the unit's journal:\n%s", out)
	}
	// The socket: its clients are refused until it fails, and Start brings it back.
	m.sh("systemctl start mariadb.socket")
	m.wait("the socket has given up", func() bool {
		m.try("timeout 2 mariadb-admin ping")
		return m.show("mariadb.socket", "ActiveState") == "failed"
	})
	m.settled()
	m.drives("start")
	m.answers()
	if got := m.show("mariadb.socket", "ActiveState"); got != "active" {
		m.t.Errorf("the socket is %s", got)
	}
	m.sh("systemctl stop mariadb.socket mariadb.service; systemctl start " + unit)
	m.answers()
}
