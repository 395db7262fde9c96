package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nameRule is what nodes and clusters may be called: names stand in
// certificates, paths and metrics.
var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// unitRule is what systemd calls a service (systemd.unit(5)).
var unitRule = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]+\.service$`)

// maxSocket bounds the admin socket's path: the kernel takes 107 bytes, and
// the socket is made under a longer, temporary name.
const maxSocket = 90

// steps of a rebuild that rebuild.deadlines may name. A swap that has begun is
// finished, and settle, the last one, is tried until it succeeds.
var steps = []string{"preflight", "quarantine", "stage", "prepare", "own", "rehearse",
	"stop", "start", "attach", "verify"}

// leastDeadline are the shortest deadlines of the steps in which the replica is
// away, or closed: one that no server can keep leads back each time, or leaves
// the new one closed. In those before, it only gives the copy up.
var leastDeadline = map[string]time.Duration{"stop": 10 * time.Second, "start": 30 * time.Second, "attach": 10 * time.Second, "verify": 10 * time.Second}

// leastStall is the shortest time without progress that says anything: a
// server that has just booted, or a donor that begins, needs some of it.
const leastStall = 10 * time.Second

// Validate returns all Problems at once, or nil. It looks at the secret files
// that are named, and at nothing else outside of c.
func (c *Config) Validate() error {
	found := c.check()
	found.sort()
	return found.err()
}

// checker collects problems.
type checker struct {
	origin
	found Problems
}

func (k *checker) bad(path, message, cure string) {
	k.found = append(k.found, k.problem(path, message, cure))
}

func (c *Config) check() Problems {
	k := &checker{origin: c.origin}
	c.checkCluster(k)
	c.checkMySQL(k)
	c.checkPolicy(k)
	c.checkRebuild(k)
	c.checkService(k)
	c.checkFiles(k)
	return k.found
}

func (c *Config) checkCluster(k *checker) {
	k.name("node.name", c.Node.Name)
	if c.Cluster.Name == "" {
		k.bad("cluster.name", "the cluster has no name", "give all its nodes the same")
	} else {
		k.name("cluster.name", c.Cluster.Name)
	}
	if len(c.Cluster.Join) == 0 {
		k.bad("cluster.join", "the list is empty", "list the gossip address, host:port, of every node")
	}
	for i, a := range c.Cluster.Join {
		path := fmt.Sprintf("cluster.join[%d]", i)
		k.address(path, a, false)
		if slices.Index(c.Cluster.Join, a) < i {
			k.bad(path, a+" is in the list twice", "remove one")
		}
	}
	if _, err := netip.ParseAddr(c.Cluster.Bind); err != nil {
		k.bad("cluster.bind", fmt.Sprintf("%q is not an IP address", c.Cluster.Bind), "write one without a port, 0.0.0.0 for all")
	}
	if a := c.Cluster.Advertise; a != "" {
		if ip, err := netip.ParseAddr(a); err != nil || ip.IsUnspecified() {
			k.bad("cluster.advertise", fmt.Sprintf("%q is not an IP address that others can dial", a), "write one without a port, or leave it empty")
		}
	}
	k.port("cluster.gossip_port", c.Cluster.GossipPort)
	k.port("cluster.peer_port", c.Cluster.PeerPort)
	if c.Cluster.GossipPort == c.Cluster.PeerPort {
		k.bad("cluster.peer_port", "the same port as cluster.gossip_port", "both use tcp: choose another")
	}
	if t := c.Cluster.TLS; !t.Configured() && t != (TLS{}) {
		k.bad("cluster.tls", "only some of ca, cert and key are named", "name all three, or none")
	}
	k.positive("lease.ttl", c.Lease.TTL)
	k.positive("lease.critical_max", c.Lease.CriticalMax)
	k.longer("lease.critical_max", c.Lease.CriticalMax, "lease.ttl", c.Lease.TTL)
}

func (c *Config) checkMySQL(k *checker) {
	m := c.MySQL
	k.path("mysql.socket", m.Socket, true)
	if m.User == "" {
		k.bad("mysql.user", "no account is named", "name the one that `resilver grants` makes")
	}
	k.oneOf("mysql.service.kind", m.Service.Kind, ServiceSystemd, ServiceSupervise, ServiceCommand)
	if !unitRule.MatchString(m.Service.Unit) {
		k.bad("mysql.service.unit", fmt.Sprintf("%q is not the name of a service", m.Service.Unit), "write it as `systemctl status` shows it, as mysql.service")
	}
	for _, cmd := range []struct {
		key  string
		argv []string
	}{{"start", m.Service.Start}, {"stop", m.Service.Stop}, {"status", m.Service.Status}} {
		path := "mysql.service." + cmd.key
		switch {
		case m.Service.Kind == ServiceCommand && len(cmd.argv) == 0:
			k.bad(path, "kind command needs this command", "write it as a list, program first: no shell reads it")
		case m.Service.Kind == ServiceCommand && !filepath.IsAbs(cmd.argv[0]):
			k.bad(path+"[0]", fmt.Sprintf("%q is not an absolute path", cmd.argv[0]), "name the program by its whole path")
		case m.Service.Kind != ServiceCommand && len(cmd.argv) > 0:
			k.bad(path, "only kind command has commands", "remove it, or set mysql.service.kind: command")
		}
	}
	if (m.Replication.User == "") != (m.Replication.PasswordFile == "") {
		k.bad("mysql.replication", "user and password_file belong together", "name both, or none")
	}
	k.positive("probe.interval", c.Probe.Interval)
	k.positive("probe.timeout", c.Probe.Timeout)
	k.longer("probe.interval", c.Probe.Interval, "probe.timeout", c.Probe.Timeout)
}

// maxErrantConfirm leaves a rebuild's questions, and a person who waits for a
// plan, in their own time limits.
const maxErrantConfirm = time.Minute

func (c *Config) checkPolicy(k *checker) {
	p := c.Policy
	k.oneOf("policy.mode", p.Mode, ModeHeal, ModeObserve)
	k.positive("policy.broken_for", p.BrokenFor)
	k.longer("policy.broken_for", p.BrokenFor, "probe.interval", c.Probe.Interval)
	k.notNegative("policy.cooldown", p.Cooldown)
	k.atLeastOne("policy.budget.node_per_day", p.Budget.NodePerDay, "1 or more; policy.mode: observe rebuilds nothing")
	k.atLeastOne("policy.budget.cluster_per_hour", p.Budget.ClusterPerHour, "1 or more; policy.mode: observe rebuilds nothing")
	k.atLeastOne("policy.keep_serving", p.KeepServing, "the primary counts: 1 or more")
	k.positive("policy.systemic_window", p.SystemicWindow)
	k.longer("policy.systemic_window", p.SystemicWindow, "policy.broken_for", p.BrokenFor)
	k.oneOf("policy.errant", p.Errant, ErrantRefuse, ErrantArchive)
	k.notNegative("policy.errant_confirm", p.ErrantConfirm)
	k.atMost("policy.errant_confirm", p.ErrantConfirm, maxErrantConfirm)
	if _, err := p.DrillSchedule(); err != nil {
		k.bad("policy.drill", err.Error(), "write minute, hour, day, month and weekday, as CRON_TZ=Europe/Berlin 30 3 * * 0; without a zone it is UTC")
	}
}

func (c *Config) checkRebuild(k *checker) {
	r := c.Rebuild
	if len(r.Methods) == 0 {
		k.bad("rebuild.methods", "the list is empty", "write [auto]")
	}
	for i, m := range r.Methods {
		k.oneOf(fmt.Sprintf("rebuild.methods[%d]", i), m, MethodAuto, MethodClone, MethodMariabackup, MethodXtrabackup)
		if slices.Index(r.Methods, m) < i {
			k.bad(fmt.Sprintf("rebuild.methods[%d]", i), m+" is in the list twice", "remove one")
		}
	}
	k.path("rebuild.staging_dir", r.StagingDir, false)
	k.oneOf("rebuild.old_server", r.OldServer, OldServerKill, OldServerShutdown)
	k.oneOf("rebuild.server_uuid", r.ServerUUID, ServerUUIDKeep, ServerUUIDNew)
	for i, name := range r.Preserve {
		path := fmt.Sprintf("rebuild.preserve[%d]", i)
		if _, err := filepath.Match(name, "x"); err != nil || name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
			k.bad(path, fmt.Sprintf("%q is not the name of a file in the datadir", name), "no directories; * and ? may stand for letters")
		} else if file := dataFile(name); file != "" {
			k.bad(path, fmt.Sprintf("%q takes old data, such as %s, into the new copy", name, file), "name files that hold settings or keys")
		}
	}
	for step, d := range r.Deadlines {
		path := "rebuild.deadlines." + step
		switch known := "the steps are " + strings.Join(steps, ", "); {
		case step == "swap" || step == "settle":
			k.bad(path, "this step is finished once it has begun, and has no deadline", "remove it; "+known)
		case !slices.Contains(steps, step):
			k.bad(path, "no step has this name", known)
		}
		k.atLeast(path, d, max(leastDeadline[step], 1))
	}
	k.atLeast("rebuild.stall_timeout", r.StallTimeout, leastStall)
	r.Mariabackup.check(k, "rebuild.mariabackup")
	r.Xtrabackup.check(k, "rebuild.xtrabackup")
	k.oneOf("verify.checksum", c.Verify.Checksum, ChecksumOff, ChecksumSample, ChecksumFull)
	k.positive("verify.sample", c.Verify.Sample)
	k.positive("verify.max_lag", c.Verify.MaxLag)
	k.atLeast("verify.stall", c.Verify.Stall, leastStall)
	k.longer("lease.critical_max", c.Lease.CriticalMax, "verify.stall", c.Verify.Stall)
	k.oneOf("donor.primary", c.Donor.Primary, PrimaryNever, PrimaryLastResort, PrimaryAllowed)
	k.positive("donor.max_lag", c.Donor.MaxLag)
	if c.Donor.OSUser == "" {
		k.bad("donor.os_user", "no user is named", "name the system user that only dials mysqld's socket for a copy")
	}
	k.positive("quarantine.keep", c.Quarantine.Keep)
	for i, dir := range c.Backup.Dirs {
		k.path(fmt.Sprintf("backup.dirs[%d]", i), dir, true)
	}
}

// maxParallel is more threads than a copy has use for.
const maxParallel = 64

// leastMemory is less than a preparation of anything gets on with.
const leastMemory = 16 << 20

// check leaves the arguments to those who know the tools.
func (t Tool) check(k *checker, path string) {
	if t.Parallel < 1 || t.Parallel > maxParallel {
		k.bad(path+".parallel", fmt.Sprintf("%d is not a number of threads", t.Parallel), fmt.Sprintf("1 to %d", maxParallel))
	}
	if t.UseMemory < leastMemory {
		k.bad(path+".use_memory", fmt.Sprintf("%v is too little", t.UseMemory), "16MiB or more")
	}
}

func (c *Config) checkService(k *checker) {
	k.path("admin.socket", c.Admin.Socket, true)
	if len(c.Admin.Socket) > maxSocket {
		k.bad("admin.socket", fmt.Sprintf("the path has %d bytes, a socket's may have %d", len(c.Admin.Socket), maxSocket), "choose a shorter one")
	}
	for path, names := range map[string][]string{"admin.readers": c.Admin.Readers, "admin.writers": c.Admin.Writers} {
		for i, name := range names {
			if strings.TrimPrefix(name, "%") == "" {
				k.bad(fmt.Sprintf("%s[%d]", path, i), "the name is empty", "write a user, or a group as %group")
			}
		}
	}
	if c.HTTP.Listen != "" {
		k.address("http.listen", c.HTTP.Listen, true)
	}
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, FormatText, FormatJSON)
	k.path("state_dir", c.StateDir, true)
}

func (k *checker) name(path, name string) {
	if !nameRule.MatchString(name) {
		k.bad(path, fmt.Sprintf("%q is not a name", name), "up to 63 letters, digits, dots, dashes and underscores")
	}
}

func (k *checker) address(path, address string, emptyHost bool) {
	host, port, err := net.SplitHostPort(address)
	n, numErr := strconv.Atoi(port)
	if err != nil || numErr != nil || n < 1 || n > 65535 || host == "" && !emptyHost || strings.ContainsAny(host, " /%@") {
		k.bad(path, fmt.Sprintf("%q is not an address", address), "write host:port")
	}
}

func (k *checker) port(path string, n int) {
	if n < 1 || n > 65535 {
		k.bad(path, fmt.Sprintf("%d is not a port", n), "1 to 65535")
	}
}

func (k *checker) path(path, value string, required bool) {
	switch {
	case value == "" && required:
		k.bad(path, "no path is given", "write an absolute one")
	case value == "/":
		k.bad(path, "the root directory is not a place for this", "write another path")
	case value != "" && (!filepath.IsAbs(value) || filepath.Clean(value) != strings.TrimSuffix(value, "/")):
		k.bad(path, fmt.Sprintf("%q is not a plain absolute path", value), "begin it with / and leave out . and ..")
	}
}

func (k *checker) oneOf(path, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	cure := "it can only be " + allowed[0]
	if len(allowed) > 1 {
		cure = "it is one of " + strings.Join(allowed, ", ")
	}
	k.bad(path, fmt.Sprintf("%q is not known", value), cure)
}

func (k *checker) positive(path string, d time.Duration) {
	if d <= 0 {
		k.bad(path, d.String()+" is not a positive duration", "write one such as 90s")
	}
}

func (k *checker) atLeast(path string, d, least time.Duration) {
	k.positive(path, d)
	if d > 0 && d < least {
		k.bad(path, fmt.Sprintf("%v is too short", d), fmt.Sprintf("at least %v", least))
	}
}

func (k *checker) notNegative(path string, d time.Duration) {
	if d < 0 {
		k.bad(path, d.String()+" is a negative duration", "write 0s or more")
	}
}

func (k *checker) atMost(path string, d, most time.Duration) {
	if d > most {
		k.bad(path, fmt.Sprintf("%v is too long", d), fmt.Sprintf("at most %v", most))
	}
}

// longer compares two durations; where one of them is not positive, that is
// already a problem of its own.
func (k *checker) longer(path string, d time.Duration, than string, other time.Duration) {
	if d > 0 && other > 0 && d <= other {
		k.bad(path, fmt.Sprintf("%v is not longer than %s, %v", d, than, other), "make it longer, or the other shorter")
	}
}

func (k *checker) atLeastOne(path string, n int, cure string) {
	if n < 1 {
		k.bad(path, fmt.Sprintf("%d is too small", n), cure)
	}
}
