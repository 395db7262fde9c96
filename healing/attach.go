package healing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"resilver/config/secret"
	"resilver/healing/datadir"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// replicationFiles hold a MariaDB replica's source and place in its logs. It
// syncs master.info every 10,000 events (sync_master_info): with the power they
// would be lost whole, and the new copy would boot without a source.
const replicationFiles = "*.info"

// attach makes the new server a replica of the present primary, with this
// node's own account and options; nothing replicates before. A server that
// dies meanwhile is started again by its manager, and asked again; one that
// somebody else uses already is left to him.
func (r *rebuild) attach(ctx context.Context) error {
	source, err := r.presentSource(ctx)
	if err != nil {
		return err
	}
	for {
		obs := r.h.o.Server.Observe(ctx)
		err := errors.New(obs.Err)
		if obs.Reachable {
			if err := r.ours(obs); err != nil {
				return err
			}
			if err = r.h.o.Server.Attach(ctx, source); err == nil {
				if err := datadir.SyncFiles(r.j.Live.Path, replicationFiles); err != nil {
					r.log.Warn("not synced", "error", err)
				}
				return nil
			}
		}
		if obs.Reachable && !errors.Is(err, replica.ErrDown) && !errors.Is(err, replica.ErrHung) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(bootPause):
		}
	}
}

// presentSource derives the source anew: the cluster may have another primary
// than when the copy began. Where it has not, the address stays as this node
// had it.
func (r *rebuild) presentSource(ctx context.Context) (replica.SourceConfig, error) {
	source := r.j.Source
	password, err := r.keptPassword()
	if err != nil {
		return source, err
	}
	source.Password = password
	primary, err := r.presentPrimary(ctx)
	if err != nil || primary.Report.Node == r.j.Primary {
		return source, err
	}
	host, port, err := net.SplitHostPort(primary.Observation.Address)
	if err != nil {
		return source, fmt.Errorf("the present primary's address: %w", err)
	}
	source.Host = host
	source.Port, err = strconv.Atoi(port)
	return source, err
}

// presentPrimary is the one writable node of the view that nobody but others
// replicate from; this node's own report says nothing while it is rebuilt.
func (r *rebuild) presentPrimary(ctx context.Context) (watchdog.PeerState, error) {
	for {
		state, err := r.findPrimary(ctx)
		if err == nil {
			return state, nil
		}
		select {
		case <-r.h.life.Done():
			return state, errStopping
		case <-ctx.Done():
			return state, fmt.Errorf("find the present primary: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (r *rebuild) findPrimary(ctx context.Context) (watchdog.PeerState, error) {
	view := r.h.o.Cluster.View()
	name := ""
	for node, n := range view.Nodes {
		if node == r.h.o.Node || !n.Fresh(r.h.o.Policy.Fresh) || !n.Writable {
			continue
		}
		if name != "" {
			return watchdog.PeerState{}, fmt.Errorf("%s and %s are both writable", name, node)
		}
		name = node
	}
	if name == "" {
		return watchdog.PeerState{}, errors.New("no node reports itself writable")
	}
	state, err := r.h.primaryState(ctx, name)
	if err == nil && !state.Observation.Writable() {
		err = fmt.Errorf("%s is not writable", name)
	}
	return state, err
}

// verify proves that the new copy replicates: both threads run and GTIDs
// advance, or nothing is left to fetch; identity and ownership are right, and
// it has no transaction of its own. Then clients are let in.
func (r *rebuild) verify(ctx context.Context) error {
	if err := r.replicates(ctx); err != nil {
		return err
	}
	persisted, offline, err := r.openAs()
	if err != nil {
		return err
	}
	err = r.insist(ctx, r.h.o.VerifyStall, func() error {
		if err := r.identity(ctx); err != nil {
			return err
		}
		return r.h.o.Server.OpenForClients(ctx, persisted, offline)
	})
	if err != nil {
		return err
	}
	if err := removeFile(leftClosedPath(r.h.o.StateDir)); err != nil {
		return err
	}
	return r.note((*Journal).served)
}

// provingMoves is how often the set must have grown while both threads ran:
// parallel workers apply a little before they fail again.
const provingMoves = 2

// replicates waits for progress; it fails after verify.stall without any.
func (r *rebuild) replicates(ctx context.Context) error {
	primary, err := r.primaryInTime(ctx)
	if err != nil {
		return err
	}
	target := primary.Observation.Executed
	seen := advance{stall: r.h.o.VerifyStall, applied: time.Now(), at: time.Now()}
	for {
		obs := r.h.o.Server.Observe(ctx)
		both, state := runs(obs)
		if seen.look(obs, time.Now()); both {
			left, err := r.h.o.Server.GTIDSubtract(ctx, target, obs.Executed)
			if err == nil && (left == "" || seen.moves >= provingMoves) {
				return nil
			}
		}
		if seen.stalled(time.Now()) {
			return fmt.Errorf("no progress within %s: %s", r.h.o.VerifyStall, state)
		}
		select {
		case <-r.h.life.Done():
			return errStopping
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// primaryInTime asks the present primary, for as long as a stalled replica
// would be waited for.
func (r *rebuild) primaryInTime(ctx context.Context) (watchdog.PeerState, error) {
	ctx, cancel := context.WithTimeout(ctx, r.h.o.VerifyStall)
	defer cancel()
	return r.presentPrimary(ctx)
}

// identity: the server_uuid is the one it had or was given, it is closed to writers, and
// it has nothing that the primary lacks.
func (r *rebuild) identity(ctx context.Context) error {
	obs := r.observe(ctx, r.h.o.VerifyStall)
	switch {
	case !obs.Reachable:
		return fmt.Errorf("the new server does not answer: %s", obs.Err)
	case obs.ServerUUID != r.j.uuid():
		return fmt.Errorf("server_uuid is %s, it should be %s", obs.ServerUUID, r.j.uuid())
	case obs.Writable():
		return fmt.Errorf("%w: it is writable", errTaken)
	}
	if err := r.owned(); err != nil {
		return err
	}
	primary, err := r.primaryInTime(ctx)
	if err != nil {
		return err
	}
	patience := max(r.h.o.Policy.ErrantConfirm, time.Second)
	own := &claim{set: obs.Executed, id: obs.ServerID}
	beyond(ctx, r.h.o.Server, []*claim{own}, primary.Observation, patience, r.primaryInTime)
	if own.err == nil && own.diff != "" {
		return fmt.Errorf("the new server has transactions of its own: %s", own.diff)
	}
	return own.err
}

// keepPassword sets the source's password aside for the process that may have
// to attach after a crash.
func (r *rebuild) keepPassword() error {
	return saveFile(passwordPath(r.h.o.StateDir), []byte(r.password.Reveal()))
}

func (r *rebuild) keptPassword() (secret.Secret, error) {
	if !r.password.IsZero() {
		return r.password, nil
	}
	b, err := os.ReadFile(passwordPath(r.h.o.StateDir))
	if err == nil {
		return secret.New(string(b)), nil
	}
	if r.h.o.Password.IsZero() {
		return secret.Secret{}, fmt.Errorf("the source's password: %w", err)
	}
	return r.h.o.Password, nil
}
