package healing

import (
	"context"
	"fmt"
	"slices"

	"resilver/healing/service"
	"resilver/watchdog"
)

// closed: the rebuilt server comes up closed, by its option files or by the
// copy's mysqld-auto.cnf where the engine has that.
func (g *gathering) closed() {
	if !g.known() {
		return
	}
	const remedy = ": nothing would close the rebuilt server while it starts"
	why, args, err := g.boot()
	if err == nil && why != "" {
		g.f.Closed = watchdog.AnswerOf(why+remedy, nil)
		return
	}
	if err == nil && slices.Contains(args, "--no-defaults") {
		g.f.Closed = watchdog.AnswerOf("mysqld is run with --no-defaults"+remedy, nil)
		return
	}
	g.f.Closed = watchdog.AnswerOf("", err)
}

// boot is what keeps the next start from being read-only, and the options on
// the server's command line.
func (g *gathering) boot() (why string, args []string, err error) {
	if g.last != nil {
		return g.last.Opens, g.last.Program.Args, nil
	}
	if why, err = g.h.o.Server.StartsReadOnly(g.ctx); err == nil {
		args, err = g.h.arguments(g.ctx, g.f.Self)
	}
	return why, args, err
}

// service: the manager answers, and the process it runs is the server.
func (g *gathering) service() {
	if !g.known() {
		return
	}
	status, err := g.h.o.Service.Status(g.ctx)
	if err != nil {
		g.f.Service = watchdog.AnswerOf("the manager of mysqld does not answer (is it run by `resilver supervise`, or is mysql.service right?): "+err.Error(), nil)
		return
	}
	if why, err := atWork(g.ctx, g.h.o.Service); err != nil || why != "" {
		g.f.Service = watchdog.AnswerOf(why, err)
		return
	}
	if g.last != nil { // that nobody runs it has been proven
		g.f.Service = watchdog.AnswerOf("", nil)
		return
	}
	pid, err := g.h.serverPID(g.ctx, g.f.Self)
	if err == nil && (!status.Running || (status.PID != 0 && status.PID != pid)) {
		g.f.Service = watchdog.AnswerOf(fmt.Sprintf("the manager of mysqld (%s) does not run the server on %s, which is process %d: is mysql.socket that of another one?", status.Managed, g.f.Self.Datadir, pid), nil)
		return
	}
	g.f.Service = watchdog.AnswerOf("", err)
}

// person is a manager that can tell whether a person is at work on mysqld.
type person interface {
	Person(ctx context.Context) (at bool, reason string, err error)
}

// atWork asks a manager that can tell whether a person is at work on mysqld, and
// whether its guard against a start in mid-swap is in force.
func atWork(ctx context.Context, s service.Service) (string, error) {
	if m, ok := s.(person); ok {
		if at, why, err := m.Person(ctx); err != nil || at {
			return "a person is at work on mysqld: " + why, err
		}
	}
	if m, ok := s.(interface{ Check(context.Context) error }); ok {
		if err := m.Check(ctx); err != nil {
			return err.Error(), nil
		}
	}
	return "", nil
}
