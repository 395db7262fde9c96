//go:build proof

package systemd

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	"go.yaml.in/yaml/v4"
	"golang.org/x/sync/errgroup"

	"resilver/cmd/internal/e2e/box"
)

// fleet is a primary, db1, and two replicas, each a machine with a sidecar,
// installed as README.md and deploy/systemd say.
type fleet struct {
	t     *testing.T
	net   *box.Network
	nodes []*machine
	db    []*sql.DB // their servers, over the network, as somebody who may do all
	names []string
	pass  string // of every account with a password here
}

// quick is what is quicker here than by default, and the donor's limit, which
// makes a copy last a few seconds.
var quick = map[string]any{
	"lease": map[string]any{"ttl": "20s"},
	"policy": map[string]any{"mode": "heal", "broken_for": "3s", "cooldown": "1s", "systemic_window": "10s", "errant_confirm": "2s",
		"budget": map[string]any{"node_per_day": 100, "cluster_per_hour": 100}},
	"donor": map[string]any{"max_rate": "16MiB"},
	"log":   map[string]any{"level": "debug"},
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	image, err := box.Image(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	bin := programs(t)
	f := &fleet{t: t, names: []string{"db1", "db2", "db3"}, pass: rand.Text()}
	if f.net, err = box.NewNetwork(t.Context(), f.names...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.net.Remove(); err != nil {
			t.Error(err)
		}
	})
	boxes := make([]*box.Box, len(f.names))
	var all errgroup.Group
	for i, name := range f.names {
		all.Go(func() (err error) { boxes[i], err = f.net.Start(t.Context(), image, name); return err })
	}
	err = all.Wait()
	for i, b := range boxes {
		if b != nil {
			f.nodes = append(f.nodes, machineOf(t, b, f.names[i], bin))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	r := readRecipe(t)
	ca := f.certificates(r, bin)
	for i := range f.nodes {
		f.server(r, i)
		f.configure(r, i, ca)
	}
	f.replicate(r)
	for _, m := range f.nodes {
		for _, command := range unitCommands(t) {
			m.sh("cd /root/systemd && " + command)
		}
	}
	f.together()
	return f
}

func (f *fleet) in(t *testing.T) *fleet {
	g := *f
	g.t, g.nodes = t, nil
	for _, m := range f.nodes {
		g.nodes = append(g.nodes, m.in(t))
	}
	return &g
}

// server sets up MariaDB's own part: the README's options, and what every
// server needs that others talk to.
func (f *fleet) server(r recipe, i int) {
	f.t.Helper()
	m := f.nodes[i]
	options := r.block(f.t, "[mariadbd]")
	if i == 0 {
		options, _, _ = strings.Cut(options, "# on replicas:")
	}
	options += fmt.Sprintf("server_id=%d\nbind_address=0.0.0.0\nskip_name_resolve=ON\n", i+1)
	m.must(m.Write(f.t.Context(), "/etc/mysql/mariadb.conf.d/90-replication.cnf", "644", options))
	m.sh("systemctl disable --now mariadb.socket && systemctl restart " + unit)
	m.answers()
	db, err := sql.Open("mysql", fmt.Sprintf("tester:%s@tcp(%s:3306)/?timeout=2s&readTimeout=2m", f.pass, f.net.Address(m.name)))
	m.must(err)
	f.t.Cleanup(func() { _ = db.Close() })
	f.db = append(f.db, db)
}

// certificates are made on the machine that runs the test.
func (f *fleet) certificates(r recipe, bin string) (ca string) {
	f.t.Helper()
	dir := f.t.TempDir()
	for line := range strings.Lines(r.block(f.t, "resilver certs init")) {
		names := []string{"db2"}
		if strings.Contains(line, "certs issue") {
			names = f.names
		}
		for _, name := range names {
			cmd := exec.CommandContext(f.t.Context(), "sh", "-ec", f.mine(line, name)) //nolint:gosec // the README's own line
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				f.t.Fatalf("%s: %v\n%s", line, err, out)
			}
		}
	}
	return filepath.Join(dir, "ca")
}

// mine puts a node's name and address where the README has those of db2.
func (f *fleet) mine(text, name string) string {
	return strings.NewReplacer("db2.example.net", name+".example.net", "--node db2", "--node "+name, "name: db2", "name: "+name,
		"/db2.", "/"+name+".", "10.0.0.2", f.net.Address(name)).Replace(text)
}

func (f *fleet) configure(r recipe, i int, ca string) {
	f.t.Helper()
	m := f.nodes[i]
	m.sh(r.block(f.t, "useradd"))
	m.sh("mkdir -m 755 /etc/resilver")
	for _, from := range []string{filepath.Join(ca, m.name) + "/.", filepath.Join(ca, "gossip.key")} {
		m.must(m.Copy(f.t.Context(), from, "/etc/resilver/"))
	}
	for _, name := range []string{"mysql.password", "replication.password"} {
		m.must(m.Write(f.t.Context(), "/etc/resilver/"+name, "600", f.pass+"\n"))
	}
	f.set(m, quick, r)
	if out := m.sh("resilver check-config /etc/resilver/resilver.yaml 2>&1"); out != "/etc/resilver/resilver.yaml: ok" {
		f.t.Errorf("the README's configuration: %s", out)
	}
}

// set writes the README's configuration with changes.
func (f *fleet) set(m *machine, changes map[string]any, r recipe) {
	f.t.Helper()
	conf := map[string]any{}
	for _, text := range []string{f.mine(r.block(f.t, "cluster:"), m.name), r.block(f.t, "replication:\n")} {
		more := map[string]any{}
		m.must(yaml.Unmarshal([]byte(text), &more))
		merge(conf, more)
	}
	merge(conf, changes)
	text, err := yaml.Marshal(conf)
	m.must(err)
	m.must(m.Write(f.t.Context(), "/etc/resilver/resilver.yaml", "644", string(text)))
}

// merge lays one YAML mapping over another.
func merge(into, more map[string]any) {
	for key, value := range more {
		under, ok := into[key].(map[string]any)
		over, both := value.(map[string]any)
		if ok && both {
			merged := maps.Clone(under)
			merge(merged, over)
			value = merged
		}
		into[key] = value
	}
}

// replicate makes accounts and data, and lets the replicas follow.
func (f *fleet) replicate(r recipe) {
	f.t.Helper()
	primary := f.nodes[0]
	primary.sql(fmt.Sprintf("CREATE USER repl@'%%' IDENTIFIED BY '%[1]s'; GRANT REPLICATION SLAVE ON *.* TO repl@'%%';"+
		"CREATE USER tester@'%%' IDENTIFIED BY '%[1]s'; GRANT ALL ON *.* TO tester@'%%'", f.pass))
	out, err := primary.Run(f.t.Context(), "bash", "-ec", r.block(f.t, "resilver grants --flavor mariadb"))
	primary.must(err)
	if strings.Contains(out, f.pass) {
		f.t.Error("the grants show the password")
	}
	f.exec(0, "CREATE DATABASE app", "CREATE TABLE app.faults (id BIGINT AUTO_INCREMENT PRIMARY KEY, note TEXT)",
		"CREATE TABLE app.writes (id BIGINT PRIMARY KEY, body TEXT)", "CREATE TABLE app.bulk (id BIGINT PRIMARY KEY, body BLOB)",
		"INSERT INTO app.bulk SELECT seq, RANDOM_BYTES(1000) FROM app.seq_1_to_40000")
	for _, m := range f.nodes[1:] {
		m.sql(fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_USER='repl', MASTER_PASSWORD='%s', MASTER_USE_GTID=slave_pos; START SLAVE",
			f.net.Address("db1"), f.pass))
	}
	for i := range f.nodes {
		m := f.nodes[i]
		m.wait("it has the data", func() bool {
			return m.sql("SELECT COUNT(*) FROM information_schema.tables WHERE table_name='bulk'") == "1"
		})
	}
}

// exec runs statements on a node over the network.
func (f *fleet) exec(node int, statements ...string) {
	f.t.Helper()
	conn, err := f.db[node].Conn(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, s := range statements {
		if _, err := conn.ExecContext(f.t.Context(), s); err != nil {
			f.t.Fatalf("%s: %s: %v", f.names[node], s, err)
		}
	}
}

// together waits until each sidecar knows a leader and everybody's role.
func (f *fleet) together() {
	f.t.Helper()
	for _, m := range f.nodes {
		m.wait("the sidecars know each other", func() bool {
			s := status(m)
			return s.Leader != "" && len(s.Nodes) == len(f.names) &&
				!slices.ContainsFunc(s.Nodes, func(n nodeStatus) bool { return n.Role != "primary" && n.Role != "replica" || n.Health != "healthy" })
		})
	}
}
