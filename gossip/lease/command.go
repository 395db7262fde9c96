package lease

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"resilver/watchdog"
)

// commandVersion is the version of the commands this build writes and applies.
// A machine answers a command of another version with codeInvalid.
const commandVersion = 1

// op is what a command asks of the machine.
type op string

// The operations. The ones marked local are proposed by the leader alone and
// never accepted from another node.
const (
	opInit     op = "init-cluster" // local
	opAcquire  op = "acquire"
	opRenew    op = "renew"
	opEnter    op = "enter-critical"
	opRelease  op = "release"
	opAdopt    op = "adopt"
	opExpire   op = "expire"           // local
	opOverdue  op = "critical-overdue" // local
	opPause    op = "pause"
	opResume   op = "resume"
	opAck      op = "ack"
	maxReqSize    = 200
)

// command is one entry of the log. Node is who asks, as authenticated by the
// node that proposed the entry; At is the proposing leader's wall time.
type command struct {
	V       int               `json:"v"`
	Req     string            `json:"req"` // a repeat gets the first answer
	Op      op                `json:"op"`
	At      int64             `json:"at"` // milliseconds since 1970
	Node    string            `json:"node"`
	ID      string            `json:"id,omitempty"` // rebuild id, or the cluster's id
	Token   uint64            `json:"token,omitempty"`
	Renewed uint64            `json:"renewed,omitempty"`
	TTL     time.Duration     `json:"ttl,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Request *watchdog.Request `json:"request,omitempty"`
	Record  *watchdog.Record  `json:"record,omitempty"`
	Pause   *watchdog.Pause   `json:"pause,omitempty"`
}

// code is the kind of an answer.
type code string

// The answers: done, a definite no by a guard, a token that is not in force,
// and a command the machine does not know.
const (
	codeOK      code = "ok"
	codeRefused code = "refused"
	codeStale   code = "stale"
	codeInvalid code = "invalid"
)

// answer is what the machine says to a command, the same on every node.
type answer struct {
	Code      code              `json:"code"`
	ClusterID string            `json:"cluster_id,omitempty"`
	Lease     *watchdog.Holding `json:"lease,omitempty"`
	Refusal   *watchdog.Refusal `json:"refusal,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Index     uint64            `json:"index,omitempty"` // of the entry that gave this answer
}

func refused(guard, reason string) answer {
	return answer{Code: codeRefused, Refusal: &watchdog.Refusal{Guard: guard, Reason: reason}}
}

func invalid(reason string) answer { return answer{Code: codeInvalid, Reason: reason} }

// randomHex returns n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its contract since Go 1.24
	return hex.EncodeToString(b)
}
