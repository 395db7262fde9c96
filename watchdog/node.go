package watchdog

import "time"

// Role is what a node is in the cluster.
type Role string

// The roles. Everything that cannot be established is unknown, and an unknown
// node is treated like a primary: nothing is done to it.
const (
	RolePrimary Role = "primary"
	RoleReplica Role = "replica"
	RoleUnknown Role = "unknown"
)

// Health is one word for the status table.
type Health string

// The words of the status table.
const (
	HealthHealthy     Health = "healthy"
	HealthLagging     Health = "lagging"
	HealthBroken      Health = "broken"
	HealthRebuilding  Health = "rebuilding"
	HealthCatchingUp  Health = "catching-up"
	HealthUnreachable Health = "unreachable"
	HealthUnknown     Health = "unknown"
)

// Report is what a sidecar tells the others of its node, by gossip: short,
// and only a hint. Nothing that destroys data rests on it alone.
type Report struct {
	Node       string   `json:"node"`
	Seq        uint64   `json:"seq"` // grows with each report of one incarnation
	Time       Stamp    `json:"time"`
	Zone       string   `json:"zone,omitempty"`
	Health     Health   `json:"health"`
	Class      Class    `json:"class"`
	Reason     string   `json:"reason,omitempty"`
	Since      Stamp    `json:"since"`
	FaultGTID  string   `json:"fault_gtid,omitempty"`
	LagSeconds *float64 `json:"lag"`
	Version    string   `json:"version,omitempty"`
	Flavor     string   `json:"flavor,omitempty"`

	SQLAddress string `json:"sql,omitempty"` // host:port of its mysqld
	ServerUUID string `json:"uuid,omitempty"`
	// Source of its single channel: empty without one.
	SourceAddress string `json:"source,omitempty"`
	SourceUUID    string `json:"source_uuid,omitempty"`
	Channels      int    `json:"channels,omitempty"`
	Writable      bool   `json:"writable,omitempty"`
	Offline       bool   `json:"offline,omitempty"` // offline_mode is on: clients are sent away
	Reachable     bool   `json:"reachable,omitempty"`
	MayDonate     bool   `json:"donor,omitempty"`
	// Executed may be left out where it is long; ask the node instead.
	Executed string    `json:"gtid,omitempty"`
	Progress *Progress `json:"rebuild,omitempty"`
}

// Progress is a rebuild under way.
type Progress struct {
	ID         string   `json:"id"`
	Trigger    string   `json:"trigger"`
	Step       Step     `json:"step"`
	Method     string   `json:"method"`
	Donor      string   `json:"donor"`
	Bytes      int64    `json:"bytes"`
	BytesTotal int64    `json:"bytes_total"`
	Rate       float64  `json:"rate"` // bytes per second
	ETASeconds *float64 `json:"eta_seconds"`
}

// NodeView is a node as this sidecar sees it.
type NodeView struct {
	Report
	Address string        // gossip address, host:port
	Alive   bool          // a live member by gossip
	Age     time.Duration // since its report arrived; only meaningful where Heard
	Heard   bool          // a report has arrived at all
}

// Fresh says that the node is alive and its report no older than max.
func (n *NodeView) Fresh(max time.Duration) bool { return n.Alive && n.Heard && n.Age <= max }

// View is the cluster as this sidecar sees it, its own node included.
type View struct {
	Self  string
	Nodes map[string]NodeView
}

// PeerState is a node's answer to a direct question: probed for the asker,
// never from memory.
type PeerState struct {
	Report      Report      `json:"report"`
	Observation Observation `json:"observation"`
	Diagnosis   Diagnosis   `json:"diagnosis"`
	Contents    Contents    `json:"contents"`
}

// Contents is what a server holds that bears on how it can be copied.
type Contents struct {
	Bytes     int64    `json:"bytes"`     // data and indexes; 0: unknown
	Encrypted []string `json:"encrypted"` // encrypted tablespaces
	Scattered []string `json:"scattered"` // tablespaces and tables at paths of their own
	Engines   []string `json:"engines"`   // user tables of other engines than InnoDB, as schema.table (engine)
	Lacks     []string `json:"lacks"`     // what it lacks to be cloned, one line each
	Err       string   `json:"err"`       // why it is not known
}
