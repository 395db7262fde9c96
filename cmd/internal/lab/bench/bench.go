// Package bench measures resilver on a lab, side by side with what it is held
// against: the raw copy, a graceful restart, the way a replica was rebuilt
// before. All figures are medians of interleaved rounds on real servers. It
// judges them by the project's goals and writes the document that tells them.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"resilver/cmd/internal/lab"
)

// Options say what is measured.
type Options struct {
	Engine  string        // mysql | mariadb
	DataMB  int           // of rows on each node
	SmallMB int           // of the lab that outages are compared with
	PoolMB  int           // buffer pool of each server
	Rounds  int           // of everything that is measured more than once
	Rate    int           // writes a second, where there is load
	Soak    time.Duration // how long there is load before each measurement under load
	Idle    time.Duration // how long idle sidecars are watched
	Binary  string        // path of resilver
	Command string        // as the document names it
	Out     io.Writer     // progress, for a person
}

func (o *Options) check() error {
	var errs []error
	for _, n := range []struct {
		what  string
		value int
	}{{"data", o.DataMB}, {"small data", o.SmallMB}, {"pool", o.PoolMB}, {"rounds", o.Rounds}, {"rate", o.Rate}} {
		if n.value < 1 {
			errs = append(errs, fmt.Errorf("%s %d: want 1 or more", n.what, n.value))
		}
	}
	if o.Idle < time.Second {
		errs = append(errs, fmt.Errorf("idle %s: want a second or more", o.Idle))
	}
	if o.Binary == "" || o.Out == nil {
		errs = append(errs, errors.New("no resilver or no Out given"))
	}
	return errors.Join(errs...)
}

// Result is one run on one engine.
type Result struct {
	Engine   string    `json:"engine"`
	Server   string    `json:"server"` // with its version
	Resilver string    `json:"resilver"`
	Machine  Machine   `json:"machine"`
	Command  string    `json:"command"`
	Time     time.Time `json:"time"`
	Took     float64   `json:"took_seconds"`
	DataMB   int       `json:"data_mb"`
	SmallMB  int       `json:"small_mb"`
	PoolMB   int       `json:"pool_mb"`
	Rounds   int       `json:"rounds"`
	Rate     int       `json:"rate"`
	Soak     float64   `json:"soak_seconds"`
	Idle     float64   `json:"idle_seconds"`
	Figures  []Figure  `json:"figures"`
	Verdicts []Verdict `json:"verdicts"`
}

// Met says whether every goal was met.
func (r *Result) Met() bool {
	for _, v := range r.Verdicts {
		if !v.Met {
			return false
		}
	}
	return len(r.Verdicts) > 0
}

// bench is a run under way.
type bench struct {
	Options
	began   time.Time
	figures figures
	result  *Result
}

// Run measures. It leaves nothing behind; without a complete run there is no
// result.
func Run(ctx context.Context, o Options) (_ *Result, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	b := &bench{Options: o, began: time.Now(), figures: declared(o.Engine)}
	b.result = &Result{Engine: o.Engine, Command: o.Command, Time: b.began.UTC().Truncate(time.Second), DataMB: o.DataMB, SmallMB: o.SmallMB,
		PoolMB: o.PoolMB, Rounds: o.Rounds, Rate: o.Rate, Soak: o.Soak.Seconds(), Idle: o.Idle.Seconds()}
	if err := b.withLab(ctx, o.DataMB, b.large); err != nil {
		return nil, err
	}
	if err := b.withLab(ctx, o.SmallMB, b.small); err != nil {
		return nil, err
	}
	b.result.Took = time.Since(b.began).Seconds()
	b.result.Figures = b.figures.measured()
	b.result.Verdicts = judge(o.Engine, b.figures)
	return b.result, nil
}

// large is everything that is measured at the given size.
func (b *bench) large(ctx context.Context, s *site) error {
	if err := s.idle(ctx); err != nil {
		return err
	}
	// First what is not held against a raw copy: the first rebuild of a node
	// makes the template of its scratch server, and later ones find it.
	if err := s.rounds(ctx, "primary gives the copy", []measure{s.commitsAlone(), s.commitsDuring()}); err != nil {
		return err
	}
	if err := s.rounds(ctx, "idle", append(s.rawCopies(), s.heals(), s.used(dirtyOurs, s.rebuilds(rebuildIdle)),
		s.used(dirtyRestart, s.restarts(restartIdle)), s.restarts(restartClean), s.oldWays())); err != nil {
		return err
	}
	return s.underLoad(ctx, func() error {
		return s.rounds(ctx, "under load", []measure{s.used(dirtyOursLoad, s.soaked(s.rebuilds(rebuildLoad))),
			s.used(dirtyRestartLoad, s.soaked(s.restarts(restartLoad)))})
	})
}

// small is the outage once more, with little data.
func (b *bench) small(ctx context.Context, s *site) error {
	return s.rounds(ctx, "small", []measure{s.used(dirtyOursSmall, s.rebuilds(rebuildSmall)), s.used(dirtyRestartSmall, s.restarts(restartSmall))})
}

// withLab runs f on a new lab of that size, and looks afterwards whether all
// nodes are equal: figures of a cluster that lost something mean nothing.
func (b *bench) withLab(ctx context.Context, dataMB int, f func(context.Context, *site) error) (err error) {
	dir, err := lab.NewDir("bench")
	if err != nil {
		return err
	}
	release, err := lab.Tether(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }() // removes the lab
	b.say("three %s servers with %d MB each, their sidecars without a rate limit", b.Engine, dataMB)
	c, err := lab.Up(ctx, lab.Options{Dir: dir, Engine: b.Engine, Binary: b.Binary, DataMB: dataMB, PoolMB: b.PoolMB, Out: io.Discard, Set: settings})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	s, err := b.newSite(ctx, c)
	if err != nil {
		return err
	}
	if err := f(ctx, s); err != nil {
		return err
	}
	return s.equal(ctx)
}

// settings are what a bench's sidecars have otherwise than a lab's.
var settings = map[string]string{
	"log.level":         "info", // the default
	"lease.ttl":         "2m",   // the default, by which raft's heartbeats go
	"donor.max_rate":    `""`,   // the default: no limit
	"policy.broken_for": "2s",
	"policy.cooldown":   "1s",
	"quarantine.keep":   "1s",
}

// say tells a person what happens, with the time since the start.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.Out, "%7.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// note keeps a figure's value and tells it.
func (b *bench) note(name string, value float64) {
	b.figures.add(name, value)
	f := b.figures.find(name)
	b.say("    %-58s %s", f.Text, quantity(value, f.Unit))
}
