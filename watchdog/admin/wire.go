package admin

import (
	"encoding/json"
	"fmt"

	"resilver/watchdog"
)

// Text is a string that is null on the wire where it is empty.
type Text string

// MarshalJSON writes null for the empty Text.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// UnmarshalJSON reads a string or null.
func (t *Text) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read a text: %w", err)
	}
	*t = ""
	if s != nil {
		*t = Text(*s)
	}
	return nil
}

// List is a slice that is [] on the wire where it is nil.
type List[T any] []T

// MarshalJSON writes [] for a nil List.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// DonorState says whether a node is being copied from.
type DonorState string

// The donor states.
const (
	DonorNone      DonorState = "NONE"
	DonorBackuping DonorState = "BACKUPING"
)

// Status is the cluster as one sidecar sees it.
type Status struct {
	Cluster string           `json:"cluster"`
	Node    string           `json:"node"` // the one that answers
	Time    watchdog.Stamp   `json:"time"`
	Leader  Text             `json:"leader"` // raft's
	Nodes   List[NodeStatus] `json:"nodes"`
	Lease   *LeaseStatus     `json:"lease"`
	// Paused is the pause that matters most here: the cluster's, this node's,
	// another's. Pauses are all of them.
	Paused  *PauseStatus      `json:"paused"`
	Pauses  List[PauseStatus] `json:"pauses"`
	Breaker BreakerStatus     `json:"breaker"`
}

// NodeStatus is one node of a Status.
type NodeStatus struct {
	Name         string             `json:"name"`
	Address      Text               `json:"address"` // of its mysqld, host:port
	Role         watchdog.Role      `json:"role"`
	Health       watchdog.Health    `json:"health"`
	Reason       Text               `json:"reason"`
	LagSeconds   *float64           `json:"lag_seconds"`
	GTIDExecuted Text               `json:"gtid_executed"`
	Version      Text               `json:"version"`
	DonorState   DonorState         `json:"donor_state"`
	Rebuild      *watchdog.Progress `json:"rebuild"`
	Drill        *DrillStatus       `json:"drill"` // the last that passed or failed
}

// DrillStatus is how a node's last drill or backup ended.
type DrillStatus struct {
	ID      string          `json:"id"`
	Trigger string          `json:"trigger"`
	Outcome watchdog.Result `json:"outcome"`
	Ended   watchdog.Stamp  `json:"ended"`
	Error   Text            `json:"error"`
}

// LeaseStatus is the right to rebuild, as raft holds it.
type LeaseStatus struct {
	Holder  string         `json:"holder"`
	Donor   Text           `json:"donor"` // null: of a rollback
	Token   uint64         `json:"token"`
	Phase   watchdog.Phase `json:"phase"`
	ID      string         `json:"id"`
	Trigger Text           `json:"trigger"`
	Since   watchdog.Stamp `json:"since"`
}

// PauseStatus is a pause in force.
type PauseStatus struct {
	By     Text           `json:"by"`
	Reason Text           `json:"reason"`
	Until  watchdog.Stamp `json:"until"`
	Node   Text           `json:"node"` // null: the whole cluster
}

// BreakerStatus is the breaker.
type BreakerStatus struct {
	Open   bool           `json:"open"`
	Reason Text           `json:"reason"`
	Since  watchdog.Stamp `json:"since"`
}

// Plan is what the node's sidecar would do now, and why.
type Plan struct {
	Node      string                   `json:"node"`
	Diagnosis PlanDiagnosis            `json:"diagnosis"`
	Rung      Text                     `json:"rung"`
	WouldAct  bool                     `json:"would_act"`
	Guards    List[watchdog.Guard]     `json:"guards"`
	Donors    List[watchdog.Candidate] `json:"donors"`
	Method    Text                     `json:"method"`
	Estimate  Estimate                 `json:"estimate"`
}

// PlanDiagnosis is the judgement that a Plan rests on.
type PlanDiagnosis struct {
	Class  watchdog.Class `json:"class"`
	Reason Text           `json:"reason"`
	Detail Text           `json:"detail"`
	Since  watchdog.Stamp `json:"since"`
}

// Estimate is what a rebuild is expected to take; nil is unknown.
type Estimate struct {
	Bytes         *int64   `json:"bytes"`
	CopySeconds   *float64 `json:"copy_seconds"`
	OutageSeconds *float64 `json:"outage_seconds"`
}

// Lease is what this node's copy of the raft machine says.
type Lease struct {
	ClusterID Text              `json:"cluster_id"`
	Quorum    bool              `json:"quorum"`
	Leader    Text              `json:"leader"`
	Lease     *LeaseStatus      `json:"lease"`
	Pauses    List[PauseStatus] `json:"pauses"`
	Breaker   BreakerStatus     `json:"breaker"`
	LastToken uint64            `json:"last_token"`
	Voters    List[string]      `json:"voters"`
	Applied   uint64            `json:"applied"`
}
