package gossip

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// meta is what a member says of itself once and for all; memberlist carries it
// with the member. Its keys are short because 512 bytes must hold it.
type meta struct {
	PeerAddress string `json:"p,omitempty"`
	RaftID      string `json:"r,omitempty"`
	Version     string `json:"v,omitempty"`
}

// encode refuses what memberlist would panic over.
func (m meta) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode what gossip says of this node: %w", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("peer address, raft id and version take %d bytes together: at most %d fit into gossip",
			len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

// decodeMeta reads another member's; what cannot be read is empty.
func decodeMeta(b []byte) meta {
	var m meta
	if err := json.Unmarshal(b, &m); err != nil {
		return meta{}
	}
	return m
}
