package lease

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"resilver/watchdog"
)

var (
	simSeeds   = flag.Int("lease.seeds", 2, "simulations to run")
	simMinutes = flag.Int("lease.minutes", 10, "virtual minutes of each")
)

// TestOneAtATime runs three nodes through partitions, slow and lost answers,
// restarts and changes of leader, with clocks that run apart, and checks that
// no two holders ever have authority at once, and that tokens only grow.
func TestOneAtATime(t *testing.T) {
	grants := 0
	for seed := range *simSeeds {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { grants += simulate(t, uint64(seed)) })
		})
	}
	t.Logf("%d grants in %d virtual minutes", grants, *simSeeds**simMinutes)
	if grants < 2**simSeeds**simMinutes {
		t.Errorf("only %d grants: the simulation shows little", grants)
	}
}

// referee knows who believes to have authority.
type referee struct {
	t      *testing.T
	mu     sync.Mutex
	acting map[string]watchdog.Lease
	token  uint64
	grants int
}

func (r *referee) granted(name string, l watchdog.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.Token() <= r.token {
		r.t.Errorf("token %d of %s after %d", l.Token(), name, r.token)
	}
	r.token = l.Token()
	r.acting[name] = l
	r.grants++
	r.checkLocked()
}

func (r *referee) ended(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.acting, name)
}

func (r *referee) check() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checkLocked()
}

func (r *referee) checkLocked() {
	who := ""
	for name, l := range r.acting {
		if l.Context().Err() != nil {
			continue
		}
		if who != "" {
			r.t.Errorf("%s and %s both hold the lease", who, name)
		}
		who = name
	}
}

func simulate(t *testing.T, seed uint64) int {
	g := newGroup(t, seed, three()...)
	defer g.stopAll()
	for i, rate := range []float64{0.991, 1, 1.009} {
		s := g.seats[g.names[i]]
		s.rate = rate
		s.tune = func(o *Options) { o.Heartbeat, o.CriticalMax = 600*time.Millisecond, 24*time.Hour }
	}
	g.startAll()
	g.leader()
	g.net.mu.Lock()
	g.net.delay = func() time.Duration {
		if g.net.intn(20) == 0 {
			return time.Duration(g.net.intn(8000)) * time.Millisecond
		}
		return time.Duration(g.net.intn(100)) * time.Millisecond
	}
	g.net.lose = func() bool { return g.net.intn(20) == 0 }
	g.net.mu.Unlock()

	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(*simMinutes)*time.Minute)
	defer cancel()
	r := &referee{t: t, acting: map[string]watchdog.Lease{}}
	var workers sync.WaitGroup
	for _, name := range g.names {
		workers.Go(func() { worker(ctx, g, r, name) })
	}
	workers.Go(func() {
		for sleep(ctx, 50*time.Millisecond) {
			r.check()
		}
	})
	workers.Go(func() { chaos(ctx, g) })
	workers.Wait()
	g.net.mend()
	return r.grants
}

// worker asks for the lease again and again, and does with it what a rebuild
// would.
func worker(ctx context.Context, g *group, r *referee, name string) {
	seconds := func(n int) time.Duration { return time.Duration(g.net.intn(n*1000)) * time.Millisecond }
	for i := 0; sleep(ctx, seconds(4)); i++ {
		n := g.node(name)
		if n == nil {
			continue
		}
		req := request(fmt.Sprint(name, "-", i))
		req.Donor = g.names[(g.net.intn(2)+1+index(g.names, name))%len(g.names)]
		req.Budget = watchdog.Budget{NodePerDay: 1 << 20, ClusterPerHour: 1 << 20}
		req.Override = []string{"breaker"}
		l, err := n.Acquire(ctx, *req)
		if err != nil {
			continue
		}
		r.granted(name, l)
		sleep(ctx, seconds(15))
		critical := false
		if g.net.intn(3) == 0 && l.EnterCritical(ctx) == nil {
			critical = true
			sleep(ctx, seconds(20))
		}
		r.ended(name)
		if !critical && g.net.intn(4) == 0 {
			// It dies without a word. Only its loops must end for the test.
			l.(*held).end(true)
			n.forget(l.(*held))
			continue
		}
		g.finish(l, name)
	}
}

func index(list []string, name string) int {
	for i, n := range list {
		if n == name {
			return i
		}
	}
	return -1
}

// finish releases, through restarts of the node.
func (g *group) finish(l watchdog.Lease, name string) {
	rec := watchdog.Record{Outcome: watchdog.Cancelled, Untouched: true}
	for range 1000 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := l.Release(ctx, rec)
		if err != nil && g.node(name) != nil && g.node(name) != l.(*held).node {
			_, _, err = g.node(name).release(ctx, l.Token(), rec)
		}
		cancel()
		if err == nil {
			return
		}
		g.net.mend()
		time.Sleep(time.Second)
	}
	g.t.Errorf("%s could never release", name)
}

// chaos cuts, mends and restarts.
func chaos(ctx context.Context, g *group) {
	for sleep(ctx, time.Duration(g.net.intn(15000))*time.Millisecond) {
		a := g.names[g.net.intn(len(g.names))]
		switch g.net.intn(4) {
		case 0:
			for _, b := range g.names {
				g.net.cut(a, b)
			}
		case 1:
			g.net.cut(a, g.names[(index(g.names, a)+1)%len(g.names)])
		case 2:
			g.stop(a)
			sleep(ctx, time.Duration(g.net.intn(5000))*time.Millisecond)
			g.start(a)
			continue
		case 3:
			if n := g.node(a); n != nil {
				yield, cancel := context.WithTimeout(ctx, 5*time.Second)
				_ = n.YieldLeadership(yield)
				cancel()
			}
		}
		sleep(ctx, time.Duration(g.net.intn(20000))*time.Millisecond)
		g.net.mend()
	}
}
