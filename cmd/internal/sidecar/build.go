package sidecar

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"resilver/config"
	"resilver/config/secret"
	"resilver/gossip"
	"resilver/gossip/lease"
	"resilver/gossip/peer"
	"resilver/healing"
	"resilver/healing/method"
	"resilver/healing/service"
	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// buildState makes the state directory, for the sidecar alone, and locks it
// for life: neither a second sidecar nor `resilver finish` may act by it.
func (s *Sidecar) buildState() error {
	if err := os.MkdirAll(s.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("make state_dir: %w", err)
	}
	unlock, err := healing.LockState(s.cfg.StateDir, lockPatience)
	if err != nil {
		return err
	}
	s.onStop("lock on state_dir", unlock)
	return nil
}

// lockPatience is for an earlier process that is about to end.
const lockPatience = 5 * time.Second

func (s *Sidecar) buildServer() error {
	password, err := secretOf(s.cfg.MySQL.PasswordFile)
	if err != nil {
		return err
	}
	s.server, err = s.connect(s.cfg.MySQL.Socket, password, s.cfg.Probe.Timeout)
	if err != nil {
		return err
	}
	s.onStop("connections to mysqld", s.server.Disconnect)
	return nil
}

// privateTimeout is of a statement at a private server, at least: nobody waits
// for one, and one that is slow must not cost the copy.
const privateTimeout = 10 * time.Second

// connect opens this node's own account at a server: the live one, or a
// private one during a rehearsal.
func (s *Sidecar) connect(socket string, password secret.Secret, timeout time.Duration) (*replica.Server, error) {
	return replica.Open(replica.Options{Socket: socket, User: s.cfg.MySQL.User, Password: password,
		Timeout: timeout, Logger: s.o.Logger})
}

func (s *Sidecar) buildService() error {
	m := s.cfg.MySQL.Service
	switch m.Kind {
	case config.ServiceSupervise:
		s.service = service.Supervised{Socket: SuperviseSocket(s.cfg.StateDir)}
	case config.ServiceSystemd:
		unit, err := service.NewSystemd(service.SystemdOptions{Unit: m.Unit, HoldFile: service.HoldPath(s.cfg.StateDir), Logger: s.o.Logger})
		if err != nil {
			return fmt.Errorf("mysql.service: %w", err)
		}
		s.service = unit
	case config.ServiceCommand:
		command, err := service.NewCommand(service.CommandOptions{Start: m.Start, Stop: m.Stop, Status: m.Status,
			Timeout: commandTimeout, StopTimeout: commandStopTimeout, Logger: s.o.Logger})
		if err != nil {
			return fmt.Errorf("mysql.service: %w", err)
		}
		s.service = command
	default:
		return fmt.Errorf("mysql.service.kind: %q is not known", m.Kind)
	}
	return nil
}

// How long the commands of kind command may take; a clean stop of a large
// server takes long.
const (
	commandTimeout     = time.Minute
	commandStopTimeout = 30 * time.Minute
)

// SuperviseSocket is where `resilver supervise` listens.
func SuperviseSocket(stateDir string) string { return filepath.Join(stateDir, "supervise.sock") }

func (s *Sidecar) buildPeer() error {
	c := s.cfg.Cluster
	if !c.TLS.Configured() {
		return errors.New("cluster.tls names no certificates: make them with `resilver certs init` and `resilver certs issue`")
	}
	port, err := peer.Listen(peer.Options{
		Address: net.JoinHostPort(c.Bind, strconv.Itoa(c.PeerPort)), Advertise: s.peerAddress(),
		Cluster: c.Name, Node: s.cfg.Node.Name, CAFile: c.TLS.CA, CertFile: c.TLS.Cert, KeyFile: c.TLS.Key,
		Nodes: s.peerAddresses, Streaming: s.cores.work, Logger: s.o.Logger,
	})
	if err != nil {
		return err
	}
	s.port = port
	s.onStop("peer port", port.Close)
	return nil
}

// peerAddress is where the others find this node's peer port.
func (s *Sidecar) peerAddress() string {
	return net.JoinHostPort(s.advertise(), strconv.Itoa(s.cfg.Cluster.PeerPort))
}

// advertise is the host that the others dial: as configured, or the address
// bound, or this node's name.
func (s *Sidecar) advertise() string {
	c := s.cfg.Cluster
	if c.Advertise != "" {
		return c.Advertise
	}
	if ip := net.ParseIP(c.Bind); ip == nil || !ip.IsUnspecified() {
		return c.Bind
	}
	return s.cfg.Node.Name
}

func (s *Sidecar) peerAddresses() map[string]string {
	out := map[string]string{}
	if s.gossip == nil {
		return out
	}
	for _, m := range s.gossip.Members() {
		if m.Alive && m.PeerAddress != "" {
			out[m.Name] = m.PeerAddress
		}
	}
	return out
}

func (s *Sidecar) buildLease() error {
	node, err := lease.New(lease.Options{
		Name: s.cfg.Node.Name, Cluster: s.cfg.Cluster.Name, StateDir: s.raftDir(), Join: s.cfg.Cluster.Join,
		Stream: s.port.Raft(), PeerAddress: s.peerAddress(), TTL: s.cfg.Lease.TTL, CriticalMax: s.cfg.Lease.CriticalMax,
		Members: s.members, Call: s.port.Client().Call, Logger: s.o.Logger, Registerer: s.metrics.registry,
	})
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	s.leases = node
	s.metrics.lease(func() bool {
		l := node.State().Lease
		return l != nil && l.Holder == s.cfg.Node.Name
	})
	return nil
}

// members is what gossip knows of everybody, in the lease's words.
func (s *Sidecar) members() []lease.Member {
	if s.gossip == nil {
		return nil
	}
	view := s.gossip.View()
	var out []lease.Member
	for _, m := range s.gossip.Members() {
		n := view.Nodes[m.Name]
		out = append(out, lease.Member{Name: m.Name, GossipAddress: m.GossipAddress, PeerAddress: m.PeerAddress, RaftID: m.RaftID,
			Alive: m.Alive, Healthy: n.Reachable && n.Progress == nil})
	}
	return out
}

func (s *Sidecar) buildGossip() error {
	c := s.cfg.Cluster
	var keys [][]byte
	if c.GossipKeyFile != "" {
		text, err := secret.FromFile(c.GossipKeyFile)
		if err != nil {
			return err
		}
		if keys, err = gossip.ParseKeys([]byte(text.Reveal())); err != nil {
			return err
		}
	}
	g, err := gossip.New(gossip.Options{
		Name: s.cfg.Node.Name, Cluster: c.Name, Bind: c.Bind, Advertise: s.advertise(), Port: c.GossipPort, Keys: keys, Join: c.Join,
		PeerAddress: s.peerAddress(), RaftID: s.leases.RaftID(), Version: s.o.Version, Logger: s.o.Logger, Registerer: s.metrics.registry,
	})
	s.gossip = g
	return err
}

func (s *Sidecar) buildHealer() error {
	cfg := s.cfg
	own, err := secretOf(cfg.MySQL.PasswordFile)
	if err != nil {
		return err
	}
	replication, err := secretOf(cfg.MySQL.Replication.PasswordFile)
	if err != nil {
		return err
	}
	if cfg.Donor.MaxRate > 0 {
		s.limit = rate.NewLimiter(rate.Limit(cfg.Donor.MaxRate), 1<<20)
	}
	methods, err := s.methods()
	if err != nil {
		return err
	}
	s.healer, err = healing.New(healing.Options{
		Node: cfg.Node.Name, ClusterName: cfg.Cluster.Name, StateDir: cfg.StateDir, StagingDir: cfg.Rebuild.StagingDir, Policy: s.policy(),
		Leases: s.leases, Peers: s.port.Client(), Cluster: s.gossip, Server: s.server, Socket: cfg.MySQL.Socket, Known: s.known, ToolDirs: toolDirs(),
		Connect: func(socket string) (*replica.Server, error) {
			return s.connect(socket, own, max(s.cfg.Probe.Timeout, privateTimeout))
		},
		Service: s.service, Methods: methods, Tunnel: s.port.Client().Tunnel, Backup: s.port.Client().Backup,
		Checksums: s.port.Client().Checksums, Checksum: cfg.Verify.Checksum, Sample: cfg.Verify.Sample, MaxLag: cfg.Verify.MaxLag,
		Shutdown: cfg.Rebuild.OldServer == config.OldServerShutdown, NewUUID: cfg.Rebuild.ServerUUID == config.ServerUUIDNew, MinFree: cfg.Rebuild.MinFree.Of,
		Preserve: append([]string{"auto.cnf"}, cfg.Rebuild.Preserve...), Deadlines: deadlines(cfg.Rebuild.Deadlines),
		StallTimeout: cfg.Rebuild.StallTimeout, VerifyStall: cfg.Verify.Stall, Keep: cfg.Quarantine.Keep, KeepFree: cfg.Quarantine.MinFree.Of,
		User: cfg.MySQL.Replication.User, Password: replication,
		Failpoint: s.o.Failpoint, Stepped: s.metrics.stepped, Copied: s.metrics.received, Ended: s.metrics.ended, Logger: s.o.Logger,
	})
	return err
}

// toolDirs are where the tools of backups and binary logs are looked for, in
// order: the PATH, or where packages put them if there is none.
func toolDirs() []string {
	dirs := []string{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return []string{"/usr/bin", "/usr/sbin"}
	}
	return dirs
}

func (s *Sidecar) buildBackups() error {
	b, err := method.NewBackups(method.BackupOptions{
		Dirs: toolDirs(), Tools: map[method.Tool]method.BackupSettings{
			method.ToolMariabackup: {Parallel: s.cfg.Rebuild.Mariabackup.Parallel, Args: s.cfg.Rebuild.Mariabackup.Args},
			method.ToolXtrabackup:  {Parallel: s.cfg.Rebuild.Xtrabackup.Parallel, Args: s.cfg.Rebuild.Xtrabackup.Args},
		},
		StateDir: s.cfg.StateDir, Live: s.liveServer, Restore: s.restoreApplier, Stall: s.cfg.Rebuild.StallTimeout,
		Count: s.metrics.given, Logger: s.o.Logger,
	})
	s.backups = b
	return err
}

// CloneAccount is the account that a donor is copied through; it is known by
// the system user that dials for it, and has BACKUP_ADMIN alone.
const CloneAccount = "resilver_clone"

// methods are the ways to copy, in order; auto is each that there is.
func (s *Sidecar) methods() ([]method.Method, error) {
	var out []method.Method
	for _, name := range s.cfg.Rebuild.Methods {
		names := []string{name}
		if name == config.MethodAuto {
			names = []string{config.MethodClone, config.MethodMariabackup, config.MethodXtrabackup}
		}
		for _, name := range names {
			if slices.ContainsFunc(out, func(m method.Method) bool { return m.Name() == name }) {
				continue
			}
			m, err := s.methodNamed(name)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
	}
	return out, nil
}

func (s *Sidecar) methodNamed(name string) (method.Method, error) {
	physical := func(t config.Tool) method.PhysicalOptions {
		return method.PhysicalOptions{Dirs: toolDirs(), Parallel: t.Parallel, UseMemory: int64(t.UseMemory), Args: t.Args,
			StallTimeout: s.cfg.Rebuild.StallTimeout, Logger: s.o.Logger}
	}
	switch name {
	case config.MethodMariabackup:
		return method.NewMariabackup(physical(s.cfg.Rebuild.Mariabackup))
	case config.MethodXtrabackup:
		return method.NewXtrabackup(physical(s.cfg.Rebuild.Xtrabackup))
	}
	return method.NewClone(method.CloneOptions{Account: CloneAccount, StallTimeout: s.cfg.Rebuild.StallTimeout,
		BootTimeout: bootTimeout, Logger: s.o.Logger})
}

// bootTimeout is what a scratch server gets until it answers.
const bootTimeout = 5 * time.Minute

func (s *Sidecar) policy() watchdog.Policy {
	p := s.cfg.Policy
	return watchdog.Policy{
		Observe: p.Mode == config.ModeObserve, Exclude: !s.cfg.Node.Rebuild, BrokenFor: p.BrokenFor,
		SystemicWindow: p.SystemicWindow, Archive: p.Errant == config.ErrantArchive, ErrantConfirm: p.ErrantConfirm, KeepServing: p.KeepServing, MaxBytes: int64(p.MaxBytes),
		Budget:       watchdog.Budget{NodePerDay: p.Budget.NodePerDay, ClusterPerHour: p.Budget.ClusterPerHour, Cooldown: p.Cooldown},
		DonorPrimary: watchdog.DonorPrimary(s.cfg.Donor.Primary), DonorMaxLag: s.cfg.Donor.MaxLag,
		Fresh: freshFor(s.cfg.Probe.Interval),
	}
}

// freshFor is how old a report may be: a few probes, and the time that gossip
// takes to carry one.
func freshFor(interval time.Duration) time.Duration { return 3*interval + 5*time.Second }

func (s *Sidecar) buildKeeper() (err error) {
	s.known, err = healing.NewKeeper(healing.KeeperOptions{StateDir: s.cfg.StateDir, Server: s.server, Socket: s.cfg.MySQL.Socket,
		Pause: freshFor(s.cfg.Probe.Interval), Logger: s.o.Logger})
	return err
}

func (s *Sidecar) buildLoop() (err error) {
	last, _ := s.known.Last() // why it is lost has been said
	s.loop, err = watchdog.NewLoop(watchdog.LoopOptions{
		Node: s.cfg.Node.Name, Zone: s.cfg.Node.Zone, MayDonate: s.cfg.Node.Donor,
		Interval: s.cfg.Probe.Interval, Timeout: s.cfg.Probe.Timeout, Policy: s.policy(),
		Diagnose: watchdog.DiagnoseConfig{MaxLag: s.cfg.Verify.MaxLag, Stable: 10 * s.cfg.Probe.Interval},
		Prober:   s.server, Cluster: s.gossip, Leases: s.leases, Gatherer: s.healer, Healer: s.healer,
		Remembered: last.Observation, Remember: s.known.Seen, Observed: s.observed, Logger: s.o.Logger,
	})
	return err
}

func (s *Sidecar) observed(obs watchdog.Observation, diag watchdog.Diagnosis, d watchdog.Decision) {
	s.o.Beat()
	s.metrics.observed(obs, diag, d)
	s.metrics.drilled(watchdog.LastDrill(s.leases.State().History, s.cfg.Node.Name))
}

func deadlines(in map[string]time.Duration) map[watchdog.Step]time.Duration {
	out := map[watchdog.Step]time.Duration{}
	for name, d := range in {
		out[watchdog.Step(name)] = d
	}
	return out
}

// secretOf reads a secret file; no path is no secret.
func secretOf(path string) (secret.Secret, error) {
	if path == "" {
		return secret.Secret{}, nil
	}
	return secret.FromFile(path)
}
