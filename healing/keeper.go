package healing

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"resilver/config/secret"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// How often things are read and written. Sets move with every transaction, so
// they are written at a pace of their own; the logs tell the rest.
const (
	setsEvery    = 5 * time.Second
	lastEvery    = time.Minute // where nothing has changed
	detailsEvery = 30 * time.Second
	detailsLimit = 20 * time.Second // for reading all of them
	// scatteredEvery is longer: the question takes long where there are many tables.
	scatteredEvery = 5 * time.Minute
)

// KeeperOptions is what a Keeper needs.
type KeeperOptions struct {
	StateDir string
	Server   *replica.Server
	Socket   string
	// Pause is the longest time between two looks at the server that still
	// counts as without interruption.
	Pause  time.Duration
	Logger *slog.Logger
}

// Keeper keeps what is known of this node's server, in memory and in
// state_dir/last.json, for the time when it is dead.
type Keeper struct {
	o    KeeperOptions
	wake chan struct{}

	mu   sync.Mutex
	last Last
	err  error // why what an earlier process kept is lost
}

// NewKeeper begins with what an earlier process kept. A file that cannot be
// read is as good as none: nothing is known then until the server answers.
func NewKeeper(o KeeperOptions) (*Keeper, error) {
	switch {
	case o.StateDir == "" || o.Socket == "":
		return nil, errors.New("keeper: state directory and socket are needed")
	case o.Server == nil || o.Logger == nil:
		return nil, errors.New("keeper: a collaborator is missing")
	case o.Pause <= 0:
		return nil, errors.New("keeper: the pause must be positive")
	}
	k := &Keeper{o: o, wake: make(chan struct{}, 1)}
	if k.last, k.err = LoadLast(o.StateDir); k.err != nil {
		o.Logger.Warn("what was last known of the server is lost", "error", k.err)
	}
	return k, nil
}

// Seen takes in an observation in which the server answered; it waits for
// nobody.
func (k *Keeper) Seen(obs watchdog.Observation, role watchdog.Role) {
	inode := uint64(0)
	if ref, err := refOfLive(obs.Datadir); err == nil {
		inode = ref.Ino
	}
	k.mu.Lock()
	k.last.seen(obs, role, inode, k.o.Pause)
	k.err = nil
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Last is what is known; its Datadir is empty where nothing is.
func (k *Keeper) Last() (Last, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, k.err
}

// Run reads what an observation does not hold, and writes everything down,
// until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	var steady, sets string
	var written time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		}
		k.details(ctx)
		now, _ := k.Last()
		since := time.Since(written)
		if now.steady() == steady && (now.sets() == sets || since < setsEvery) && since < lastEvery {
			continue
		}
		if err := now.save(k.o.StateDir); err != nil {
			k.o.Logger.Warn("what is known of the server is not kept", "error", err)
			continue
		}
		steady, sets, written = now.steady(), now.sets(), time.Now()
	}
}

// details reads paths, program and source configuration, from time to time and
// whenever the server was started or its source is another. What was read
// before stands where that fails: the server may have died just now.
func (k *Keeper) details(ctx context.Context) {
	was, _ := k.Last()
	if time.Since(was.ReadAt.Time) < detailsEvery && was.sourceStands() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, detailsLimit)
	defer cancel()
	now, err := k.read(ctx, was)
	if err != nil {
		k.o.Logger.Debug("details of the server not read", "error", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// A look may have found another start of the server meanwhile.
	if k.last.Observation.StartedAt.Equal(was.Observation.StartedAt) {
		k.last.Paths, k.last.Program, k.last.Source, k.last.Opens, k.last.ReadAt = now.Paths, now.Program, now.Source, now.Opens, now.ReadAt
		k.last.OurNetwork = now.OurNetwork
		k.last.Scattered, k.last.ScatteredAt = now.Scattered, now.ScatteredAt
	}
}

// sourceStands says that the source configuration that was read is that of the
// channel which was seen last.
func (l *Last) sourceStands() bool {
	src, kept := l.Observation.Source(), l.Source
	if src == nil || kept == nil {
		return src == nil && kept == nil
	}
	return kept.Channel == src.Channel && kept.Host == src.Host && kept.Port == src.Port && kept.User == src.User &&
		time.Duration(kept.Delay)*time.Second == src.Delay
}

func (k *Keeper) read(ctx context.Context, was Last) (Last, error) {
	out := Last{}
	paths, err := k.o.Server.Paths(ctx)
	if err != nil {
		return out, err
	}
	p, err := service.FindProcess(ctx, service.Identify{Datadir: was.Datadir, Home: service.HomeOf(was.Datadir, paths), Socket: k.o.Socket, PIDFile: paths["pid_file"]})
	if err != nil {
		return out, err
	}
	defer p.Close()
	program, err := p.Program()
	if err != nil {
		return out, err
	}
	out.OurNetwork = sameNetwork(p.PID)
	opens, err := k.o.Server.StartsReadOnly(ctx)
	if err != nil {
		return out, err
	}
	source, err := k.o.Server.SourceConfig(ctx)
	switch {
	case errors.Is(err, replica.ErrNotReplica), errors.Is(err, replica.ErrManySources):
	case err != nil:
		return out, err
	default:
		source.Password = secret.Secret{} // as after a restart: what a dead server has stored nobody can read
		out.Source = &source
	}
	out.Scattered, out.ScatteredAt = was.Scattered, was.ScatteredAt
	if time.Since(was.ScatteredAt.Time) >= scatteredEvery {
		if out.Scattered, err = k.o.Server.Scattered(ctx); err != nil {
			return out, err
		}
		out.Scattered, out.ScatteredAt = append([]string{}, out.Scattered...), watchdog.StampOf(time.Now())
	}
	out.Paths, out.Program, out.Opens, out.ReadAt = paths, program, opens, watchdog.StampOf(time.Now())
	return out, nil
}
