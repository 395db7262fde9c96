package sidecar

import (
	"context"
	"errors"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"resilver/gossip/peer"
	"resilver/healing/method"
	"resilver/healing/service"
	"resilver/healing/transfer"
	"resilver/watchdog"
)

// peerBackup streams a backup of this node to the lease's holder, and to
// nobody else. Of the request, only the tool's name and a number go into what
// is run.
func (s *Sidecar) peerBackup(ctx context.Context, req peer.BackupRequest) (func(context.Context, net.Conn), error) {
	if !s.cfg.Node.Donor {
		return nil, errNoDonor(s.cfg.Node.Name)
	}
	stream, err := s.backups.Admit(ctx, method.BackupRequest{Tool: method.Tool(req.Tool), Parallel: req.Parallel}, transfer.FenceOptions{
		Check: func() error { return s.leases.Check(req.ClusterID, req.Token, req.Caller) },
		Ahead: watchdog.ErrTokenAhead, Limit: s.limit,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, conn net.Conn) {
		s.o.Logger.Info("backup begins", "recipient", req.Caller, "token", req.Token, "tool", req.Tool)
		err := stream.Serve(ctx, conn)
		s.o.Logger.Info("backup ended", "recipient", req.Caller, "token", req.Token, "tool", req.Tool, "error", err)
	}, nil
}

// donorAccount is the account that this node is copied through: on MariaDB it
// has the name of the system user that the tool runs as, the datadir's owner.
func donorAccount(obs watchdog.Observation) string {
	if obs.Flavor != "mariadb" {
		return CloneAccount
	}
	info, err := os.Stat(obs.Datadir)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	owner, err := user.LookupId(strconv.FormatUint(uint64(st.Uid), 10))
	if err != nil {
		return ""
	}
	return owner.Username
}

// liveServer is what a backup must know of this node's server.
func (s *Sidecar) liveServer(ctx context.Context) (method.LiveServer, error) {
	obs := s.server.Observe(ctx)
	if !obs.Reachable {
		return method.LiveServer{}, errors.New(obs.Err)
	}
	paths, err := s.server.Paths(ctx)
	if err != nil {
		return method.LiveServer{}, err
	}
	p, err := service.FindProcess(ctx, service.Identify{Datadir: obs.Datadir, Home: service.HomeOf(obs.Datadir, paths), Socket: s.cfg.MySQL.Socket, PIDFile: paths["pid_file"]})
	if err != nil {
		return method.LiveServer{}, err
	}
	defer p.Close()
	program, err := p.Program()
	if err != nil {
		return method.LiveServer{}, err
	}
	if obs.Flavor == "mariadb" {
		// A right that is missing would show only at the end of the copy.
		lacks, err := s.server.MissingForDonor(ctx, donorAccount(obs))
		if err != nil {
			return method.LiveServer{}, err
		}
		if len(lacks) > 0 {
			return method.LiveServer{}, errors.New(strings.Join(lacks, "; "))
		}
	}
	src := obs.Source()
	return method.LiveServer{
		Flavor: obs.Flavor, VersionNumber: obs.VersionNumber, Socket: s.cfg.MySQL.Socket, OptionFiles: method.OptionFiles(program.Args),
		UID: p.UID, GID: p.GID, Replica: len(obs.Sources) > 0, Bytes: s.contents.latest().Bytes,
		Applying: src != nil && src.Applier.Running == watchdog.ThreadRunning,
	}, nil
}

// restoreApplier starts an applier that stands still without an error: a backup
// tool stopped it and was killed.
func (s *Sidecar) restoreApplier(ctx context.Context) error {
	obs := s.server.Observe(ctx)
	if !obs.Reachable {
		return errors.New(obs.Err)
	}
	if src := obs.Source(); src == nil || src.Applier.Running == watchdog.ThreadRunning || src.Applier.Errno != 0 {
		return nil
	}
	return s.server.StartReplica(ctx)
}

// restorePause is how often a donor that a dead sidecar left changed is tried
// to be restored.
const restorePause = 5 * time.Second

// restoreDonor gives this node's server back what a backup of an earlier
// process changed and did not restore.
func (s *Sidecar) restoreDonor(ctx context.Context) error {
	for {
		err := s.backups.RestoreAfterCrash(ctx)
		if err == nil {
			return nil
		}
		s.o.Logger.Warn("donor not restored yet", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restorePause):
		}
	}
}
