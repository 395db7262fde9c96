package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"resilver/cmd/internal/lab"
)

// Deadlines of one thing that is measured.
const (
	copyDeadline = 15 * time.Minute
	healDeadline = 20 * time.Minute
	bootDeadline = 2 * time.Minute
)

// reader is an ordinary account, without any privilege but to read the lab's
// tables; giver is what a user makes to clone over TCP.
const (
	reader = "bench_reader"
	giver  = "bench_giver"
)

// site is a lab that is measured: db2 is rebuilt, from db3 unless said
// otherwise.
type site struct {
	*bench
	c        *lab.Cluster
	primary  *lab.Node
	replica  *lab.Node
	donor    *lab.Node
	area     string // belongs to mysqld's user, on the file system of the datadirs
	password string
}

func (b *bench) newSite(ctx context.Context, c *lab.Cluster) (*site, error) {
	s := &site{bench: b, c: c, primary: c.Node(1), replica: c.Node(2), donor: c.Node(3), password: rand.Text()}
	var err error
	if s.area, err = c.Area("bench"); err != nil {
		return nil, err
	}
	if b.result.Server == "" {
		b.result.Server = c.Version()
		if b.result.Machine, err = look(c.Dir); err != nil {
			return nil, err
		}
		if b.result.Resilver, err = version(ctx, b.Binary); err != nil {
			return nil, err
		}
	}
	plugin := ""
	if b.Engine == lab.MySQL {
		plugin = "WITH caching_sha2_password "
	}
	statements := []string{
		fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED %sBY '%s'", reader, plugin, s.password),
		fmt.Sprintf("GRANT SELECT ON lab.* TO '%s'@'%%'", reader),
		"CREATE TABLE lab.commits (id BIGINT UNSIGNED NOT NULL PRIMARY KEY AUTO_INCREMENT, at VARCHAR(40) NOT NULL)",
	}
	if b.Engine == lab.MySQL {
		statements = append(statements,
			fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED %sBY '%s'", giver, plugin, s.password),
			fmt.Sprintf("GRANT BACKUP_ADMIN ON *.* TO '%s'@'%%'", giver))
	}
	if err := s.primary.SQL(ctx, statements...); err != nil {
		return nil, err
	}
	if err := s.caughtUp(ctx, s.replica, s.donor); err != nil || b.Engine != lab.MySQL {
		return s, err
	}
	return s, s.warmScratch(ctx)
}

// measure is one thing that a round measures.
type measure struct {
	name string
	run  func(context.Context) error
}

// rounds measures everything as often as was asked for, each round beginning
// with another.
func (s *site) rounds(ctx context.Context, what string, list []measure) error {
	for round := range s.Rounds {
		s.say("%s, round %d of %d", what, round+1, s.Rounds)
		for _, m := range rotated(list, round) {
			s.say("  %s", m.name)
			if err := s.settled(ctx); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if err := m.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return nil
}

// settled lets what was measured before not weigh on what comes next: every
// node has caught up, the sidecars agree, and nothing is left to be written.
func (s *site) settled(ctx context.Context) error {
	if err := s.caughtUp(ctx, s.replica, s.donor); err != nil {
		return err
	}
	if err := s.c.WaitAgreed(ctx, bootDeadline); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

// caughtUp waits until these nodes have what the primary has now.
func (s *site) caughtUp(ctx context.Context, nodes ...*lab.Node) error {
	gtids, err := s.primary.Executed(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := n.WaitExecuted(ctx, gtids, 5*time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// underLoad runs f while a client writes.
func (s *site) underLoad(ctx context.Context, f func() error) (err error) {
	load, err := s.c.StartLoad(ctx, s.Rate)
	if err != nil {
		return err
	}
	defer func() {
		result, stopErr := load.Stop()
		s.say("load: %d rows acknowledged, %d refused", result.Acknowledged, result.Refused)
		if err == nil && result.Acknowledged == 0 {
			err = fmt.Errorf("the load wrote nothing: %s", result.LastError)
		}
		err = errors.Join(err, stopErr)
	}()
	return f()
}

// soaked lets the load run for a while before: caches fill, and everything
// has got used to it.
func (s *site) soaked(m measure) measure {
	return measure{m.name, func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(s.Soak):
		}
		return m.run(ctx)
	}}
}

// equal wants every node to have the same rows.
func (s *site) equal(ctx context.Context) error {
	result, err := s.c.Check(ctx, 5*time.Minute)
	if err != nil {
		return err
	}
	s.say("%s", result)
	if !result.OK() {
		return errors.New("the nodes are not equal")
	}
	return nil
}

// fresh names a directory in the area that does not exist, and removes it
// again.
func (s *site) fresh(name string) (dir string, remove func() error) {
	dir = filepath.Join(s.area, name)
	return dir, func() error {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove a copy: %w", err)
		}
		return nil
	}
}

// poll asks often, for what is over in a moment; lab.WaitFor is for what
// takes long.
func poll(ctx context.Context, within, every time.Duration, what string, f func(context.Context) (bool, string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not within %s", within))
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, seen := f(ctx)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last seen: %s", what, context.Cause(ctx), seen)
		case <-tick.C:
		}
	}
}
