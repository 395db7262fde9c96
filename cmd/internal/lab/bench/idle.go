package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"resilver/cmd/internal/lab"
)

// idle watches the sidecars of a cluster in which nothing happens, at the
// default probe interval, and shows the largest of the three: one of them is
// raft's leader. The server counts the statements, in its general log.
func (s *site) idle(ctx context.Context) error {
	s.say("idle for %s", s.Idle)
	if err := s.settled(ctx); err != nil {
		return err
	}
	before, err := s.sidecars()
	if err != nil {
		return err
	}
	began := time.Now()
	statements, err := s.statements(ctx, s.Idle)
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := s.sidecars()
	if err != nil {
		return err
	}
	var rss, anonymous, cpu float64
	for i := range after {
		rss, anonymous = max(rss, after[i].rss), max(anonymous, after[i].anonymous)
		cpu = max(cpu, (after[i].cpu-before[i].cpu)/took.Seconds()*100)
	}
	s.note(idleRSS, rss/1e6)
	s.note(idleAnon, anonymous/1e6)
	s.note(idleCPU, cpu)
	s.note(idleStatements, statements)
	return nil
}

// usage is what a process uses: bytes, and processor seconds since its start.
type usage struct{ rss, anonymous, cpu float64 }

func (s *site) sidecars() ([]usage, error) {
	var out []usage
	for _, n := range s.c.Nodes {
		u, err := usageOf(n.PID(lab.Sidecar))
		if err != nil {
			return nil, fmt.Errorf("look at the sidecar of %s: %w", n.Name, err)
		}
		out = append(out, u)
	}
	return out, nil
}

// sidecarAccount is the lab's, and variables what each probe begins with.
const (
	sidecarAccount = "resilver"
	variables      = "SELECT @@GLOBAL.server\\_id AS"
)

// statements is how many of them the replica's server took from its sidecar
// for each probe, those for other things than probes among them.
func (s *site) statements(ctx context.Context, length time.Duration) (float64, error) {
	n := s.replica
	if err := n.SQL(ctx, "SET GLOBAL log_output='TABLE'", "SET GLOBAL general_log=ON"); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(length):
	}
	if err := n.SQL(ctx, "SET GLOBAL general_log=OFF"); err != nil {
		return 0, err
	}
	all, err := s.logged(ctx, "%")
	if err != nil {
		return 0, err
	}
	probes, err := s.logged(ctx, variables+"%")
	if err != nil {
		return 0, err
	}
	if probes == 0 {
		return 0, fmt.Errorf("%s's server saw no probe within %s", n.Name, length)
	}
	return all / probes, nil
}

// logged counts the statements of the sidecar that are like a pattern.
func (s *site) logged(ctx context.Context, like string) (float64, error) {
	text, err := s.replica.Value(ctx, "SELECT COUNT(*) FROM mysql.general_log WHERE command_type IN ('Query', 'Execute')"+
		" AND user_host LIKE ? AND argument LIKE ?", sidecarAccount+"[%", like)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("count statements: %w", err)
	}
	return n, nil
}
