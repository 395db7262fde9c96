package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const minimal = "cluster: {name: orders, join: [db1:7373, db2:7373, db3:7373]}\n"

func load(t *testing.T, text string) (*Config, Problems) {
	t.Helper()
	cfg, err := Load(strings.NewReader(text), "f.yaml")
	var problems Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatalf("not Problems: %v", err)
	}
	if (err == nil) != (cfg != nil) {
		t.Fatalf("config %v beside error %v", cfg, err)
	}
	return cfg, problems
}

func TestMinimalConfigHasTheDefaults(t *testing.T) {
	for name, text := range map[string]string{
		"plain":          minimal,
		"header":         "---\n" + minimal,
		"empty sections": minimal + "policy:\nlease: {}\nmysql:\n  service:\n  socket:\nadmin: ~\nrebuild: {deadlines: }\n",
		"comments":       "# a\n" + minimal + "# b\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := load(t, text)
			if problems != nil {
				t.Fatal(problems)
			}
			want := Default()
			want.Node.Name = hostName()
			want.Cluster.Name, want.Cluster.Join = "orders", []string{"db1:7373", "db2:7373", "db3:7373"}
			got.origin = origin{}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

func TestValuesAreRead(t *testing.T) {
	cfg, problems := load(t, minimal+`
node: {name: db2, donor: false}
lease:
  ttl: 90s
mysql:
  service: {kind: command, start: [/bin/systemctl, start, mysql], stop: [/bin/a], status: ["/bin/b"]}
policy: {max_bytes: 1.5GiB, budget: {node_per_day: 7}, cooldown: 0}
rebuild: {min_free: 20GiB, deadlines: {rehearse: 5m, stop: 1m30s}, preserve: []}
donor: {max_rate: 100MiB}
quarantine: {min_free: 12.5%}
http: {listen: ""}
`)
	if problems != nil {
		t.Fatal(problems)
	}
	for name, ok := range map[string]bool{
		"name":      cfg.Node.Name == "db2" && !cfg.Node.Donor && cfg.Node.Rebuild,
		"ttl":       cfg.Lease.TTL == 90*time.Second,
		"service":   slices.Equal(cfg.MySQL.Service.Start, []string{"/bin/systemctl", "start", "mysql"}),
		"max_bytes": cfg.Policy.MaxBytes == 3<<29,
		"budget":    cfg.Policy.Budget == Budget{NodePerDay: 7, ClusterPerHour: 3},
		"cooldown":  cfg.Policy.Cooldown == 0,
		"min_free":  cfg.Rebuild.MinFree == Space{Bytes: 20 << 30} && cfg.Rebuild.MinFree.Of(1) == 20<<30,
		"deadlines": cfg.Rebuild.Deadlines["rehearse"] == 5*time.Minute && cfg.Rebuild.Deadlines["stop"] == 90*time.Second,
		"preserve":  len(cfg.Rebuild.Preserve) == 0,
		"max_rate":  cfg.Donor.MaxRate == 100<<20,
		"percent":   cfg.Quarantine.MinFree.Of(1000) == 125,
		"http":      cfg.HTTP.Listen == "",
	} {
		if !ok {
			t.Errorf("%s was read wrongly: %+v", name, cfg)
		}
	}
}

func TestProblemsHaveTheirPlace(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":        {minimal + "policy:\n  brokn_for: 3s\n", "f.yaml:3:3: policy.brokn_for: unknown key; did you mean policy.broken_for?"},
		"unknown section":    {minimal + "hooks: {}\n", "f.yaml:2:1: hooks: unknown key; remove it"},
		"unknown in flow":    {minimal + "lease: {ttl: 2m, nonsense: 1}\n", "f.yaml:2:18: lease.nonsense: unknown key; remove it"},
		"not yet":            {minimal + "policy: {repoint: true}\n", "f.yaml:2:10: policy.repoint: unknown key; remove it"},
		"duplicate key":      {minimal + "log:\n  level: info\n  level: warn\n", "f.yaml:4:3: log.level: the key is here a second time, it was on line 3; keep one"},
		"duplicate section":  {minimal + "log:\nlog:\n", "f.yaml:3:1: log: the key is here a second time, it was on line 2; keep one"},
		"second document":    {minimal + "---\nlog: {}\n", "f.yaml:2:1: a second document begins here, and would be ignored; keep one document"},
		"trailing dashes":    {minimal + "---\n", "f.yaml:2:1: a second document begins here, and would be ignored; keep one document"},
		"after dots":         {minimal + "...\nlog: {}\n", "f.yaml:3:1: a second document begins here, and would be ignored; keep one document"},
		"bool":               {minimal + "node: {donor: yes}\n", `f.yaml:2:15: node.donor: true or false is wanted, here is the text "yes"`},
		"int":                {minimal + "policy: {keep_serving: one}\n", `f.yaml:2:24: policy.keep_serving: a whole number is wanted, here is the text "one"`},
		"hex":                {minimal + "policy: {keep_serving: 0x1}\n", "f.yaml:2:24: policy.keep_serving: a whole number is wanted, here is the number 0x1"},
		"near":               {minimal + "cluster2: 1\n", "f.yaml:2:1: cluster2: unknown key; did you mean cluster?"},
		"text":               {minimal + "node: {zone: 7}\n", "f.yaml:2:14: node.zone: text is wanted, here is the number 7; put it in quotes"},
		"list":               {minimal + "admin: {writers: root}\n", `f.yaml:2:18: admin.writers: a list such as [a, b] is wanted, here is the text "root"`},
		"list item":          {minimal + "admin:\n  writers:\n    - root\n    - 7\n", "f.yaml:5:7: admin.writers[1]: text is wanted, here is the number 7; put it in quotes"},
		"section":            {minimal + "policy: [a]\n", "f.yaml:2:9: policy: a section of keys is wanted, here is a list"},
		"root":               {"- a\n", "f.yaml:1:1: a file of sections and keys is wanted, here is a list"},
		"anchor":             {minimal + "log: &a {level: info}\n", "f.yaml:2:6: log: anchors and aliases are not supported; write the value itself"},
		"alias":              {minimal + "log: {level: &a info, format: *a}\n", "f.yaml:2:14: log.level: anchors and aliases are not supported; write the value itself\nf.yaml:2:31: log.format: anchors and aliases are not supported; write the value itself"},
		"tag":                {minimal + "node: {zone: !!str 7}\n", "f.yaml:2:14: node.zone: tags are not supported; write the value itself"},
		"merge":              {minimal + "log:\n  <<: {level: info}\n", "f.yaml:3:3: log: merge keys are not supported; write the keys themselves"},
		"no unit":            {minimal + "lease:\n  ttl: 120\n", `f.yaml:3:8: lease.ttl: "120": a unit is missing; write a duration such as 90s`},
		"no duration":        {minimal + "lease: {ttl: soon}\n", `f.yaml:2:14: lease.ttl: "soon": not a duration; write a duration such as 90s`},
		"negative":           {minimal + "probe: {interval: -1s}\n", "f.yaml:2:19: probe.interval: -1s is not a positive duration; write one such as 90s"},
		"negative cooldown":  {minimal + "policy: {cooldown: -1s}\n", "f.yaml:2:20: policy.cooldown: -1s is a negative duration; write 0s or more"},
		"contradiction":      {minimal + "probe:\n  timeout: 2s\n", "f.yaml:2:1: probe.interval: 1s is not longer than probe.timeout, 2s; make it longer, or the other shorter"},
		"lease":              {minimal + "lease: {ttl: 20m}\n", "f.yaml:2:1: lease.critical_max: 15m0s is not longer than lease.ttl, 20m0s; make it longer, or the other shorter"},
		"systemic":           {minimal + "policy: {systemic_window: 30s}\n", "f.yaml:2:27: policy.systemic_window: 30s is not longer than policy.broken_for, 1m0s; make it longer, or the other shorter"},
		"confirmed for long": {minimal + "policy: {errant_confirm: 2m}\n", "f.yaml:2:26: policy.errant_confirm: 2m0s is too long; at most 1m0s"},
		"drill":              {minimal + "policy: {drill: weekly}\n", `f.yaml:2:17: policy.drill: "weekly" is not a schedule: expected exactly 5 fields, found 1: [weekly]; write minute, hour, day, month and weekday, as CRON_TZ=Europe/Berlin 30 3 * * 0; without a zone it is UTC`},
		"backups":            {minimal + "backup: {dirs: [/srv/backup, backup]}\n", `f.yaml:2:30: backup.dirs[1]: "backup" is not a plain absolute path; begin it with / and leave out . and ..`},
		"size":               {minimal + "policy: {max_bytes: much}\n", `f.yaml:2:21: policy.max_bytes: "much": not a size such as 10GiB, 500MB or 4096; write a size such as 10GiB`},
		"negative size":      {minimal + "donor: {max_rate: -5MiB}\n", `f.yaml:2:19: donor.max_rate: "-5MiB": a size is not negative; write a size such as 10GiB`},
		"share":              {minimal + "rebuild: {min_free: 120%}\n", `f.yaml:2:21: rebuild.min_free: "120%": not a share from 0% to below 100%; write a share such as 5% or a size such as 10GiB`},
		"empty join":         {"cluster:\n  name: a\n  join: []\n", "f.yaml:3:9: cluster.join: the list is empty; list the gossip address, host:port, of every node"},
		"no join":            {"cluster:\n  name: a\n", "f.yaml:1:1: cluster.join: the list is empty; list the gossip address, host:port, of every node"},
		"bad address":        {"cluster:\n  name: a\n  join: [db1:7373, db2]\n", `f.yaml:3:20: cluster.join[1]: "db2" is not an address; write host:port`},
		"bad port":           {"cluster:\n  name: a\n  join: [\"db1:70000\"]\n", `f.yaml:3:10: cluster.join[0]: "db1:70000" is not an address; write host:port`},
		"twice":              {"cluster:\n  name: a\n  join: [db1:7373, db1:7373]\n", "f.yaml:3:20: cluster.join[1]: db1:7373 is in the list twice; remove one"},
		"bind":               {"cluster: {name: a, join: [b:1], bind: eth0}\n", `f.yaml:1:39: cluster.bind: "eth0" is not an IP address; write one without a port, 0.0.0.0 for all`},
		"ports":              {"cluster: {name: a, join: [b:1], peer_port: 7373}\n", "f.yaml:1:44: cluster.peer_port: the same port as cluster.gossip_port; both use tcp: choose another"},
		"tls in part":        {"cluster: {name: a, join: [b:1], tls: {ca: /etc/hosts}}\n", "f.yaml:1:33: cluster.tls: only some of ca, cert and key are named; name all three, or none"},
		"step":               {minimal + "rebuild:\n  deadlines:\n    rehears: 1m\n", "f.yaml:4:14: rebuild.deadlines.rehears: no step has this name; the steps are preflight, quarantine, stage, prepare, own, rehearse, stop, start, attach, verify"},
		"checksum":           {minimal + "verify: {checksum: some}\n", `f.yaml:2:20: verify.checksum: "some" is not known; it is one of off, sample, full`},
		"swap":               {minimal + "rebuild: {deadlines: {swap: 2m}}\n", "f.yaml:2:29: rebuild.deadlines.swap: this step is finished once it has begun, and has no deadline; remove it; the steps are preflight, quarantine, stage, prepare, own, rehearse, stop, start, attach, verify"},
		"step without one":   {minimal + "rebuild: {deadlines: {settle: 1m}}\n", "f.yaml:2:31: rebuild.deadlines.settle: this step is finished once it has begun, and has no deadline; remove it; the steps are preflight, quarantine, stage, prepare, own, rehearse, stop, start, attach, verify"},
		"boot in no time":    {minimal + "rebuild: {deadlines: {start: 29s, rehearse: 1ms, own: 0s}}\n", "f.yaml:2:30: rebuild.deadlines.start: 29s is too short; at least 30s\nf.yaml:2:55: rebuild.deadlines.own: 0s is not a positive duration; write one such as 90s"},
		"short stops":        {minimal + "rebuild: {deadlines: {stop: 1ms, attach: 9s, verify: 10s}}\n", "f.yaml:2:29: rebuild.deadlines.stop: 1ms is too short; at least 10s\nf.yaml:2:42: rebuild.deadlines.attach: 9s is too short; at least 10s"},
		"short stalls":       {minimal + "rebuild: {stall_timeout: 1ms}\nverify: {stall: 1ms}\n", "f.yaml:2:26: rebuild.stall_timeout: 1ms is too short; at least 10s\nf.yaml:3:17: verify.stall: 1ms is too short; at least 10s"},
		"lease at once":      {minimal + "lease: {ttl: 0s}\n", "f.yaml:2:14: lease.ttl: 0s is not a positive duration; write one such as 90s"},
		"errant":             {minimal + "policy: {errant: drop}\n", `f.yaml:2:18: policy.errant: "drop" is not known; it is one of refuse, archive`},
		"method":             {minimal + "rebuild: {methods: [clone, rsync]}\n", `f.yaml:2:28: rebuild.methods[1]: "rsync" is not known; it is one of auto, clone, mariabackup, xtrabackup`},
		"preserve":           {minimal + "rebuild: {preserve: [../x]}\n", `f.yaml:2:22: rebuild.preserve[0]: "../x" is not the name of a file in the datadir; no directories; * and ? may stand for letters`},
		"tool threads":       {minimal + "rebuild: {mariabackup: {parallel: 0}}\n", "f.yaml:2:35: rebuild.mariabackup.parallel: 0 is not a number of threads; 1 to 64"},
		"tool memory":        {minimal + "rebuild: {xtrabackup: {use_memory: 1MiB}}\n", "f.yaml:2:36: rebuild.xtrabackup.use_memory: 1MiB is too little; 16MiB or more"},
		"command":            {minimal + "mysql:\n  service: {kind: command, start: [/bin/a], stop: [/bin/b]}\n", "f.yaml:3:3: mysql.service.status: kind command needs this command; write it as a list, program first: no shell reads it"},
		"supervise commands": {minimal + "mysql: {service: {start: [/bin/a]}}\n", "f.yaml:2:26: mysql.service.start: only kind command has commands; remove it, or set mysql.service.kind: command"},
		"unit":               {minimal + "mysql: {service: {unit: mysql}}\n", `f.yaml:2:25: mysql.service.unit: "mysql" is not the name of a service; write it as ` + "`systemctl status` shows it, as mysql.service"},
		"relative":           {minimal + "state_dir: lib\n", `f.yaml:2:12: state_dir: "lib" is not a plain absolute path; begin it with / and leave out . and ..`},
		"root directory":     {minimal + "state_dir: /\n", "f.yaml:2:12: state_dir: the root directory is not a place for this; write another path"},
		"missing secret":     {minimal + "mysql: {password_file: /nonexistent/pw}\n", "f.yaml:2:24: mysql.password_file: /nonexistent/pw does not exist; make it, with mode 0600"},
		"missing ca":         {"cluster: {name: a, join: [b:1], tls: {ca: /none/a, cert: /etc/hosts, key: /none/k}}\n", "f.yaml:1:43: cluster.tls.ca: /none/a cannot be seen: no such file or directory; make it with `resilver certs`\nf.yaml:1:75: cluster.tls.key: /none/k does not exist; make it, with mode 0600"},
		"syntax":             {"a: [1\n", "f.yaml:2:1: not YAML: did not find expected ',' or ']', while parsing a flow sequence that began on line 1; check indentation, quotes and brackets from here upwards"},
		"tab":                {"log:\n\tlevel: info\n", "f.yaml:2:1: not YAML: found character that cannot start any token; check indentation, quotes and brackets from here upwards"},
		"empty":              {"", "f.yaml:1:1: cluster.name: the cluster has no name; give all its nodes the same\nf.yaml:1:1: cluster.join: the list is empty; list the gossip address, host:port, of every node"},
		"name":               {minimal + "node: {name: a/b}\n", `f.yaml:2:14: node.name: "a/b" is not a name; up to 63 letters, digits, dots, dashes and underscores`},
		"long socket":        {minimal + "admin: {socket: /" + strings.Repeat("a", 100) + "}\n", "f.yaml:2:17: admin.socket: the path has 101 bytes, a socket's may have 90; choose a shorter one"},
		"level":              {minimal + "log: {level: loud}\n", `f.yaml:2:14: log.level: "loud" is not known; it is one of debug, info, warn, error`},
		"listen":             {minimal + "http: {listen: all}\n", `f.yaml:2:16: http.listen: "all" is not an address; write host:port`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, problems := load(t, c.text); problems.Error() != c.want {
				t.Errorf("got\n%s\nwant\n%s", problems.Error(), c.want)
			}
		})
	}
}

func TestPreserveTakesNoOldData(t *testing.T) {
	for pattern, may := range map[string]bool{
		"*": false, "?*": false, "ib*": false, "*1": false, "ibdata1": false, "undo_00?": false, "binlog.*": false, "db1-bin.*": false, "db1-bin*": false,
		"db1-bin.000123": false, "db1-relay-bin.index": false, "*.index": false, "mysql.ibd": false, "*.ibd": false, "*.info": false, "aria_log*": false,
		"#*": false, "mariadb-bin.state": false,
		"mysqld-auto.cnf": true, "mysql_upgrade_info": true, "*.pem": true, "keyring": true, "keyring_file*": true, "auto.cnf": true, "*.cnf": true,
	} {
		_, problems := load(t, minimal+"rebuild: {preserve: ['"+pattern+"']}\n")
		if (problems == nil) != may {
			t.Errorf("%s: %v", pattern, problems)
		}
	}
}

// TestOthersMayCheckToo: what only the users of a value know is told with the
// rest, in its place, and not where the value has a problem already.
func TestOthersMayCheckToo(t *testing.T) {
	also := func(c *Config) Problems {
		return Problems{c.Problem("lease.ttl", "odd", "even"), c.Problem("log.level", "twice", "once")}
	}
	_, err := Load(strings.NewReader(minimal+"log: {level: loud}\nlease: {ttl: 3s}\n"), "f.yaml", also)
	want := "f.yaml:2:14: log.level: \"loud\" is not known; it is one of debug, info, warn, error\nf.yaml:3:14: lease.ttl: odd; even"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v", err)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, problems := load(t, `
cluster: {name: "", join: [nonsense]}
lease: {ttl: forever}
probe: {interval: 1s, timeout: 3s, pace: 4}
policy:
  mode: maybe
  mode: heal
  budget: {node_per_day: 0}
---
log: {level: x}
`)
	var paths []string
	for _, p := range problems {
		paths = append(paths, p.Path)
	}
	// The first policy.mode is judged by its second appearance alone.
	want := []string{"cluster.name", "cluster.join[0]", "lease.ttl", "probe.interval", "probe.pace",
		"policy.mode", "policy.budget.node_per_day", ""}
	if !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q in\n%v", paths, want, problems)
	}
	if !slices.IsSortedFunc(problems, func(a, b Problem) int { return a.Line - b.Line }) {
		t.Errorf("not in the order of the file:\n%v", problems)
	}
}

func TestSecretFilesOpenToOthers(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "pw")
	if err := os.WriteFile(secret, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"mysql: {password_file: %}", "cluster: {name: a, join: [b:1], gossip_key_file: %}",
		"mysql: {replication: {user: repl, password_file: %}}"} {
		text := strings.ReplaceAll(key, "%", secret) + "\n"
		if !strings.HasPrefix(text, "cluster") {
			text = minimal + text
		}
		for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "0640", 0o604: "0604", 0o666: "0666"} {
			if err := os.Chmod(secret, mode); err != nil {
				t.Fatal(err)
			}
			_, problems := load(t, text)
			if got := problems.Error(); (want == "") != (got == "") || !strings.Contains(got, want) || want != "" && !strings.Contains(got, "chmod 600 "+secret) {
				t.Errorf("%s with mode %o: %q", key, mode, got)
			}
		}
	}
}

func TestUnprotectedIsAWarning(t *testing.T) {
	cfg, problems := load(t, minimal)
	if problems != nil {
		t.Fatal(problems)
	}
	if got := cfg.Unprotected(); len(got) != 2 || got[0].Path != "cluster.gossip_key_file" || got[1].Path != "cluster.tls" {
		t.Errorf("got %v", got)
	}
	cfg, _ = load(t, "cluster: {name: a, join: ['127.0.0.2:7373', '127.0.0.3:7373'], bind: 127.0.0.2}\ndonor: {os_user: root}\n")
	if got := cfg.Warnings(); len(got) != 1 || got[0].Path != "cluster.tls" {
		t.Errorf("on loopback: %v", got)
	}
	cfg, _ = load(t, "cluster: {name: a, join: ['127.0.0.3:7373'], bind: 127.0.0.2}\ndonor: {os_user: root}\nadmin: {readers: ['%nosuchgroup', '%1', '65000']}\n")
	got := cfg.Warnings()
	if len(got) != 4 || !strings.Contains(got.Error(), "is not in its own list") || !strings.Contains(got.Error(), "%nosuchgroup is nobody") ||
		!strings.Contains(got.Error(), "none may be rebuilt") {
		t.Errorf("got %v", got)
	}
}

func TestValidateWithoutAFile(t *testing.T) {
	err := Default().Validate()
	want := "node.name: \"\" is not a name; up to 63 letters, digits, dots, dashes and underscores\n" +
		"cluster.name: the cluster has no name; give all its nodes the same\n" +
		"cluster.join: the list is empty; list the gossip address, host:port, of every node"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v", err)
	}
}

func TestLoadFile(t *testing.T) {
	if _, err := LoadFile("/nonexistent/r.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(strings.NewReader(strings.Repeat("#", 2<<20)), "f"); err == nil {
		t.Error("a huge file was read")
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]Size{"": 0, "0": 0, "4096": 4096, "1KiB": 1024, "10 GiB": 10 << 30, "1.5MiB": 3 << 19, "2kB": 2000, "3TB": 3e12, "7B": 7} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "-1", "1e3", "NaN", "Inf", "10gib", "0x10", "99999999TiB", "1_000", "GiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
	for _, text := range []string{"-1%", "100%", "NaN%", "%", "a"} {
		if got, err := ParseSpace(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
	for _, text := range []string{"5%", "12.5%", "10GiB", "4097", "0"} {
		if got, err := ParseSpace(text); err != nil || got.String() != text {
			t.Errorf("%q comes back as %q, %v", text, got, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(minimal)
	f.Add("a: &x [*x]\n? b\n: c\n")
	f.Add("lease: {ttl: }\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Load(strings.NewReader(text), "f")
		if (cfg == nil) == (err == nil) {
			t.Fatal("neither a config nor an error, or both")
		}
	})
}
