package bench

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"resilver/cmd/internal/lab"
	"resilver/healing/service"
)

// quick is how often is looked at what is over in a moment.
const quick = 5 * time.Millisecond

// restartFigures are what a restart is noted as; client is empty where none
// watches.
type restartFigures struct{ outage, client string }

var (
	restartIdle  = restartFigures{outageRestart, clientRestart}
	restartLoad  = restartFigures{outageRestartLoad, ""}
	restartSmall = restartFigures{outageRestartSmall, ""}
	restartClean = restartFigures{outageClean, ""}
)

// restarts is a graceful stop and start of the replica's mysqld, until both
// threads run: the least that any maintenance costs.
func (s *site) restarts(f restartFigures) measure {
	return measure{"graceful restart", func(ctx context.Context) error {
		return s.away(ctx, f.outage, f.client, func(ctx context.Context) error {
			if err := s.shutDown(ctx); err != nil {
				return err
			}
			return s.boot(ctx)
		})
	}}
}

// away notes how long f, and then the replica until both of its threads run,
// take, and how long a client was without an answer.
func (s *site) away(ctx context.Context, outage, client string, f func(context.Context) error) error {
	watch, err := s.watchClient(ctx, client)
	if err != nil {
		return err
	}
	defer watch.stop()
	began := time.Now()
	if err := f(ctx); err != nil {
		return err
	}
	if err := s.replicating(ctx); err != nil {
		return err
	}
	s.note(outage, time.Since(began).Seconds())
	return watch.noteAs(ctx, s, client)
}

// shutDown asks mysqld to end and waits until its supervisor has seen it go.
func (s *site) shutDown(ctx context.Context) error {
	if err := s.replica.Signal(lab.Mysqld, syscall.SIGTERM); err != nil {
		return err
	}
	return poll(ctx, bootDeadline, quick, "mysqld to shut down", func(ctx context.Context) (bool, string) {
		status, err := s.supervised().Status(ctx)
		return err == nil && !status.Running, fmt.Sprintf("running %t, %v", status.Running, err)
	})
}

func (s *site) boot(ctx context.Context) error { return s.supervised().Start(ctx) }

func (s *site) supervised() service.Supervised {
	return service.Supervised{Socket: s.replica.SuperviseSocket()}
}

// replicating waits until both threads of the replica run.
func (s *site) replicating(ctx context.Context) error {
	return poll(ctx, bootDeadline, quick, "the replica to replicate", s.replica.Replicating)
}
