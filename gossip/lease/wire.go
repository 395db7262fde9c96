package lease

import "slices"

// What one sidecar asks another, and the answers: JSON over the mutual TLS port.
const (
	askCommand = "command" // propose this command, if you lead
	askStatus  = "status"  // who are you, what do you hold?
	askJoin    = "join"    // add me to the group, if you lead
)

// maxBody bounds a request and an answer, in bytes.
const maxBody = 1 << 20

type question struct {
	Ask     string   `json:"ask"`
	Cluster string   `json:"cluster"`
	Command *command `json:"command,omitempty"`
	Join    *joiner  `json:"join,omitempty"`
}

// joiner is a node that wants to be a member.
type joiner struct {
	RaftID      string `json:"raft_id"`
	PeerAddress string `json:"peer_address"`
}

type reply struct {
	Answer *answer `json:"answer,omitempty"`
	Status *status `json:"status,omitempty"`
	// NotLeader says that nothing was done; Leader is then the peer address of
	// the leader, as far as the node knows one.
	NotLeader bool   `json:"not_leader,omitempty"`
	Leader    string `json:"leader,omitempty"`
	// Unknown says that the command may yet be committed.
	Unknown string `json:"unknown,omitempty"`
	Error   string `json:"error,omitempty"`
}

// status is what a node says of itself, to form a cluster and to lead it.
type status struct {
	Name        string   `json:"name"`
	Cluster     string   `json:"cluster"`
	ClusterID   string   `json:"cluster_id"`
	RaftID      string   `json:"raft_id"`
	PeerAddress string   `json:"peer_address"`
	Join        []string `json:"join"` // sorted
	Empty       bool     `json:"empty"`
	Leader      string   `json:"leader"` // peer address
	LastIndex   uint64   `json:"last_index"`
}

func sorted(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}
