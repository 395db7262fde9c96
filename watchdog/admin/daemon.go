package admin

import (
	"context"

	"resilver/watchdog"
)

// Daemon is what the socket needs from the sidecar. By is the caller's name,
// as the kernel and the system's user list know it.
//
// A refusal is an *Error made by Refuse, or a *watchdog.Refusal; an unknown
// node or the like one made by Usage. Cancel, Pause, Resume and Ack are
// idempotent: nothing to do is no error.
type Daemon interface {
	Status(ctx context.Context) (Status, error)
	// Plan says what would be done now; with rollback, or wipe, whether a person's
	// rollback would be let begin, and where it would go.
	Plan(ctx context.Context, w PlanWish) (Plan, error)
	// History returns the outcomes, newest first.
	History(ctx context.Context) ([]watchdog.Record, error)
	Lease(ctx context.Context) (watchdog.LeaseState, error)
	// Rebuild returns when the lease is granted, or a guard refused. It is a
	// drill, a backup or a rollback where the request's Trigger says so.
	Rebuild(ctx context.Context, r RebuildRequest) (RebuildAnswer, error)
	// Cancel ends this node's rebuild, before its stop.
	Cancel(ctx context.Context, by string) error
	Pause(ctx context.Context, p watchdog.Pause) error
	// Resume ends the pause of the node, or of the cluster where node is empty.
	Resume(ctx context.Context, node, by string) error
	Ack(ctx context.Context, by string) error
}

// PlanWish is what a person thinks of asking for; the zero PlanWish is nothing.
type PlanWish struct {
	Rollback  bool
	WipeFirst bool
}

// RebuildRequest is a person's wish to rebuild this node.
type RebuildRequest struct {
	From     string   `json:"from"`     // the donor; empty: the best one
	Method   string   `json:"method"`   // empty: by configuration
	Override []string `json:"override"` // ids of guards that may fail
	To       string   `json:"to"`       // of a backup: the directory to leave it in
	// WipeFirst removes the live data before the copy is made; of a rebuild alone.
	WipeFirst bool   `json:"wipe_first,omitempty"`
	By        string `json:"-"` // the server fills it in, and what it is, by its route
	Trigger   string `json:"-"` // manual | drill | backup | rollback
}

// RebuildAnswer is the grant.
type RebuildAnswer struct {
	ID     string `json:"id"`
	Donor  Text   `json:"donor"`
	Method Text   `json:"method"`
	Token  uint64 `json:"token"`
}

// PauseRequest stops new rebuilds.
type PauseRequest struct {
	Reason string `json:"reason"`
	// ForSeconds is for how long, at most a year; 0 or less is until somebody
	// resumes.
	ForSeconds float64 `json:"for_seconds"`
	Node       string  `json:"node"` // empty: the whole cluster
}

// ResumeRequest ends a pause.
type ResumeRequest struct {
	Node string `json:"node"` // empty: that of the whole cluster
}
