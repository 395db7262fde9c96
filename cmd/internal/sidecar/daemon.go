package sidecar

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/admin"
)

// daemon answers the admin socket.
type daemon Sidecar

// Status is the cluster as this node sees it.
func (d *daemon) Status(context.Context) (admin.Status, error) {
	view, state := d.gossip.View(), d.leases.State()
	out := admin.StatusOf(d.cfg.Cluster.Name, d.cfg.Node.Name, watchdog.StampOf(time.Now()), state)
	for _, name := range slices.Sorted(maps.Keys(view.Nodes)) {
		n := view.Nodes[name]
		if !n.Fresh(freshFor(d.cfg.Probe.Interval)) {
			n.Health, n.Reason, n.Progress = watchdog.HealthUnreachable, "no-report", nil
		}
		role := watchdog.RoleOf(view, name, freshFor(d.cfg.Probe.Interval)).Role
		node := admin.NodeOf(n, role, state.Lease)
		node.Drill = admin.DrillOf(state.History, name)
		out.Nodes = append(out.Nodes, node)
	}
	return out, nil
}

// Plan asks everything anew and says what would be done now, or whether a
// person's rollback, or rebuild that wipes first, could.
func (d *daemon) Plan(ctx context.Context, w admin.PlanWish) (admin.Plan, error) {
	decision, _ := d.loop.Weigh(ctx, watchdog.Wish{Manual: w.Rollback || w.WipeFirst, Rollback: w.Rollback, WipeFirst: w.WipeFirst})
	_, diag, _ := d.loop.Seen()
	return admin.PlanOf(d.cfg.Node.Name, diag, decision, d.estimate(decision)), nil
}

// estimate goes by what this cluster has seen last: the copy by a rebuild that
// healed or a drill that passed, the outage by a rebuild.
func (d *daemon) estimate(decision watchdog.Decision) admin.Estimate {
	var e admin.Estimate
	if decision.Bytes > 0 {
		e.Bytes = &decision.Bytes
	}
	for _, r := range d.leases.State().History {
		if r.Outcome == watchdog.Healed && e.OutageSeconds == nil {
			e.OutageSeconds = r.OutageSeconds
		}
		if (r.Outcome == watchdog.Healed || r.Outcome == watchdog.Passed) && e.CopySeconds == nil && e.Bytes != nil {
			e.CopySeconds = copySeconds(r, *e.Bytes)
		}
	}
	return e
}

// copySeconds is how long bytes take at the rate of that rebuild's copy; nil
// where it tells none.
func copySeconds(r watchdog.Record, bytes int64) *float64 {
	for _, s := range r.Steps {
		if s.Name == watchdog.StepStage && s.Seconds > 0 && r.Bytes > 0 {
			seconds := float64(bytes) / (float64(r.Bytes) / s.Seconds)
			return &seconds
		}
	}
	return nil
}

// History is what raft keeps, newest first. Of a rebuild under way raft knows
// only the grant: how far it is says its own node, here or by gossip.
func (d *daemon) History(context.Context) ([]watchdog.Record, error) {
	history := slices.Clone(d.leases.State().History)
	own, view := d.healer.Running(), d.gossip.View()
	for i, r := range history {
		if r.Outcome != "" {
			continue
		}
		if own != nil && own.ID == r.ID {
			history[i] = *own
		} else if p := view.Nodes[r.Node].Progress; p != nil && p.ID == r.ID {
			history[i].Bytes = p.Bytes
		}
	}
	return history, nil
}

// Lease is this node's copy of the lease machine.
func (d *daemon) Lease(context.Context) (watchdog.LeaseState, error) { return d.leases.State(), nil }

// Rebuild is a person's rebuild of this node, or a drill or backup: by the same
// guards, which can be overridden one by one where that is allowed at all. A
// rollback has guards of its own.
func (d *daemon) Rebuild(ctx context.Context, r admin.RebuildRequest) (admin.RebuildAnswer, error) {
	if r.Method != "" && r.Method != "auto" && !slices.Contains([]string{"clone", "mariabackup", "xtrabackup"}, r.Method) {
		return admin.RebuildAnswer{}, admin.Usage("method %q is not known; there are clone, mariabackup and xtrabackup", r.Method)
	}
	for _, id := range r.Override {
		if !slices.Contains(watchdog.GuardIDs(), id) {
			return admin.RebuildAnswer{}, admin.Usage("no guard is called %q; `resilver plan` lists them", id)
		}
		if !slices.Contains(watchdog.Overridable(), id) {
			return admin.RebuildAnswer{}, admin.Usage("nobody may override guard %s; these can be: %s", id, strings.Join(watchdog.Overridable(), ", "))
		}
	}
	if wrong := watchdog.WrongDonor(d.gossip.View(), r.From); wrong != "" {
		return admin.RebuildAnswer{}, admin.Usage("--from %s", wrong)
	}
	into, err := d.into(r)
	if err != nil {
		return admin.RebuildAnswer{}, err
	}
	wish := watchdog.Wish{Manual: true, Drill: watchdog.Drill(r.Trigger), Rollback: r.Trigger == watchdog.TriggerRollback, From: r.From, Method: r.Method, Override: r.Override, WipeFirst: r.WipeFirst}
	if r.Method == "auto" {
		wish.Method = ""
	}
	decision, order := d.loop.Weigh(ctx, wish)
	if !decision.WouldAct {
		return admin.RebuildAnswer{}, admin.Refuse(watchdog.Failing(decision.Guards))
	}
	order.Trigger, order.By, order.Into = r.Trigger, r.By, into
	rec, err := d.healer.Begin(ctx, order)
	var refusal *watchdog.Refusal
	if errors.As(err, &refusal) {
		return admin.RebuildAnswer{}, atTheGrant(decision, refusal)
	}
	if err != nil {
		return admin.RebuildAnswer{}, err
	}
	return admin.RebuildAnswer{ID: rec.ID, Donor: admin.Text(rec.Donor), Method: admin.Text(rec.Method), Token: rec.Token}, nil
}

// into is where a backup is left: a directory that backup.dirs allows.
func (d *daemon) into(r admin.RebuildRequest) (string, error) {
	if r.Trigger != watchdog.TriggerBackup {
		return "", nil
	}
	if len(d.cfg.Backup.Dirs) == 0 {
		return "", admin.Usage("no directory is for backups: name it in backup.dirs, and restart the sidecar")
	}
	into, err := datadir.BackupInto(r.To, d.cfg.Backup.Dirs)
	if err != nil {
		return "", admin.Usage("--to: %v; it is a directory in backup.dirs that exists and that not everybody may write to", err)
	}
	return into.Path, nil
}

// atTheGrant is a refusal that came after every guard had passed, told as that
// guard's: what it wants, and whether it may be overridden.
func atTheGrant(d watchdog.Decision, no *watchdog.Refusal) error {
	i := slices.IndexFunc(d.Guards, func(g watchdog.Guard) bool { return g.ID == no.Guard })
	if i < 0 {
		return no
	}
	g := d.Guards[i]
	g.Verdict, g.Reason = watchdog.Fail, no.Reason
	return admin.Refuse([]watchdog.Guard{g})
}

// Cancel ends this node's rebuild, before its stop.
func (d *daemon) Cancel(_ context.Context, by string) error { return d.healer.Cancel(by) }

// Pause stops new rebuilds.
func (d *daemon) Pause(ctx context.Context, p watchdog.Pause) error {
	if err := d.isNode(p.Node); err != nil {
		return err
	}
	return d.leases.Pause(ctx, p)
}

// isNode refuses the name of a node that there is not; empty names none.
func (d *daemon) isNode(node string) error {
	if _, known := d.gossip.View().Nodes[node]; node != "" && !known {
		return admin.Usage("no node is called %q; `resilver status` lists them", node)
	}
	return nil
}

// Resume ends a pause, also that of a node which is gone.
func (d *daemon) Resume(ctx context.Context, node, by string) error {
	if !slices.ContainsFunc(d.leases.State().Pauses, func(p watchdog.Pause) bool { return p.Node == node }) {
		if err := d.isNode(node); err != nil {
			return err
		}
	}
	d.o.Logger.Info("resumed", "by", by, "node", node)
	return d.leases.Resume(ctx, node)
}

// Ack closes the breaker.
func (d *daemon) Ack(ctx context.Context, by string) error { return d.leases.Ack(ctx, by) }
