package private

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Rehearsal boots the staged copy sealed: with the live server's own option
// files and options, and overrides derived from its variables that let it
// write nowhere but in the copy and its work directory. datadir must be
// directly in the staging area. The server is ended by the caller, not by ctx.
//
// A copy of MariaDB that does not boot for prepared transactions is first
// started once to roll them back: they come again by replication.
func Rehearsal(ctx context.Context, o Options, datadir string) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("rehearsal server: %w", err)
	}
	if filepath.Dir(datadir) != filepath.Clean(o.Area) {
		return nil, fmt.Errorf("rehearsal server: %s is not in the staging area %s", datadir, o.Area)
	}
	e := engineOf(o.Paths)
	s, err := o.rehearsal(ctx, e, datadir)
	var fault *Fault
	if e.prepared == nil || !errors.As(err, &fault) || !e.prepared(fault.Tail) {
		return s, err
	}
	o.Logger.Warn("the copy has prepared transactions, rolling them back", "said", fault.Reason)
	if err := o.rollBackPrepared(ctx, e, datadir); err != nil {
		return nil, err
	}
	return o.rehearsal(ctx, e, datadir)
}

func (o *Options) rehearsal(ctx context.Context, e *engine, datadir string) (*Server, error) {
	l, err := o.rehearsalLaunch(e, datadir, o.outward(e)...)
	if err != nil {
		return nil, err
	}
	return boot(ctx, l)
}

func (o *Options) rehearsalLaunch(e *engine, datadir string, more ...string) (launch, error) {
	w, err := openWork(o.Area, roleRehearsal, datadir, o.Program)
	if err != nil {
		return launch{}, fmt.Errorf("rehearsal server: %w", err)
	}
	overrides, err := Seal(o.Paths, w.place)
	if err != nil {
		w.close()
		return launch{}, err
	}
	argv := o.Program.argv(sealable(o.Program.Args), overrides, e.sealed(), e.rehearsal(), directories(o.Covers), more)
	return launch{role: roleRehearsal, work: w, argv: argv, boot: o.BootTimeout, logger: o.Logger, covers: o.Covers}, nil
}

// outward are the options of a rehearsal that replicates. Its source knows it
// by no name, and need not keep more for it than some relay logs hold. What it
// applied is on disk once it was shut down; before that, it is nothing.
func (o *Options) outward(e *engine) []string {
	if o.Outward == 0 {
		return nil
	}
	return append([]string{"--server-id=" + strconv.FormatUint(uint64(o.Outward), 10), "--report-host=", "--relay-log-space-limit=1073741824",
		"--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"}, e.outward...)
}

// restartText is how a server says that it has done what it was started for
// with tc-heuristic-recover. It ends with a status other than 0.
const restartText = "without --tc-heuristic-recover"

// rollBackPrepared starts the server once for that alone.
func (o *Options) rollBackPrepared(ctx context.Context, e *engine, datadir string) error {
	l, err := o.rehearsalLaunch(e, datadir, "--tc-heuristic-recover=ROLLBACK")
	if err != nil {
		return err
	}
	s, err := run(l)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.BootTimeout, fmt.Errorf("not done within %s", o.BootTimeout))
	defer cancel()
	select {
	case <-s.Done():
	case <-ctx.Done():
		return errors.Join(s.faultOf("roll back prepared transactions in", context.Cause(ctx)), s.Kill())
	}
	if !strings.Contains(s.last, restartText) {
		return s.fault("roll back prepared transactions in")
	}
	return nil
}
