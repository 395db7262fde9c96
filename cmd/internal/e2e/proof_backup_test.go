//go:build proof

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/healing"
	"resilver/healing/datadir"
	"resilver/watchdog"
)

// backsUp: only where it may, and whole; what is restored from it is what the
// donor had, and nobody's twin.
func backsUp(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	dir := filepath.Join(c.Dir, "backups")
	must(t, os.Mkdir(dir, 0o755))
	if code, said := resilver(t, n, "backup", "--to", dir); code != 2 || !strings.Contains(said, "backup.dirs") {
		t.Errorf("backup without a directory for it: exit code %d: %s", code, said)
	}
	must(t, n.Set(map[string]string{"rebuild.deadlines": "{}", "backup.dirs": "[" + dir + "]"}))
	restartWith(t, n, "keep.written=kill")
	together(t, c)
	if code, said := resilver(t, n, "backup", "--to", c.Dir); code != 2 || !strings.Contains(said, "is in none of") {
		t.Errorf("backup to elsewhere: exit code %d: %s", code, said)
	}
	cli(t, n, 0, "backup", "--to", dir)
	died(t, n)
	n.Env()
	must(t, n.StartSidecar())
	if r := ended(t, n, 5, time.Minute); r.Outcome != watchdog.Cancelled {
		t.Errorf("killed before the backup had its name: %s: %s", r.Outcome, r.Error)
	}
	nothingLeft(t, n)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left of the backup: %v, %v", left, err)
	}
	together(t, c)
	whole(t, c, n, dir)
}

// whole: a backup is what its manifest says, and what its donor had.
func whole(t *testing.T, c *lab.Cluster, n *lab.Node, dir string) {
	t.Helper()
	code, said := resilver(t, n, "backup", "--to", dir, "--follow")
	r := ended(t, n, 6, time.Second)
	if code != 0 || r.Outcome != watchdog.Passed || r.Backup != filepath.Join(dir, r.ID) {
		t.Fatalf("backup: exit code %d, %+v: %s", code, r, said)
	}
	var m healing.Manifest
	b, err := os.ReadFile(filepath.Join(r.Backup, "manifest.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &m))
	donor := c.Node(2)
	origin := identityOf(t, donor)
	if origin.uuid == "" { // MariaDB has none
		origin.uuid = "server-id:" + origin.serverID
	}
	if r.Donor != donor.Name || m.Donor != r.Donor || m.ID != r.ID || m.Cluster != "lab" || m.Bytes < 20<<20 || m.FileCount != len(m.Files) || m.DonorUUID != origin.uuid {
		m.Files = nil
		t.Errorf("the manifest says %+v of %+v", m, r)
	}
	if slices.ContainsFunc(m.Files, func(f datadir.File) bool { return f.Path == "auto.cnf" || strings.HasSuffix(f.Path, ".pem") }) {
		t.Error("the backup holds what is this node's alone")
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "-c", "--quiet", "-")
	check.Dir = filepath.Join(r.Backup, "data")
	lines := ""
	for _, f := range m.Files {
		lines += f.SHA256 + "  " + f.Path + "\n"
	}
	check.Stdin = strings.NewReader(lines)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("the manifest's checksums: %v: %s", err, out)
	}
	asked := restored(t, c, r.Backup, donor)
	sameRows(t, donor, asked)
	if donor.Engine() == lab.MySQL {
		if got := asked("SELECT @@server_uuid"); got == identityOf(t, n).uuid || got == m.DonorUUID || got == "" {
			t.Errorf("the restored server has the uuid %q of another", got)
		}
	}
}

// sameRows compares a server that can be asked with a donor at rest.
func sameRows(t *testing.T, donor *lab.Node, asked func(query string) string) {
	t.Helper()
	tables, err := donor.Rows(t.Context(), "SELECT CONCAT('lab.', table_name) AS name FROM information_schema.tables WHERE table_schema = 'lab'")
	must(t, err)
	if len(tables) == 0 {
		t.Error("the donor has no tables to compare")
	}
	for _, table := range tables {
		query := "CHECKSUM TABLE " + table["name"] + " EXTENDED"
		rows, err := donor.Rows(t.Context(), query)
		must(t, err)
		if got, want := asked(query), table["name"]+"\t"+rows[0]["Checksum"]; got != want {
			t.Errorf("restored: %q, the donor has %q", got, want)
		}
	}
	position := map[string]string{lab.MySQL: "SELECT @@global.gtid_executed", lab.MariaDB: "SELECT @@global.gtid_slave_pos"}[donor.Engine()]
	want, err := donor.Value(t.Context(), position)
	must(t, err)
	if got := asked(position); want == "" || got != strings.ReplaceAll(want, "\n", "") {
		t.Errorf("restored: gtids %q, the donor has %q", got, want)
	}
}

// restored starts a server on a backup as its manifest says, and returns how to
// ask it.
func restored(t *testing.T, c *lab.Cluster, backup string, like *lab.Node) func(query string) string {
	t.Helper()
	dir := filepath.Join(c.Dir, "restored")
	info, err := os.Stat(like.Datadir)
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Chown(dir, int(st.Uid), int(st.Gid)))
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(backup, "data"), dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the backup: %v: %s", err, out)
	}
	server, err := lab.Servers(t.Context(), like.Engine(), logWriter{t})
	must(t, err)
	socket, data := filepath.Join(dir, "s"), filepath.Join(dir, "data")
	elsewhere := map[string]string{lab.MySQL: "--innodb-doublewrite-dir=", lab.MariaDB: "--aria-log-dir-path="}[like.Engine()]
	mysqld := exec.Command(server.Mysqld, "--defaults-file="+like.OptionFile(), "--datadir="+data, "--socket="+socket, //nolint:noctx // ended below
		"--pid-file="+filepath.Join(dir, "pid"), "--log-error="+filepath.Join(dir, "err"), "--tmpdir="+dir, "--skip-networking", "--server-id=99",
		"--log-bin=binlog", "--relay-log=relay", "--innodb-data-home-dir="+data, "--innodb-log-group-home-dir="+data, "--innodb-undo-directory="+data, elsewhere+data)
	must(t, mysqld.Start())
	t.Cleanup(func() {
		_ = mysqld.Process.Kill()
		_ = mysqld.Wait()
	})
	root := "root"
	if like.Engine() == lab.MariaDB { // unix_socket asks for the very name
		me, err := user.Current()
		must(t, err)
		root = me.Username
	}
	ask := func(query string) (string, error) {
		out, err := exec.CommandContext(t.Context(), server.Client, "--no-defaults", "-u", root, "-S", socket, "-N", "-B", "-e", query).CombinedOutput()
		return strings.ReplaceAll(strings.TrimSpace(string(out)), "\\n", ""), err
	}
	must(t, lab.WaitFor(t.Context(), time.Minute, "the restored server to answer", func(context.Context) (bool, string) {
		said, err := ask("SELECT 1")
		return err == nil, said
	}))
	return func(query string) string {
		said, err := ask(query)
		if err != nil {
			t.Errorf("%s: %v: %s", query, err, said)
		}
		return said
	}
}
