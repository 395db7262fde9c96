//go:build proof

package systemd

import (
	"strings"
	"time"
)

const daemonConfig = `
node: {name: db1}
cluster:
  name: one
  join: ["127.0.0.1:7373"]
  bind: 127.0.0.1
  gossip_key_file: /etc/resilver/gossip.key
  tls: {ca: /etc/resilver/db1/ca.crt, cert: /etc/resilver/db1/db1.crt, key: /etc/resilver/db1/db1.key}
mysql: {service: {kind: systemd, unit: mariadb.service}}
donor: {os_user: nobody}
`

// daemon: `resilver run` is ready in its unit, feeds the watchdog, holds the
// state directory for itself, and stops when it is told to.
func daemon(m *machine) {
	m.sh("mkdir -p /etc/resilver && resilver certs init --cluster one --dir /etc/resilver && resilver certs issue --cluster one --dir /etc/resilver --node db1 --host 127.0.0.1")
	m.must(m.Write(m.t.Context(), "/etc/resilver/resilver.yaml", "600", daemonConfig))
	// The time of the watchdog is shorter than what probe.interval allows.
	m.must(m.Write(m.t.Context(), "/etc/systemd/system/resilver.service.d/test.conf", "644", "[Service]\nWatchdogSec=2s\n"))
	m.sh("systemctl daemon-reload && systemctl start resilver.service")
	before := m.show("resilver.service", "WatchdogTimestampMonotonic")
	m.wait("the watchdog is fed", func() bool { return m.show("resilver.service", "WatchdogTimestampMonotonic") != before })
	if out, code := m.try("resilver run"); code == 0 || !strings.Contains(out, "another resilver") {
		m.t.Errorf("a second sidecar: %d %s", code, out)
	}
	m.sh("resilver status")
	pid := m.show(unit, "MainPID")
	m.stays("resilver.service", "active", time.Second)
	// A hang is noticed and cured.
	m.sh("kill -STOP $(systemctl show --value --property MainPID resilver.service)")
	m.wait("the watchdog bit", func() bool { return m.show("resilver.service", "NRestarts") == "1" })
	m.wait("it is back", func() bool { return m.show("resilver.service", "ActiveState") == "active" })
	m.sh("systemctl stop resilver.service")
	if got := m.show("resilver.service", "Result"); got != "success" {
		m.t.Errorf("stopped, its result is %s\n%s", got, m.sh("journalctl --no-pager --unit resilver.service --lines 40"))
	}
	if got := m.show(unit, "MainPID"); got != pid {
		m.t.Errorf("the server is process %s, it was %s", got, pid)
	}
	m.sh("rm -r /etc/resilver /etc/systemd/system/resilver.service.d; systemctl daemon-reload")
}
