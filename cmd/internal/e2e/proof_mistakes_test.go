//go:build proof

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

// TestMistakesAreNamed: what is wrong beside a sidecar or in its
// configuration is said in one line, with the cure, by whoever is asked; a
// person's rebuild is refused, nothing happens to anybody's data, and once it
// is mended all is well.
func TestMistakesAreNamed(t *testing.T) { onEngines(t, mistakesAreNamed) }

func mistakesAreNamed(t *testing.T, engine string) {
	c := upOn(t, engine, nil)
	n := c.Node(2)
	before := identityOf(t, n)
	login := map[string]string{"mysql.socket": n.Socket, "mysql.user": "resilver", "mysql.password_file": `""`}
	if engine == lab.MariaDB {
		login["mysql.password_file"] = filepath.Join(c.Dir, "sidecar.password")
	}
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(c.Dir, name)
		must(t, os.WriteFile(path, []byte("not the password"), mode))
		return path
	}
	absent := filepath.Join(c.Dir, "absent")
	user, wrongLogin := "resilver", map[string]string{"mysql.password_file": file("wrong", 0o600)}
	if engine == lab.MySQL { // auth_socket asks for no password
		user, wrongLogin = "stranger", map[string]string{"mysql.user": "stranger"}
	}
	denied := `node db2 is unknown \(own-account\) since \S+: .*: Access denied for user '` + user + `'@'localhost'.*; see .resilver grants., and mysql.user and mysql.password_file`
	for _, m := range []struct {
		name string
		set  map[string]string
		plan string // the first line of it
		why  string // a rebuild is refused
	}{
		{"no socket there", map[string]string{"mysql.socket": absent},
			`node db2 is unreachable \(server-down\) since \S+: connect to ` + absent + `: server is down: dial unix ` + absent + `: connect: no such file or directory; is mysqld up, and mysql.socket right\?`,
			"its manager runs it"},
		{"the login", wrongLogin, denied, "Access denied"},
		{"another node's server", map[string]string{"mysql.socket": c.Node(3).Socket}, `node db2 is healthy.*`,
			"does not run the server on " + c.Node(3).Datadir + "/, which is process "},
	} {
		must(t, n.Set(m.set))
		sidecarAnew(t, n)
		saysPlan(t, n, m.plan)
		_, stderr, code, err := n.Resilver(t.Context(), "rebuild")
		must(t, err)
		t.Logf("%s: exit code %d: %s", m.name, code, strings.TrimSpace(stderr))
		if code != 3 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, m.why) {
			t.Errorf("%s: exit code %d: %s", m.name, code, stderr)
		}
		must(t, n.Set(login))
	}

	// What cannot be read at all is refused at once.
	for path, says := range map[string]string{
		absent:              `mysql.password_file: ` + absent + ` does not exist; make it, with mode 0600`,
		file("open", 0o644): `mysql.password_file: .*/open .*; chmod 600 .*/open`,
	} {
		must(t, n.Set(map[string]string{"mysql.password_file": path}))
		for _, args := range [][]string{{"run", "--config", n.Config}, {"check-config", n.Config}} {
			_, stderr, code, err := n.Resilver(t.Context(), args...)
			must(t, err)
			if code != 2 || strings.Count(stderr, "\n") != 1 || !regexp.MustCompile(says).MatchString(stderr) {
				t.Errorf("%v: exit code %d: %s", args, code, stderr)
			}
		}
	}
	must(t, n.Set(login))
	restart(t, c, n)

	for _, m := range []struct {
		args []string
		says string
	}{
		{[]string{"rebuild", "--from", "db9"}, "resilver: --from db9: no node of this cluster has that name; `resilver status` lists them\n"},
		{[]string{"rebuild", "--from", "db2"}, "resilver: --from db2: a node is never its own donor\n"},
		{[]string{"rebuild", "--method", "tar"}, "resilver: method \"tar\" is not known; there are clone, mariabackup and xtrabackup\n"},
		{[]string{"rebuild", "--override", "luck"}, "resilver: no guard is called \"luck\"; `resilver plan` lists them\n"},
		{[]string{"pause", "--reason", "x", "--node", "db9"}, "resilver: no node is called \"db9\"; `resilver status` lists them\n"},
		{[]string{"resume", "--node", "db9"}, "resilver: no node is called \"db9\"; `resilver status` lists them\n"},
		{[]string{"history", "r9"}, "resilver: there is no rebuild r9 in the history: `resilver history` lists them\n"},
	} {
		_, stderr, code, err := n.Resilver(t.Context(), m.args...)
		must(t, err)
		if code != 2 || stderr != m.says {
			t.Errorf("%v: exit code %d: %s", m.args, code, stderr)
		}
	}

	missing(t, c, n)
	down(t, n)
	if now, err := n.History(t.Context()); err != nil || len(now) != 0 {
		t.Errorf("history: %+v, %v", now, err)
	}
	before.untouched(t, n)
	equal(t, c)
}

// missing: the donor lacks what a copy is made with, and says so before
// anything begins.
func missing(t *testing.T, c *lab.Cluster, n *lab.Node) {
	t.Helper()
	donor := c.Node(3)
	says := "db3: the clone plugin is not active: plugin_load_add=mysql_clone.so"
	if n.Engine() == lab.MySQL {
		must(t, donor.SQL(t.Context(), "SET sql_log_bin=0", "SET GLOBAL super_read_only=0", "UNINSTALL PLUGIN clone", "SET GLOBAL super_read_only=1"))
	} else {
		says = "db3: mariadb-backup is in none of [/nowhere]: install it, or put its directory on the sidecar's PATH"
		must(t, donor.StopSidecar(t.Context()))
		donor.Env("PATH=/nowhere")
		must(t, donor.StartSidecar())
		together(t, c)
	}
	must(t, lab.WaitFor(t.Context(), time.Minute, "the donor to be refused", func(ctx context.Context) (bool, string) {
		_, stderr, code, err := n.Resilver(ctx, "rebuild", "--from", donor.Name)
		if err == nil && code != 3 {
			t.Errorf("exit code %d", code)
		}
		return strings.HasPrefix(stderr, "resilver: rebuild refused by donor: "+says) && strings.Count(stderr, "\n") == 1, stderr
	}))
	if n.Engine() == lab.MySQL {
		must(t, donor.SQL(t.Context(), "SET sql_log_bin=0", "SET GLOBAL super_read_only=0", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", "SET GLOBAL super_read_only=1"))
		return
	}
	donor.Env()
	must(t, donor.StopSidecar(t.Context()))
	must(t, donor.StartSidecar())
	together(t, c)
}

// down: mysqld and its supervisor are not there at all.
func down(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, n.StopServer(t.Context()))
	saysPlan(t, n, `node db2 is unreachable \(server-down\) since \S+: connect to `+n.Socket+`: server is down: .*; is mysqld up, and mysql.socket right\?`)
	_, stderr, code, err := n.Resilver(t.Context(), "supervise", "--start", "--config", n.Config)
	must(t, err)
	if want := "resilver: start mysqld: the supervisor cannot be reached: dial unix " + n.SuperviseSocket() + ": connect: no such file or directory; is `resilver supervise` running, with this state_dir?\n"; code != 4 || stderr != want {
		t.Errorf("nobody to start it: exit code %d: %s", code, stderr)
	}
	must(t, n.StartServer(t.Context()))
	must(t, n.WaitReplicating(t.Context(), time.Minute))
}

// saysPlan waits until a plan begins with a line.
func saysPlan(t *testing.T, n *lab.Node, line string) {
	t.Helper()
	want := regexp.MustCompile("^" + line + "\n")
	must(t, lab.WaitFor(t.Context(), time.Minute, n.Name+" to say what is wrong", func(ctx context.Context) (bool, string) {
		stdout, stderr, code, err := n.Resilver(ctx, "plan")
		if err != nil {
			return false, err.Error()
		}
		first, _, _ := strings.Cut(stdout, "\n")
		return code == 0 && want.MatchString(stdout), first + stderr
	}))
}
