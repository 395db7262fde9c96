package healing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"resilver/config/secret"
	"resilver/healing/datadir"
	"resilver/healing/method"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// Options is what a healer needs.
type Options struct {
	Node        string
	ClusterName string
	StateDir    string
	StagingDir  string // empty: beside the datadir
	Policy      watchdog.Policy
	Leases      watchdog.Leases
	Peers       watchdog.Peers
	Cluster     watchdog.Cluster
	Server      *replica.Server // the live server
	Known       *Keeper         // what is known of it once it is dead
	ToolDirs    []string        // where the programs that read binary logs are looked for, after the server's own
	Socket      string          // its unix socket
	// Connect opens this node's own account at a private server.
	Connect func(socket string) (*replica.Server, error)
	Service service.Service
	Methods []method.Method
	// Tunnel opens one connection to the donor's mysqld, under the token.
	Tunnel func(ctx context.Context, donor, clusterID string, token uint64) (net.Conn, error)
	// Backup opens the stream of a backup that the donor makes, under the token.
	Backup func(ctx context.Context, donor, clusterID string, token uint64, tool string, parallel int) (net.Conn, error)

	// Checksums asks a node for checksums of its tables; needed where copies are
	// compared.
	Checksums func(ctx context.Context, node string, order watchdog.ChecksumOrder) (watchdog.Checksums, error)

	Shutdown     bool                            // end the old server cleanly rather than kill it
	NewUUID      bool                            // the rebuilt server gets another server_uuid
	MinFree      func(total int64) int64         // bytes to keep free on a file system of that size
	Preserve     []string                        // files of the live datadir that the copy gets
	Deadlines    map[watchdog.Step]time.Duration // over the built-in ones
	StallTimeout time.Duration                   // a copy without a byte for so long is given up
	VerifyStall  time.Duration                   // a replica without progress for so long is not verified
	Checksum     string                          // how much of a copy is compared with the primary: ChecksumOff, ChecksumSample or ChecksumFull
	Sample       time.Duration                   // how long ChecksumSample looks into other tables than that of the fault
	MaxLag       time.Duration                   // a comparison waits while a replica is further behind
	Keep         time.Duration                   // old datadirs are kept so long,
	KeepFree     func(total int64) int64         // and only with so many bytes free on a file system of that size
	// User and Password are for attach where the live server has none stored.
	User     string
	Password secret.Secret

	Failpoint func(point string)                 // for crash tests; nil: none
	Stepped   func(watchdog.Step, time.Duration) // for metrics
	Copied    func(n int64)                      // for metrics: n bytes more of a copy
	Ended     func(watchdog.Record)              // for metrics
	Logger    *slog.Logger
}

// Healer carries out one rebuild at a time.
type Healer struct {
	o Options

	mu      sync.Mutex
	running *rebuild
	last    watchdog.Record
	proved  datadir.Ref   // the datadir whose exchange has been proved
	traced  traced        // whether what only this node has can be archived
	local   local         // what was made by SQL here alone
	logins  logins        // what the source said to the account
	ended   chan struct{} // a rebuild has ended: Housekeep may look
	wait    sync.WaitGroup
	life    context.Context // ends with the process's will to go on
	stop    context.CancelCauseFunc
}

// New checks the options.
func New(o Options) (*Healer, error) {
	switch {
	case o.Node == "" || o.StateDir == "" || o.Socket == "":
		return nil, errors.New("healer: node, state directory and socket are needed")
	case o.Leases == nil || o.Peers == nil || o.Cluster == nil || o.Server == nil || o.Known == nil || o.Connect == nil || o.Service == nil || o.Tunnel == nil || o.Backup == nil:
		return nil, errors.New("healer: a collaborator is missing")
	case len(o.Methods) == 0:
		return nil, errors.New("healer: no method")
	case o.StallTimeout <= 0 || o.VerifyStall <= 0:
		return nil, errors.New("healer: stall times must be positive")
	case o.Checksum != "" && o.Checksum != ChecksumOff && (o.Checksums == nil || o.MaxLag <= 0 || o.Sample <= 0):
		return nil, errors.New("healer: comparing needs somebody to ask, a lag and a time")
	case o.MinFree == nil || o.KeepFree == nil || o.Logger == nil:
		return nil, errors.New("healer: MinFree, KeepFree and Logger are needed")
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	if o.Stepped == nil {
		o.Stepped = func(watchdog.Step, time.Duration) {}
	}
	if o.Copied == nil {
		o.Copied = func(int64) {}
	}
	if o.Ended == nil {
		o.Ended = func(watchdog.Record) {}
	}
	h := &Healer{o: o, ended: make(chan struct{}, 1)}
	h.life, h.stop = context.WithCancelCause(context.Background())
	return h, nil
}

// Begin takes the lease for the decided donor and starts the rebuild; it
// returns once the lease is granted.
func (h *Healer) Begin(ctx context.Context, order watchdog.Order) (watchdog.Record, error) {
	r := &rebuild{h: h, manual: order.Manual, from: order.From, only: order.Method}
	r.j.Record = watchdog.Record{
		ID: newID(time.Now()), Node: h.o.Node, Trigger: order.Trigger, By: order.By, Cause: order.Cause,
		Donor: order.Decision.Donor, Method: order.Decision.Method, Guards: order.Decision.Guards,
	}
	r.j.Override, r.j.Primary, r.j.WipeFirst = order.Override, order.Primary, order.WipeFirst
	if order.WipeFirst && order.Trigger != watchdog.TriggerManual {
		return watchdog.Record{}, errors.New("only a person's rebuild may wipe first")
	}
	if order.Into != "" {
		into, err := datadir.RefOf(order.Into)
		if err != nil {
			return watchdog.Record{}, fmt.Errorf("look at the directory for backups: %w", err)
		}
		r.j.Into = into
	}
	// First: the journal of one that runs is nothing to look into.
	if err := h.claim(r); err != nil {
		return watchdog.Record{}, err
	}
	if left, err := loadJournal(h.o.StateDir); err != nil || left != nil {
		h.unclaim(r)
		return watchdog.Record{}, errors.Join(err, &watchdog.Refusal{Guard: "lease", Reason: "an earlier rebuild of this node has not ended: see its journal in state_dir"})
	}
	lease, err := h.o.Leases.Acquire(ctx, watchdog.Request{
		ID: r.j.Record.ID, Donor: r.j.Record.Donor, Method: r.j.Record.Method,
		Trigger: order.Trigger, By: order.By, Cause: order.Cause, Budget: h.o.Policy.Budget, Override: order.Override,
	})
	if err != nil {
		h.unclaim(r)
		return watchdog.Record{}, fmt.Errorf("acquire the lease: %w", err)
	}
	r.hold(lease)
	rec := r.j.Record
	h.wait.Go(r.run)
	return rec, nil
}

// claim makes r the rebuild under way; there is never a second one.
func (h *Healer) claim(r *rebuild) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life.Err() != nil {
		return errStopping
	}
	if h.running != nil {
		return &watchdog.Refusal{Guard: "lease", Reason: fmt.Sprintf("rebuild %s of this node is under way", h.running.j.Record.ID)}
	}
	r.log = h.o.Logger.With("rebuild", r.j.Record.ID)
	r.ctx, r.cancel = context.WithCancelCause(h.life)
	h.running = r
	return nil
}

func (h *Healer) unclaim(r *rebuild) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == r {
		h.running = nil
	}
	select {
	case h.ended <- struct{}{}:
	default:
	}
}

// Cancel ends the rebuild under way on a person's word, where it has not
// come to stop yet; nothing under way is no error.
func (h *Healer) Cancel(by string) error {
	h.mu.Lock()
	r := h.running
	h.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.cancelBy(by)
}

// Progress is the rebuild under way, nil for none.
func (h *Healer) Progress() *watchdog.Progress {
	h.mu.Lock()
	r := h.running
	h.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.progress()
}

// Running is the rebuild under way as history will have it, so far; nil for none.
func (h *Healer) Running() *watchdog.Record {
	h.mu.Lock()
	r := h.running
	h.mu.Unlock()
	if r == nil {
		return nil
	}
	rec := r.soFar()
	return &rec
}

// Last is the last rebuild of this process.
func (h *Healer) Last() watchdog.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Close ends what is under way: a copy is given up and its lease released; a
// rebuild past stop is left to its journal, for the next start.
func (h *Healer) Close() {
	h.stop(errStopping)
	h.wait.Wait()
}

func (h *Healer) proveExchange(p datadir.Place) error {
	if err := p.ProveMode(); err != nil {
		return err
	}
	live, err := datadir.RefOf(p.Live.Path)
	if err != nil {
		return err
	}
	h.mu.Lock()
	proved := h.proved.Same(live)
	h.mu.Unlock()
	if proved {
		return nil
	}
	if err := p.ProveExchange(); err != nil {
		return err
	}
	h.mu.Lock()
	h.proved = live
	h.mu.Unlock()
	return nil
}

// newID names a rebuild: when it began, and a few letters against twins.
func newID(now time.Time) string {
	return now.UTC().Format("20060102-150405") + "-" + rand.Text()[:6]
}
