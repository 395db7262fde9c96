//go:build proof

package systemd

import (
	"encoding/json"
	"strings"
	"time"

	"resilver/watchdog"
)

// nodeStatus and the others are what `resilver` prints as JSON, as far as it
// is looked at here.
type (
	nodeStatus   struct{ Name, Role, Health string }
	statusResult struct {
		Leader string
		Nodes  []nodeStatus
	}
	planResult struct {
		Diagnosis struct{ Class, Reason string }
		Guards    []watchdog.Guard
	}
)

// ask reads what a command of the sidecar prints; false where it does not answer.
func ask[T any](m *machine, command string) (T, bool) {
	m.t.Helper()
	var r T
	out, code := m.try("resilver " + command + " -o json 2>/dev/null")
	if code != 0 {
		return r, false
	}
	m.must(json.Unmarshal([]byte(out), &r))
	return r, true
}

func status(m *machine) statusResult {
	m.t.Helper()
	s, _ := ask[statusResult](m, "status")
	return s
}

// records are the ended rebuilds of a node, newest first.
func records(m *machine) []watchdog.Record {
	m.t.Helper()
	all, _ := ask[[]watchdog.Record](m, "history")
	var out []watchdog.Record
	for _, r := range all {
		if r.Node == m.name && !r.Ended.IsZero() {
			out = append(out, r)
		}
	}
	return out
}

// refused waits until the plan has a guard, any where none is named, that fails
// for a reason.
func refused(m *machine, guard, reason string) {
	m.t.Helper()
	var last planResult
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if p, ok := ask[planResult](m, "plan"); ok {
			last = p
		}
		for _, g := range last.Guards {
			if (guard == "" || g.ID == guard) && g.Verdict != watchdog.Pass && strings.Contains(g.Reason+g.Value, reason) {
				return
			}
		}
	}
	m.t.Fatalf("guard %s does not refuse for %q: %+v", guard, reason, last)
}

// healed waits until the newest rebuild of a node has healed it; earlier ones
// since may have been cancelled, not failed.
func (f *fleet) healed(m *machine, before int) watchdog.Record {
	m.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		all := records(m)
		if len(all) <= before {
			continue
		}
		for _, r := range all[:len(all)-before] {
			if r.Outcome != watchdog.Healed && r.Outcome != watchdog.Cancelled {
				m.t.Fatalf("%s: outcome %s: %s", m.name, r.Outcome, r.Error)
			}
		}
		if r := all[0]; r.Outcome == watchdog.Healed {
			m.t.Logf("%s healed from %s by %s, %.1f s after the grant, after %d that were cancelled",
				m.name, r.Donor, r.Method, r.Ended.Sub(r.Started.Time).Seconds(), len(all)-before-1)
			return r
		}
	}
	p, _ := ask[planResult](m, "plan")
	m.t.Fatalf("%s has not healed within 4 minutes: %+v; its plan: %+v", m.name, records(m), p)
	return watchdog.Record{}
}

// breaks makes a row of a replica go missing behind replication's back, and
// waits until its applier has stopped over it.
func (f *fleet) breaks(node int) {
	f.t.Helper()
	m := f.nodes[node]
	result, err := f.db[0].ExecContext(f.t.Context(), "INSERT INTO app.faults (note) VALUES ('new')")
	f.must(err)
	id, err := result.LastInsertId()
	f.must(err)
	m.wait("it has the row", func() bool {
		var n int
		f.must(f.db[node].QueryRowContext(f.t.Context(), "SELECT COUNT(*) FROM app.faults WHERE id=?", id).Scan(&n))
		return n == 1
	})
	conn, err := f.db[node].Conn(f.t.Context())
	f.must(err)
	defer func() { _ = conn.Close() }()
	_, err = conn.ExecContext(f.t.Context(), "SET SESSION sql_log_bin=0")
	f.must(err)
	defer func() { _, _ = conn.ExecContext(f.t.Context(), "SET SESSION sql_log_bin=1") }()
	_, err = conn.ExecContext(f.t.Context(), "DELETE FROM app.faults WHERE id=?", id)
	f.must(err)
	_, err = f.db[0].ExecContext(f.t.Context(), "UPDATE app.faults SET note='updated' WHERE id=?", id)
	f.must(err)
	m.wait("its applier has stopped", func() bool { return strings.Contains(m.sql("SHOW SLAVE STATUS"), "1032") })
}

// copying waits until a copy is under way on a machine.
func (m *machine) copying() {
	m.t.Helper()
	m.sh(`for i in $(seq 1200); do
if grep -q '"step": *"stage"' ` + state + `/journal.json 2>/dev/null && test $(du -s --block-size=1M ` + staging + `/new | cut -f1) -gt 1; then exit; fi
sleep 0.05; done; echo no copy is made; exit 1`)
}

// tools are the processes of a copy that run on a machine.
func (m *machine) tools() string {
	m.t.Helper()
	out := m.sh(`ps -e -o comm= -o args= | grep -E '^(mbstream|mariadb-backup|mariabackup)|mysql\.resilver/' | grep -v grep || true`)
	return out
}
