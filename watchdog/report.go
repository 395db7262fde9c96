package watchdog

import "time"

// Report is what this node tells the others now. Where its server does not
// answer, what it was keeps standing, so that a broken replica is still seen
// as a replica of its source; but it is not reachable, and not writable.
func (l *Loop) Report() Report {
	progress := l.o.Healer.Progress()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	obs := l.obs
	known := obs
	if !obs.Reachable {
		known = l.lastSeen
	}
	r := Report{
		Node: l.o.Node, Seq: l.seq, Time: StampOf(time.Now()), Zone: l.o.Zone,
		Health: l.health(progress), Class: l.diag.Class, Reason: l.diag.Reason, Since: l.diag.Since,
		FaultGTID: l.diag.Evidence.GTID, LagSeconds: l.diag.Lag.Seconds(),
		Version: known.Version, Flavor: known.Flavor, SQLAddress: known.Address, ServerUUID: known.ServerUUID,
		Channels: len(known.Sources), Writable: obs.Writable(), Offline: obs.OfflineMode, Reachable: obs.Reachable,
		MayDonate: l.o.MayDonate, Executed: obs.Executed, Progress: progress,
	}
	if src := known.Source(); src != nil {
		r.SourceAddress, r.SourceUUID = src.Address(), src.UUID
	}
	return r
}

// health is the one word of the status table.
func (l *Loop) health(progress *Progress) Health {
	switch {
	case progress != nil && !progress.Drill():
		return HealthRebuilding
	case l.catchingUp && (l.diag.Class == ClassLagging || l.diag.Class == ClassUnknown):
		return HealthCatchingUp
	}
	switch l.diag.Class {
	case ClassHealthy:
		if l.diag.Reason == ReasonLeftClosed {
			return HealthBroken // it serves nobody
		}
		return HealthHealthy
	case ClassLagging:
		return HealthLagging
	case ClassUnreachable:
		return HealthUnreachable
	case ClassUnknown, "":
		return HealthUnknown
	}
	return HealthBroken
}

// primaryFacts is what the primary's report says of where it stands.
func primaryFacts(v View, s Standing) PrimaryFacts {
	n, ok := v.Nodes[s.Primary]
	if !ok || !n.Reachable {
		return PrimaryFacts{}
	}
	return PrimaryFacts{Node: n.Node, Executed: n.Executed}
}
