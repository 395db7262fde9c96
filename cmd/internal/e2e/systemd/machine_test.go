//go:build proof

package systemd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/e2e/box"
	"resilver/healing/service"
)

const (
	unit    = "mariadb.service"
	live    = "/var/lib/mysql"
	staging = "/var/lib/mysql.resilver"
	state   = "/var/lib/resilver"
	deploy  = "../../../../deploy/systemd"
)

// machine is one box with resilver installed as deploy/systemd says.
type machine struct {
	*box.Box
	t    *testing.T
	name string
}

// result is what the driver prints.
type result struct {
	Status  service.Status
	Person  string
	Error   string
	Refused bool
	Other   bool
	Seconds float64
}

// programs builds resilver and the driver, without what ties a program to
// this machine's libraries.
func programs(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, pkg := range map[string]string{"resilver": "resilver/cmd/resilver", "driver": "resilver/cmd/internal/e2e/systemd/driver"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	return dir
}

// newMachine starts a machine and installs the units, but does not enable them.
func newMachine(t *testing.T) *machine {
	t.Helper()
	image, err := box.Image(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	b, err := box.Start(t.Context(), image, "db1")
	if err != nil {
		t.Fatal(err)
	}
	m := machineOf(t, b, "db1", programs(t))
	for _, command := range unitCommands(t) {
		if strings.HasPrefix(command, "install ") {
			m.sh("cd /root/systemd && " + command)
		}
	}
	m.sh("mkdir -m 700 " + state)
	return m
}

// machineOf takes a box for the time of the test and copies to it what
// a user would: the programs and deploy/systemd.
func machineOf(t *testing.T, b *box.Box, name, bin string) *machine {
	t.Helper()
	m := &machine{Box: b, t: t, name: name}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			out, _ := b.Run(ctx, "journalctl", "--no-pager", "--output=short-monotonic", "--lines=150", "--unit=mariadb.service", "--unit=mariadb.socket", "--unit=resilver*")
			t.Logf("the journal of %s:\n%s", name, out)
		}
		if err := b.Remove(); err != nil {
			t.Error(err)
		}
	})
	for from, to := range map[string]string{filepath.Join(bin, "resilver"): "/usr/bin/resilver", filepath.Join(bin, "driver"): "/usr/bin/driver", deploy: "/root/systemd"} {
		m.must(b.Copy(t.Context(), from, to))
	}
	return m
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// in is the same machine for a test within the test.
func (m *machine) in(t *testing.T) *machine { return &machine{Box: m.Box, t: t, name: m.name} }

// sh runs a line of shell that must succeed.
func (m *machine) sh(line string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "sh", "-ec", line)
	m.must(err)
	return strings.TrimSpace(out)
}

// try runs a line of shell and returns its exit code.
func (m *machine) try(line string) (out string, code int) {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "sh", "-c", line+` 2>&1; echo "code=$?"`)
	m.must(err)
	i := strings.LastIndex(out, "code=")
	code, err = strconv.Atoi(strings.TrimSpace(out[i+len("code="):]))
	m.must(err)
	return strings.TrimSpace(out[:i]), code
}

// drive lets the driver do some words, one after the other; it stops at the
// first that fails.
func (m *machine) drive(words ...string) result {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "sh", "-c", "driver "+strings.Join(words, " ")+" 2>/run/driver.log || cat /run/driver.log")
	m.must(err)
	var r result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		m.t.Fatalf("driver %v: %v: %s", words, err, out)
	}
	return r
}

// drives is drive where nothing may fail.
func (m *machine) drives(words ...string) result {
	m.t.Helper()
	r := m.drive(words...)
	if r.Error != "" {
		m.t.Fatalf("driver %v: %s", words, r.Error)
	}
	return r
}

// show reads properties of a unit, as "a b".
func (m *machine) show(unit, properties string) string {
	m.t.Helper()
	return strings.ReplaceAll(m.sh(fmt.Sprintf("systemctl show --value --property %s %s", properties, unit)), "\n", " ")
}

func (m *machine) sql(text string) string {
	m.t.Helper()
	return m.sh(fmt.Sprintf("mariadb --batch --skip-column-names -e %q", text))
}

// answers waits until the server answers and its unit has come up.
func (m *machine) answers() {
	m.t.Helper()
	m.wait("the server answers", func() bool {
		_, code := m.try("mariadb-admin ping")
		return code == 0 && m.show(unit, "ActiveState") == "active"
	})
}

func (m *machine) wait(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// down are the states of a unit that was ended: a server that dies of the
// stop's SIGTERM before it can handle it has ended well.
const down = "inactive failed"

// stays fails where the unit leaves the states within a time that is longer
// than its RestartSec.
func (m *machine) stays(unit, states string, d time.Duration) {
	m.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got := m.show(unit, "ActiveState"); !slices.Contains(strings.Fields(states), got) {
			m.t.Fatalf("%s is %s, it was to stay %s", unit, got, states)
		}
	}
}

// reload replaces the drop-in of the test for the server's unit; an empty one
// removes it.
func (m *machine) reload(dropIn string) {
	m.t.Helper()
	const path = "/etc/systemd/system/mariadb.service.d/test.conf"
	if dropIn == "" {
		m.sh("rm -f " + path)
	} else {
		m.must(m.Write(m.t.Context(), path, "644", dropIn))
	}
	m.sh("systemctl daemon-reload")
}
