//go:build proof

package e2e

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// TestMethodsInOrder: the first method of rebuild.methods heals, and where its
// tool fails, at the donor or in its preparation here, the next one does in the
// same rebuild. The tool is a stand-in for Percona's, which cannot be had: what
// is proven is the way through a whole rebuild.
func TestMethodsInOrder(t *testing.T) {
	t.Parallel()
	c := upOn(t, lab.MySQL, map[string]string{"policy.mode": "observe", "donor.primary": "never", "rebuild.methods": "[xtrabackup, clone]"})
	db2, db3 := c.Node(2), c.Node(3)
	dir := standIn(t, c)
	for _, n := range []*lab.Node{db2, db3} {
		must(t, n.StopSidecar(t.Context()))
		n.Env("PATH=" + dir + ":" + os.Getenv("PATH"))
		must(t, n.StartSidecar())
	}
	together(t, c)
	name := ownerName(t, db3.Datadir)
	must(t, c.Node(1).SQL(t.Context(), "CREATE USER IF NOT EXISTS `"+name+"`@localhost IDENTIFIED WITH auth_socket",
		"GRANT BACKUP_ADMIN, RELOAD, PROCESS, REPLICATION CLIENT ON *.* TO `"+name+"`@localhost",
		"GRANT SELECT ON performance_schema.* TO `"+name+"`@localhost"))
	tool := filepath.Join(dir, "xtrabackup")
	for _, way := range []struct{ name, fails, method string }{
		{"the first one works", "", "xtrabackup"},
		{"it fails at the donor", "--backup", "clone"},
		{"it fails in prepare", "--prepare", "clone"},
	} {
		script := "#!/bin/sh\n"
		if way.fails != "" {
			script += `for a; do [ "$a" = ` + way.fails + " ] && { echo 'cannot' >&2; exit 1; }; done\n"
		}
		must(t, os.WriteFile(tool, []byte(script+"exec "+tool+".real \"$@\"\n"), 0o755))
		before := identityOf(t, db2)
		breakIt(t, c, db2, "row-missing")
		refuses(t, db2, "mode", time.Minute)
		code, said := rebuildNow(t, db2)
		rs, err := records(t.Context(), db2, db2.Name)
		must(t, err)
		if r := rs[0]; code != 0 || r.Outcome != watchdog.Healed || r.Method != way.method {
			t.Fatalf("%s: exit code %d, %s by %s, want it healed by %s: %s", way.name, code, r.Outcome, r.Method, way.method, said)
		}
		must(t, db2.WaitReplicating(t.Context(), time.Minute))
		before.unchanged(t, db2)
		settled(t, db2)
		if exists(db2.Datadir + ".resilver/new") {
			t.Errorf("%s: a copy was left behind", way.name)
		}
	}
	equal(t, c)
}

// standIn makes a directory with the stand-in for xtrabackup, and MariaDB's
// mbstream, which speaks the same format, by the name of xbstream.
func standIn(t *testing.T, c *lab.Cluster) string {
	t.Helper()
	server, err := lab.Servers(t.Context(), lab.MariaDB, logWriter{t})
	must(t, err)
	dir := filepath.Join(c.Dir, "tools") // which mysqld's user can enter
	must(t, os.Mkdir(dir, 0o755))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/xtrabackup.real", "resilver/healing/method/testdata/xtrabackup").CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in: %v\n%s", err, out)
	}
	mbstream := filepath.Join(filepath.Dir(server.Mysqld), "mbstream")
	must(t, os.WriteFile(dir+"/xbstream", []byte("#!/bin/sh\nexec "+mbstream+" \"$@\"\n"), 0o755))
	must(t, os.WriteFile(dir+"/xtrabackup", []byte("#!/bin/sh\nexec "+dir+"/xtrabackup.real \"$@\"\n"), 0o755))
	return dir
}

func ownerName(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	u, err := user.LookupId(strconv.FormatUint(uint64(ownerOf(info)), 10))
	must(t, err)
	return u.Username
}
