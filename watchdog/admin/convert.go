package admin

import (
	"slices"

	"resilver/watchdog"
)

// NodeOf puts a node's report on the wire. Lease is the one in force, which
// alone says who is being copied from.
func NodeOf(n watchdog.NodeView, role watchdog.Role, lease *watchdog.Holding) NodeStatus {
	s := NodeStatus{
		Name: n.Node, Address: Text(n.SQLAddress), Role: role, Health: n.Health, Reason: Text(n.Reason),
		LagSeconds: n.LagSeconds, GTIDExecuted: Text(n.Executed), Version: Text(n.Version),
		DonorState: DonorNone, Rebuild: n.Progress,
	}
	if lease != nil && lease.Donor == n.Node {
		s.DonorState = DonorBackuping
	}
	if s.Health == "" {
		s.Health = watchdog.HealthUnknown
	}
	return s
}

// DrillOf puts the node's last drill in history on the wire, nil for none.
func DrillOf(history []watchdog.Record, node string) *DrillStatus {
	r := watchdog.LastDrill(history, node)
	if r == nil {
		return nil
	}
	return &DrillStatus{ID: r.ID, Trigger: r.Trigger, Outcome: r.Outcome, Ended: r.Ended, Error: Text(r.Error)}
}

// StatusOf puts what raft holds on the wire; Nodes are added by the caller.
func StatusOf(cluster, node string, now watchdog.Stamp, l watchdog.LeaseState) Status {
	return Status{
		Cluster: cluster, Node: node, Time: now, Leader: Text(l.Leader), Lease: leaseOf(l.Lease),
		Paused: pausedOf(l.Pauses, node), Pauses: pausesOf(l.Pauses), Breaker: breakerOf(l.Breaker),
	}
}

// PlanOf puts a decision on the wire.
func PlanOf(node string, diag watchdog.Diagnosis, d watchdog.Decision, e Estimate) Plan {
	donors := slices.Clone(d.Donors)
	for i := range donors {
		donors[i].Reasons = append([]string{}, donors[i].Reasons...)
	}
	return Plan{
		Node: node,
		Diagnosis: PlanDiagnosis{Class: diag.Class, Reason: Text(diag.Reason), Detail: Text(diag.Detail),
			Since: diag.Since},
		Rung: Text(d.Rung), WouldAct: d.WouldAct, Guards: d.Guards, Donors: donors,
		Method: Text(d.Method), Estimate: e,
	}
}

func leaseStateOf(l watchdog.LeaseState) Lease {
	return Lease{
		ClusterID: Text(l.ClusterID), Quorum: l.Quorum, Leader: Text(l.Leader), Lease: leaseOf(l.Lease),
		Pauses: pausesOf(l.Pauses), Breaker: breakerOf(l.Breaker), LastToken: l.LastToken,
		Voters: l.Voters, Applied: l.Applied,
	}
}

func leaseOf(h *watchdog.Holding) *LeaseStatus {
	if h == nil {
		return nil
	}
	return &LeaseStatus{Holder: h.Holder, Donor: Text(h.Donor), Token: h.Token, Phase: h.Phase, ID: h.ID, Trigger: Text(h.Trigger), Since: h.Since}
}

func pauseOf(p watchdog.Pause) PauseStatus {
	return PauseStatus{By: Text(p.By), Reason: Text(p.Reason), Until: p.Until, Node: Text(p.Node)}
}

func pausesOf(ps []watchdog.Pause) List[PauseStatus] {
	var out List[PauseStatus]
	for _, p := range ps {
		out = append(out, pauseOf(p))
	}
	return out
}

func pausedOf(ps []watchdog.Pause, node string) *PauseStatus {
	for _, want := range []string{"", node} {
		if i := slices.IndexFunc(ps, func(p watchdog.Pause) bool { return p.Node == want }); i >= 0 {
			p := pauseOf(ps[i])
			return &p
		}
	}
	if len(ps) > 0 {
		p := pauseOf(ps[0])
		return &p
	}
	return nil
}

func breakerOf(b watchdog.Breaker) BreakerStatus {
	return BreakerStatus{Open: b.Open, Reason: Text(b.Reason), Since: b.Since}
}

// cause is a watchdog.Cause with null for what is absent.
type cause struct {
	Class  Text           `json:"class"`
	Reason Text           `json:"reason"`
	GTID   Text           `json:"gtid"`
	Since  watchdog.Stamp `json:"since"`
}

func causeOf(c watchdog.Cause) cause {
	return cause{Class: Text(c.Class), Reason: Text(c.Reason), GTID: Text(c.GTID), Since: c.Since}
}

// record is a watchdog.Record with null for what is absent.
type record struct {
	ID            string                  `json:"id"`
	Node          string                  `json:"node"`
	Trigger       string                  `json:"trigger"`
	By            Text                    `json:"by"`
	Cause         cause                   `json:"cause"`
	Donor         Text                    `json:"donor"`
	Method        Text                    `json:"method"`
	Token         uint64                  `json:"token"`
	Started       watchdog.Stamp          `json:"started"`
	Ended         watchdog.Stamp          `json:"ended"`
	Outcome       Text                    `json:"outcome"`
	Error         Text                    `json:"error"`
	Bytes         int64                   `json:"bytes"`
	OutageSeconds *float64                `json:"outage_seconds"`
	Backup        Text                    `json:"backup"`
	Steps         List[watchdog.StepTime] `json:"steps"`
	Guards        List[watchdog.Guard]    `json:"guards"`
	Archive       *watchdog.Archive       `json:"archive"`
	Compared      *watchdog.Compared      `json:"compared"`
	Untouched     bool                    `json:"untouched"`
}

func recordsOf(rs []watchdog.Record) List[record] {
	var out List[record]
	for _, r := range rs {
		out = append(out, record{
			ID: r.ID, Node: r.Node, Trigger: r.Trigger, By: Text(r.By), Cause: causeOf(r.Cause), Donor: Text(r.Donor),
			Method: Text(r.Method), Token: r.Token, Started: r.Started, Ended: r.Ended, Outcome: Text(r.Outcome),
			Error: Text(r.Error), Bytes: r.Bytes, OutageSeconds: r.OutageSeconds, Backup: Text(r.Backup), Steps: r.Steps,
			Guards: r.Guards, Archive: r.Archive, Compared: r.Compared, Untouched: r.Untouched,
		})
	}
	return out
}
