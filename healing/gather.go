package healing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/watchdog"
)

// askDeadline bounds one question to another sidecar.
const askDeadline = 10 * time.Second

// Gather asks what the guards of a rebuild must know: this node's server, the
// candidates, the disks, and the primary last, so that what it has covers
// what was read before. It changes nothing but two scratch directories, which
// prove that the exchange will work.
func (h *Healer) Gather(ctx context.Context, v watchdog.View, w watchdog.Wish) watchdog.Facts {
	ctx, cancel := context.WithTimeout(ctx, 3*askDeadline+h.o.Policy.ErrantConfirm+logsTimeout)
	defer cancel()
	g := gathering{h: h, ctx: ctx, view: v, standing: watchdog.RoleOf(v, v.Self, h.o.Policy.Fresh), anew: w.Rollback, wiping: w.WipeFirst, person: w.Manual}
	g.sets = h.o.Server
	if g.f.Self = h.o.Server.Observe(ctx); !g.f.Self.Reachable {
		g.sets = byPeer{h.o.Peers, g.standing.Primary}
		g.down()
	}
	// Beside each other: what is confirmed for long must not leave this node's
	// own facts without time.
	var own sync.WaitGroup
	own.Go(g.own)
	from := w.From
	if w.WipeFirst {
		from = "" // the others must be healthy, too
	}
	g.askAll(from)
	executed := g.compare()
	own.Wait()
	if g.last != nil {
		g.f.Self.Executed = executed
	}
	g.archivable()
	g.local()
	g.scatteredThere()
	g.space()
	g.contents()
	if w.Rollback {
		g.aside()
	}
	if w.WipeFirst {
		g.wipe()
	}
	return g.f
}

// own are the facts of this node alone.
func (g *gathering) own() {
	g.place()
	g.method()
	g.closed()
	g.account()
	g.service()
}

// gathering is one round of questions.
type gathering struct {
	h        *Healer
	ctx      context.Context
	view     watchdog.View
	standing watchdog.Standing
	root     string // the datadir, once it is known to be fit for an exchange
	sets     arithmetic
	last     *Last // of a dead server; nil for one that answers
	rooms    []roomFor
	// Of this node: its place, the variables that name places, and the
	// tablespaces at paths of their own.
	at        datadir.Place
	variables map[string]string
	scattered []string
	anew      bool // nothing counts that was found a while ago
	wiping    bool
	person    bool // who may have mended what was refused a while ago
	f         watchdog.Facts
}

// askAll asks every other node for its state, and the primary once more after
// all others.
func (g *gathering) askAll(from string) {
	names := slices.Sorted(maps.Keys(g.view.Nodes))
	names = slices.DeleteFunc(names, func(n string) bool {
		return n == g.view.Self || !g.view.Nodes[n].Alive || (from != "" && n != from)
	})
	facts := make([]watchdog.DonorFacts, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { facts[i] = g.ask(name) })
	}
	all.Wait()
	g.f.Donors = facts
	switch p := g.standing.Primary; p {
	case "":
		g.f.PrimaryErr = g.standing.Why
	case g.view.Self:
		g.f.PrimaryErr = "this node is itself the primary"
	default:
		answer := g.ask(p)
		g.f.Primary, g.f.PrimaryErr = answer.State, answer.Err
	}
}

func (g *gathering) ask(node string) watchdog.DonorFacts {
	ctx, cancel := context.WithTimeout(g.ctx, askDeadline)
	defer cancel()
	state, err := g.h.o.Peers.State(ctx, node)
	if err != nil {
		return watchdog.DonorFacts{Node: node, Err: err.Error()}
	}
	return watchdog.DonorFacts{Node: node, State: &state}
}

// known says that this node's own server can be judged; else the facts that
// are its own stay unasked (see guard server).
func (g *gathering) known() bool { return g.f.Self.Reachable || g.last != nil }

// compare compares what each node has executed; it returns what this one has.
func (g *gathering) compare() (executed string) {
	unknown := g.f.PrimaryErr
	if g.f.Primary != nil && !g.f.Primary.Observation.Reachable {
		unknown = fmt.Sprintf("%s's mysqld does not answer: %s", g.standing.Primary, g.f.Primary.Observation.Err)
	}
	if !g.known() {
		unknown = "this node's mysqld does not answer: " + g.f.Self.Err
	}
	if unknown != "" {
		g.f.Errant.Err = unknown
		for i := range g.f.Donors {
			d := &g.f.Donors[i]
			d.Missing.Err, d.Errant.Err, d.Purged.Err = unknown, unknown, unknown
		}
		return ""
	}
	var claims []*claim
	var answers []*watchdog.Answer
	ask := func(set string, id uint32, answer *watchdog.Answer) {
		claims, answers = append(claims, &claim{set: set, id: id}), append(answers, answer)
	}
	executed, own, err := g.held()
	switch {
	case err != nil:
		g.f.Errant.Err = err.Error()
	case g.bare():
		g.f.Errant = watchdog.AnswerOf("", nil)
	default:
		ask(own, g.f.Self.ServerID, &g.f.Errant)
	}
	for i := range g.f.Donors {
		d := &g.f.Donors[i]
		if d.State != nil && d.State.Observation.Reachable {
			g.donorSets(d, executed)
			ask(d.State.Observation.Executed, d.State.Observation.ServerID, &d.Errant)
		}
	}
	// A replica can run ahead of its source's own set for a moment, so a first
	// difference counts only where it lasts.
	beyond(g.ctx, g.sets, claims, g.f.Primary.Observation, g.h.o.Policy.ErrantConfirm, func(ctx context.Context) (watchdog.PeerState, error) {
		return g.h.primaryState(ctx, g.standing.Primary)
	})
	for i, c := range claims {
		*answers[i] = watchdog.AnswerOf(c.diff, c.err)
	}
	return executed
}

// bare says that this node was wiped.
func (g *gathering) bare() bool { return g.last != nil && g.last.bare }

// held is what this node's server has executed, and all that it holds; of a
// dead one both are found in its files.
func (g *gathering) held() (executed, held string, err error) {
	if g.last != nil {
		return g.h.atRest(g.ctx, g.last, g.sets)
	}
	held, err = heldBy(g.ctx, g.sets, g.f.Self)
	return g.f.Self.Executed, held, err
}

// donorSets applies the donor rule, executed(recipient) ∩ executed(primary)
// and the failing transaction ⊆ executed(donor) ⊆ executed(primary), but for
// its end, which has to be confirmed.
func (g *gathering) donorSets(d *watchdog.DonorFacts, executed string) {
	donor := d.State.Observation.Executed
	d.Purged = watchdog.AnswerOf(g.sets.GTIDSubtract(g.ctx, g.f.Primary.Observation.Purged, donor))
	if g.bare() { // it needs nothing of what it had
		d.Missing = watchdog.AnswerOf("", nil)
		return
	}
	d.Missing = watchdog.AnswerOf(func() (string, error) {
		errant, err := g.sets.GTIDBeyond(g.ctx, executed, g.f.Self.ServerID, g.f.Primary.Observation)
		if err != nil {
			return "", err
		}
		shared, err := g.sets.GTIDSubtract(g.ctx, executed, errant)
		if err != nil {
			return "", err
		}
		needed, err := g.sets.GTIDUnion(g.ctx, shared, g.failing())
		if err != nil {
			return "", err
		}
		return g.sets.GTIDSubtract(g.ctx, needed, donor)
	}())
}

// failing is the transaction that the applier stands at, empty for none.
func (g *gathering) failing() string {
	if src := g.f.Self.Source(); src != nil {
		return src.Applier.GTID
	}
	return ""
}

// method asks which configured methods fit.
func (g *gathering) method() {
	g.f.MethodWhy = map[string]string{}
	for _, m := range g.h.o.Methods {
		fits, why := m.Fit(g.ctx, method.Facts{Flavor: g.f.Self.Flavor, VersionNumber: g.f.Self.VersionNumber})
		if fits {
			g.f.Methods = append(g.f.Methods, m.Name())
		} else {
			g.f.MethodWhy[m.Name()] = why
		}
	}
}

// contents: what the primary holds that a copy would not. Whatever a replica
// has beside that is its own affair.
func (g *gathering) contents() {
	if g.f.Primary == nil {
		g.f.Encrypted.Err, g.f.Engines.Err = g.f.PrimaryErr, g.f.PrimaryErr
		return
	}
	c := g.f.Primary.Contents
	var err error
	if c.Err != "" {
		err = errors.New(c.Err)
	}
	g.f.Encrypted = watchdog.AnswerOf(list(c.Encrypted), err)
	g.f.Engines = watchdog.AnswerOf(list(c.Engines), err)
}

// list names a few of many.
func list(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	const most = 5
	s := ""
	for i, n := range names {
		if i == most {
			return fmt.Sprintf("%s and %d more", s, len(names)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += n
	}
	return s
}
