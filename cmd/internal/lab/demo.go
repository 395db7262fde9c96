package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"resilver/watchdog"
)

// DemoOptions say how the demonstration runs.
type DemoOptions struct {
	Binary string // path of resilver
	Engine string // mysql | mariadb; empty: mysql
	DataMB int    // 0: 220
	Rate   int    // writes a second; 0: 50
	// Live redraws the progress of a copy in place, for a terminal.
	Live bool
	Out  io.Writer
}

// watchableRate is how fast a donor gives its copy, in bytes a second: on one
// machine it would be over before one could see it.
const watchableRate = "64MiB"

// healDeadline bounds each rebuild of the demonstration.
const healDeadline = 3 * time.Minute

// demo is a demonstration under way.
type demo struct {
	DemoOptions
	cluster *Cluster
	start   time.Time
	drawn   bool  // an unfinished line with a bar stands on the terminal
	quarter int64 // of the copy, that was shown last
	acts    []act
}

// act is one rebuild as the table at the end shows it.
type act struct {
	node, fault  string
	noticedAfter time.Duration // since the fault
	healedAfter  time.Duration
	record       watchdog.Record
}

// Demo shows a cluster that heals itself: three nodes under steady writes,
// two faults one after the other, and the proof that nothing was lost. Its
// error is nil only if all of that is true. It leaves nothing behind.
func Demo(ctx context.Context, o DemoOptions) (err error) {
	d := &demo{DemoOptions: o, start: time.Now()}
	if d.DataMB == 0 {
		d.DataMB = 220
	}
	if d.Rate == 0 {
		d.Rate = 50
	}
	if d.Engine == "" {
		d.Engine = MySQL
	}
	engine, err := engineOf(d.Engine)
	if err != nil {
		return err
	}
	dir, err := NewDir("demo")
	if err != nil {
		return err
	}
	release, err := Tether(dir)
	if err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	defer func() { err = errors.Join(err, release()) }()
	d.heading("Three real " + engine.title + " servers on this machine, a sidecar beside each")
	d.cluster, err = Up(ctx, Options{Dir: dir, Engine: d.Engine, Binary: o.Binary, DataMB: d.DataMB, Out: indented{o.Out},
		Set: map[string]string{"donor.max_rate": watchableRate}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cleanUp(ctx)) }()
	return d.run(ctx)
}

// NewDir makes a new directory for a lab, where mysqld's user can reach it.
func NewDir(prefix string) (string, error) {
	id, err := whoami()
	if err != nil {
		return "", err
	}
	p, err := choosePlace(id)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(p.labs, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for labs: %w", err)
	}
	dir, err := os.MkdirTemp(p.labs, prefix+"-")
	if err != nil {
		return "", fmt.Errorf("make the lab's directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the lab's directory: %w", err)
	}
	return dir, nil
}

func (d *demo) run(ctx context.Context) (err error) {
	d.say("db1 is the primary, db2 and db3 its replicas, each with %d MB of data", d.DataMB)
	load, err := d.cluster.StartLoad(ctx, d.Rate)
	if err != nil {
		return err
	}
	defer func() { _, stopErr := load.Stop(); err = errors.Join(err, stopErr) }()
	d.say("a client writes %d rows a second to db1 from now on, and remembers each one that was acknowledged", d.Rate)

	d.say("a donor gives its copy at %s/s at most here, so that one can watch", watchableRate)

	d.heading("db2 loses a row behind replication's back")
	if err := d.act(ctx, d.cluster.Node(2), "row-missing"); err != nil {
		return err
	}
	d.heading("db3 is off for a while, and the primary purges the binary logs it still needs")
	if err := d.act(ctx, d.cluster.Node(3), "purged"); err != nil {
		return err
	}
	d.heading("Was anything lost?")
	result, err := load.Stop()
	if err != nil {
		return err
	}
	d.say("%d rows were acknowledged, %d refused", result.Acknowledged, result.Refused)
	return d.conclude(ctx)
}

// act breaks a node, watches its sidecar heal it, and tells what it sees.
func (d *demo) act(ctx context.Context, n *Node, fault string) error {
	begin := time.Now()
	if err := d.cluster.Break(ctx, n, fault); err != nil {
		return err
	}
	d.tell(begin, "broken", faultSummary(fault))
	s := newStory(n.Name)
	var last snapshot
	err := WaitFor(ctx, healDeadline, n.Name+" to heal", func(ctx context.Context) (bool, string) {
		last = look(ctx, n, begin, s.told)
		for _, l := range s.tell(time.Now(), last) {
			d.tell(begin, l.what.String(), l.text)
		}
		if last.self != nil {
			d.draw(last.self.Rebuild)
		}
		return last.record != nil && last.record.Outcome != "", s.told.String()
	})
	if err != nil {
		return err
	}
	if last.record.Outcome != watchdog.Healed {
		return fmt.Errorf("the rebuild of %s ended %s: %s", n.Name, last.record.Outcome, last.record.Error)
	}
	d.acts = append(d.acts, act{node: n.Name, fault: fault, record: *last.record,
		noticedAfter: s.at[noticed].Sub(begin), healedAfter: s.at[replicating].Sub(begin)})
	return d.cluster.WaitAgreed(ctx, time.Minute)
}

func faultSummary(name string) string {
	for _, f := range Faults() {
		if f.Name == name {
			return f.Summary
		}
	}
	return name
}

// look asks the sidecar of a node for what the story needs next; what it
// cannot answer now is left out.
func look(ctx context.Context, n *Node, since time.Time, told milestone) snapshot {
	var snap snapshot
	if status, err := n.Status(ctx); err == nil {
		snap.self, snap.lease = nodeIn(&status, n.Name), status.Lease
	}
	if told < confirmed {
		if plan, err := n.Plan(ctx); err == nil {
			snap.plan = &plan
		}
	}
	history, err := n.History(ctx)
	if err != nil {
		return snap
	}
	for i := range history {
		if r := &history[i]; r.Node == n.Name && r.Started.After(since) {
			snap.record = r
			break
		}
	}
	return snap
}

func (d *demo) conclude(ctx context.Context) error {
	result, err := d.cluster.Check(ctx, time.Minute)
	if err != nil {
		return err
	}
	d.say("%s", result)
	fmt.Fprintf(d.Out, "\n%s\n", d.table())
	if !result.OK() {
		return errors.New("the nodes are not equal")
	}
	d.say("Nobody touched it. It took %.0f s in all.", time.Since(d.start).Seconds())
	return nil
}

func (d *demo) table() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tFAULT\tDETECTED\tCOPIED\tFROM\tOUTAGE\tTOTAL")
	for _, a := range d.acts {
		outage := "-"
		if a.record.OutageSeconds != nil {
			outage = fmt.Sprintf("%.1f s", *a.record.OutageSeconds)
		}
		fmt.Fprintf(w, "%s\t%s\tafter %.1f s\t%.0f MB in %.1f s\t%s\t%s\t%.1f s\n", a.node, a.fault, a.noticedAfter.Seconds(),
			megabytes(a.record.Bytes), stageSeconds(a.record), a.record.Donor, outage, a.healedAfter.Seconds())
	}
	if err := w.Flush(); err != nil {
		return err.Error()
	}
	return text.String()
}

func stageSeconds(r watchdog.Record) float64 {
	for _, s := range r.Steps {
		if s.Name == watchdog.StepStage {
			return s.Seconds
		}
	}
	return 0
}

func (d *demo) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	d.endLine()
	if err := d.cluster.Down(ctx); err != nil {
		return err
	}
	d.say("cleaned up: %s is gone", filepath.Base(d.cluster.Dir))
	return nil
}
