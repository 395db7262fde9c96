package gossip

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls. Members' events and conflicts come under
// its lock: nothing here may call memberlist back, or wait.
type delegate struct{ g *Gossip }

var (
	_ memberlist.Delegate         = delegate{}
	_ memberlist.EventDelegate    = delegate{}
	_ memberlist.ConflictDelegate = delegate{}
)

// NodeMeta was measured in New.
func (d delegate) NodeMeta(limit int) []byte {
	if len(d.g.meta) > limit {
		return nil
	}
	return d.g.meta
}

// NotifyMsg takes a broadcast report and passes it on if it is news.
func (d delegate) NotifyMsg(b []byte) {
	var s said
	if err := json.Unmarshal(b, &s); err != nil { // copies what it keeps
		d.g.metrics.reports.WithLabelValues("malformed").Inc()
		return
	}
	if d.g.takeReport(s, time.Now()) != fresh {
		return
	}
	if again, err := s.relay(); err == nil {
		d.g.broadcast(s.Report.Node, again)
	}
}

// GetBroadcasts hands memberlist what fits into its next packet.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.queue.GetBroadcasts(overhead, limit)
}

// LocalState is every report known here.
func (d delegate) LocalState(bool) []byte {
	b, err := d.g.reports.all(time.Now())
	if err != nil {
		d.g.log.Error("encode the reports", "err", err)
		return nil
	}
	return b
}

// MergeRemoteState takes every report known there.
func (d delegate) MergeRemoteState(b []byte, _ bool) {
	if len(b) == 0 {
		return
	}
	var all []said
	if err := json.Unmarshal(b, &all); err != nil {
		d.g.metrics.reports.WithLabelValues("malformed").Inc()
		return
	}
	now := time.Now()
	for _, s := range all {
		d.g.takeReport(s, now)
	}
}

func (d delegate) NotifyJoin(n *memberlist.Node)   { d.g.setMember(n, true) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.g.setMember(n, true) }
func (d delegate) NotifyLeave(n *memberlist.Node)  { d.g.setMember(n, false) }

// NotifyConflict hears of two members of one name.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	if existing.Name == d.g.opts.Name {
		d.g.meetTwin(other.Address())
	}
}

// broadcast is a report in memberlist's queue: one of a node replaces the one
// before it.
type broadcast struct {
	node string
	msg  []byte
}

var _ memberlist.NamedBroadcast = (*broadcast)(nil)

func (b *broadcast) Name() string    { return b.node }
func (b *broadcast) Message() []byte { return b.msg }
func (b *broadcast) Finished()       {}
func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*broadcast)
	return ok && o.node == b.node
}
