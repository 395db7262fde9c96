// Package config reads the YAML file of a sidecar into plain structs with
// defaults, and checks all of it at once: each problem has its file, line,
// column, path and cure.
//
// It reads no secret (it only looks whether their files may be read by
// others), opens no connection, and knows none of the packages that use its
// values. deploy/resilver.example.yaml is the reference of every key.
package config

import "time"

// Config is everything a sidecar is told. Durations, sizes and shares are
// already numbers; files and directories are absolute paths.
type Config struct {
	Node       Node       `yaml:"node"`
	Cluster    Cluster    `yaml:"cluster"`
	Lease      Lease      `yaml:"lease"`
	MySQL      MySQL      `yaml:"mysql"`
	Probe      Probe      `yaml:"probe"`
	Policy     Policy     `yaml:"policy"`
	Rebuild    Rebuild    `yaml:"rebuild"`
	Verify     Verify     `yaml:"verify"`
	Donor      Donor      `yaml:"donor"`
	Quarantine Quarantine `yaml:"quarantine"`
	Backup     Backup     `yaml:"backup"`
	Admin      Admin      `yaml:"admin"`
	HTTP       HTTP       `yaml:"http"`
	Log        Log        `yaml:"log"`
	StateDir   string     `yaml:"state_dir"` // raft, journal, last known role

	origin origin
}

// Node is this machine's place in the cluster.
type Node struct {
	Name    string `yaml:"name"` // the host's name where the file has none
	Zone    string `yaml:"zone"`
	Donor   bool   `yaml:"donor"`   // may be copied from
	Rebuild bool   `yaml:"rebuild"` // may be rebuilt at all
}

// Cluster is how the sidecars find and trust each other.
type Cluster struct {
	Name          string   `yaml:"name"`
	Join          []string `yaml:"join"`            // gossip addresses, host:port, of all nodes
	Bind          string   `yaml:"bind"`            // address to listen on
	Advertise     string   `yaml:"advertise"`       // address that the others dial; empty: Bind, or found
	GossipPort    int      `yaml:"gossip_port"`     // tcp and udp
	PeerPort      int      `yaml:"peer_port"`       // tcp, TLS 1.3
	GossipKeyFile string   `yaml:"gossip_key_file"` // keyring, secret
	TLS           TLS      `yaml:"tls"`
}

// TLS names the files that prove a node's name on the peer port.
type TLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"` // secret
}

// Configured says that all three files are named.
func (t TLS) Configured() bool { return t.CA != "" && t.Cert != "" && t.Key != "" }

// Lease bounds the cluster-wide right to rebuild.
type Lease struct {
	TTL         time.Duration `yaml:"ttl"`
	CriticalMax time.Duration `yaml:"critical_max"` // after which the breaker opens
}

// MySQL is the server that this sidecar cares for.
type MySQL struct {
	Socket       string      `yaml:"socket"`
	User         string      `yaml:"user"`
	PasswordFile string      `yaml:"password_file"` // empty: auth_socket
	Service      Service     `yaml:"service"`
	Replication  Replication `yaml:"replication"`
}

// The kinds of service.
const (
	ServiceSystemd   = "systemd"
	ServiceSupervise = "supervise"
	ServiceCommand   = "command"
)

// Service is how mysqld is stopped and started. The commands are argument
// lists, never shell text; only kind command has them.
type Service struct {
	Kind   string   `yaml:"kind"`
	Unit   string   `yaml:"unit"` // only kind systemd looks at it
	Start  []string `yaml:"start"`
	Stop   []string `yaml:"stop"`
	Status []string `yaml:"status"`
}

// Replication is the account for replicating, used where the live server has
// none stored.
type Replication struct {
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
}

// Probe is the pace of watching.
type Probe struct {
	Interval time.Duration `yaml:"interval"`
	Timeout  time.Duration `yaml:"timeout"` // of one whole probe
}

// The modes of policy.
const (
	ModeHeal    = "heal"
	ModeObserve = "observe"
)

// What becomes of transactions that only the broken node has.
const (
	ErrantRefuse  = "refuse"  // the node is left to a person
	ErrantArchive = "archive" // they are written down where they can be replayed, and the node is rebuilt
)

// Policy says when a rebuild may begin.
type Policy struct {
	Mode           string        `yaml:"mode"`
	BrokenFor      time.Duration `yaml:"broken_for"`
	Cooldown       time.Duration `yaml:"cooldown"`
	Budget         Budget        `yaml:"budget"`
	KeepServing    int           `yaml:"keep_serving"` // healthy nodes, the primary included
	MaxBytes       Size          `yaml:"max_bytes"`    // 0: no limit
	SystemicWindow time.Duration `yaml:"systemic_window"`
	Errant         string        `yaml:"errant"`
	ErrantConfirm  time.Duration `yaml:"errant_confirm"`
	Drill          string        `yaml:"drill"` // see DrillSchedule; empty: never
}

// Budget bounds the number of rebuilds.
type Budget struct {
	NodePerDay     int `yaml:"node_per_day"`
	ClusterPerHour int `yaml:"cluster_per_hour"`
}

// The methods of copying.
const (
	MethodAuto        = "auto"
	MethodClone       = "clone"
	MethodMariabackup = "mariabackup"
	MethodXtrabackup  = "xtrabackup"
)

// The ways in which the old server ends.
const (
	OldServerKill     = "kill"
	OldServerShutdown = "shutdown"
)

// The server_uuid of a rebuilt server.
const (
	ServerUUIDKeep = "keep" // the one it had, unless transactions under it were archived
	ServerUUIDNew  = "new"
)

// Rebuild is how a rebuild is done.
type Rebuild struct {
	Methods    []string `yaml:"methods"` // in order of preference
	StagingDir string   `yaml:"staging_dir"`
	MinFree    Space    `yaml:"min_free"`
	OldServer  string   `yaml:"old_server"`
	ServerUUID string   `yaml:"server_uuid"`
	Preserve   []string `yaml:"preserve"` // file names in the datadir, with * and ?
	// Deadlines by the name of the step; a step that is not named keeps its own.
	Deadlines    map[string]time.Duration `yaml:"deadlines"`
	StallTimeout time.Duration            `yaml:"stall_timeout"`
	Mariabackup  Tool                     `yaml:"mariabackup"`
	Xtrabackup   Tool                     `yaml:"xtrabackup"`
}

// Tool is how a backup tool is run, here: as a donor, and to prepare a copy.
type Tool struct {
	Parallel  int      `yaml:"parallel"`   // threads
	UseMemory Size     `yaml:"use_memory"` // of the preparation
	Args      []string `yaml:"args"`       // long options, added last
}

// Verify is when a copy is good, and a rebuilt replica counts as healed.
type Verify struct {
	Checksum string        `yaml:"checksum"` // off | sample | full
	Sample   time.Duration `yaml:"sample"`
	MaxLag   time.Duration `yaml:"max_lag"`
	Stall    time.Duration `yaml:"stall"`
}

// How much of a copy is compared with the primary.
const (
	ChecksumOff    = "off"
	ChecksumSample = "sample"
	ChecksumFull   = "full"
)

// The uses of the primary as a donor.
const (
	PrimaryNever      = "never"
	PrimaryLastResort = "last-resort" // where no replica is fit
	PrimaryAllowed    = "allowed"
)

// Donor is what copying may cost the node that is copied from.
type Donor struct {
	Primary string        `yaml:"primary"`
	MaxLag  time.Duration `yaml:"max_lag"`
	MaxRate Size          `yaml:"max_rate"` // bytes per second, 0: no limit
	OSUser  string        `yaml:"os_user"`  // dials mysqld's socket for the copy
}

// Quarantine is how long old datadirs are kept.
type Quarantine struct {
	Keep    time.Duration `yaml:"keep"`
	MinFree Space         `yaml:"min_free"`
}

// Backup is where `resilver backup` may leave copies.
type Backup struct {
	Dirs []string `yaml:"dirs"` // and below them; empty: nowhere
}

// Admin is the socket of the command line. Readers and Writers are users, or
// groups with a leading %.
type Admin struct {
	Socket  string   `yaml:"socket"`
	Readers []string `yaml:"readers"`
	Writers []string `yaml:"writers"`
}

// HTTP is the port for metrics; empty: none.
type HTTP struct {
	Listen string `yaml:"listen"`
}

// The formats of the log.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Log is what goes to stderr.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Default returns a Config with every default. Cluster.Name and Cluster.Join
// have none: they must be given.
func Default() *Config {
	return &Config{
		Node: Node{Donor: true, Rebuild: true},
		Cluster: Cluster{Join: []string{}, Bind: "0.0.0.0",
			GossipPort: 7373, PeerPort: 7374},
		Lease: Lease{TTL: 2 * time.Minute, CriticalMax: 15 * time.Minute},
		MySQL: MySQL{Socket: "/run/mysqld/mysqld.sock", User: "resilver",
			Service: Service{Kind: ServiceSystemd, Unit: "mysql.service", Start: []string{}, Stop: []string{}, Status: []string{}}},
		Probe: Probe{Interval: time.Second, Timeout: 900 * time.Millisecond},
		Policy: Policy{
			Mode:           ModeHeal,
			BrokenFor:      time.Minute,
			Cooldown:       10 * time.Minute,
			Budget:         Budget{NodePerDay: 2, ClusterPerHour: 3},
			KeepServing:    1,
			SystemicWindow: 10 * time.Minute,
			Errant:         ErrantRefuse,
			ErrantConfirm:  10 * time.Second,
		},
		Rebuild: Rebuild{
			Methods:      []string{MethodAuto},
			MinFree:      Space{Percent: 5},
			OldServer:    OldServerKill,
			ServerUUID:   ServerUUIDKeep,
			Preserve:     []string{"mysqld-auto.cnf", "mysql_upgrade_info", "debian-*.flag", "*.pem"},
			Deadlines:    map[string]time.Duration{},
			StallTimeout: 2 * time.Minute,
			Mariabackup:  Tool{Parallel: 2, UseMemory: 1 << 30, Args: []string{}},
			Xtrabackup:   Tool{Parallel: 2, UseMemory: 1 << 30, Args: []string{}},
		},
		Verify: Verify{Checksum: ChecksumOff, Sample: time.Minute, MaxLag: 10 * time.Second, Stall: 5 * time.Minute},
		Donor: Donor{Primary: PrimaryLastResort, MaxLag: 30 * time.Second,
			OSUser: "resilver-donor"},
		Quarantine: Quarantine{Keep: 7 * 24 * time.Hour, MinFree: Space{Percent: 10}},
		Backup:     Backup{Dirs: []string{}},
		Admin: Admin{Socket: "/run/resilver/resilver.sock",
			Readers: []string{}, Writers: []string{"root"}},
		HTTP:     HTTP{Listen: "127.0.0.1:7375"},
		Log:      Log{Level: "info", Format: FormatText},
		StateDir: "/var/lib/resilver",
	}
}
