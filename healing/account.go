package healing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/replica"
)

// A login that succeeded stands for loginStands. One that was refused, or
// taught nothing, is tried again after firstLogin, then ever more rarely up to
// lastLogin: a source logs each, and may lock the account for those that fail
// (FAILED_LOGIN_ATTEMPTS), or the host for those that break off
// (max_connect_errors, 100 by default), and counts all of them where
// MAX_CONNECTIONS_PER_HOUR is set. The plan is made every few seconds, for days
// where another guard refuses.
const (
	loginStands = time.Minute
	firstLogin  = 5 * time.Minute
	lastLogin   = time.Hour
)

// account: there is a password for the source, from the server or the
// configuration, and nothing shows that the source refuses it. A rebuilt
// server that could not log in would stay closed, where the old one still
// served.
func (g *gathering) account() {
	if !g.known() {
		return
	}
	if g.last == nil {
		if why := refusedReceiver(g.f.Self); why != "" {
			g.f.Account = watchdog.AnswerOf(why, nil)
			return
		}
	}
	source, err := g.source()
	switch {
	case errors.Is(err, errAccount), errors.Is(err, replica.ErrNotReplica), errors.Is(err, replica.ErrManySources):
		g.f.Account = watchdog.AnswerOf(err.Error(), nil)
	case err != nil:
		g.f.Account = watchdog.AnswerOf("", err)
	case g.anew: // a rollback brings its own password back
		g.f.Account = watchdog.AnswerOf("", nil)
	default:
		g.f.Account = watchdog.AnswerOf(g.h.refused(g.ctx, source, g.f.Self, g.last != nil, g.person), nil)
	}
}

// cure is where a refused login is mended.
const cure = "; mend the account at the source, or user and password of the replica: stored in the server, else mysql.replication"

// refusedReceiver is how the source refuses a replica that runs.
func refusedReceiver(obs watchdog.Observation) string {
	if why := watchdog.Refused(obs); why != "" {
		return "the source refuses this replica, and would refuse the copy: " + why + cure
	}
	return ""
}

// errAccount: there is nothing to log in with.
var errAccount = errors.New("no account for the source")

// source is what the rebuilt server will be attached with.
func (g *gathering) source() (source replica.SourceConfig, err error) {
	why := "the server has no password stored for its source that can be read"
	switch {
	case g.last == nil:
		source, err = g.h.o.Server.SourceConfig(g.ctx)
	case g.last.Source == nil:
		err = fmt.Errorf("%w: it had no single source when it was last seen", errAccount)
	default:
		source, why = *g.last.Source, "the password for its source is in the dead server, where nobody can read it"
	}
	if err != nil {
		return source, err
	}
	if source = g.h.withPassword(source); source.Password.IsZero() {
		return source, fmt.Errorf("%w: %s: set mysql.replication", errAccount, why)
	}
	return source, nil
}

// withPassword completes a source configuration as attach will use it: what
// the server has not stored comes from the configuration.
func (h *Healer) withPassword(source replica.SourceConfig) replica.SourceConfig {
	if source.Password.IsZero() {
		source.Password = h.o.Password
		if h.o.User != "" {
			source.User = h.o.User
		}
	}
	return source
}

// refused tries the login, and says how it was refused; empty where it was
// not, or where that cannot be told from here. What was learnt a short while
// ago stands, unless again says so.
func (h *Healer) refused(ctx context.Context, source replica.SourceConfig, self watchdog.Observation, dead, again bool) string {
	if h.elsewhere(ctx, self, dead) {
		return ""
	}
	why, err := h.logins.ask(ctx, source, again, replica.TryLogin)
	if err != nil {
		h.o.Logger.Debug("login at the source not judged", "error", err)
	}
	if why != "" {
		why += cure
	}
	return why
}

// elsewhere: the server reaches its source from another network than this
// process, or may do so, and may be let in where we are not. Of a dead one it
// was seen while it ran.
func (h *Healer) elsewhere(ctx context.Context, self watchdog.Observation, dead bool) bool {
	if dead {
		last, err := h.known()
		return err != nil || !last.OurNetwork
	}
	pid, err := h.serverPID(ctx, self)
	return err != nil || !sameNetwork(pid)
}

// sameNetwork says that a process is in our network namespace. Its link
// /proc/PID/ns/net wants CAP_SYS_PTRACE; this file is one for each namespace,
// and open to all (tried on Linux 6.18).
func sameNetwork(pid int) bool {
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return false
	}
	ours, err := os.Stat("/proc/self/net/dev")
	return err == nil && os.SameFile(theirs, ours)
}

// logins remembers what the last login taught.
type logins struct {
	mu     sync.Mutex // held while a login is tried: never two at once
	source replica.SourceConfig
	why    string // the refusal that stands; empty: it was not refused
	err    error  // why the last one taught nothing
	wait   time.Duration
	until  time.Time
}

// ask tries a login where the last answer is too old, or again says so. A
// refusal stands until the login succeeds, or is another; err is why nothing
// was learnt. What ended with the caller's ctx is no answer.
func (l *logins) ask(ctx context.Context, source replica.SourceConfig, again bool, try func(context.Context, replica.SourceConfig) error) (why string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !reflect.DeepEqual(l.source, source) {
		l.source, l.why, l.err, l.wait, l.until = source, "", nil, 0, time.Time{}
	}
	if !again && time.Now().Before(l.until) {
		return l.said(), l.err
	}
	err = try(ctx, source)
	refused := errors.Is(err, replica.ErrRefused)
	if err != nil && !refused && ctx.Err() != nil {
		return l.said(), err
	}
	l.err = err
	switch {
	case err == nil:
		l.why, l.wait = "", 0
		l.until = time.Now().Add(loginStands)
		return "", nil
	case refused:
		if l.why == "" {
			l.wait = 0
		}
		l.why, l.err = err.Error(), nil
	}
	l.wait = min(max(firstLogin, 2*l.wait), lastLogin)
	l.until = time.Now().Add(l.wait)
	return l.said(), l.err
}

// said is the refusal that stands, and when it is asked about again.
func (l *logins) said() string {
	if l.why == "" {
		return ""
	}
	return fmt.Sprintf("%s (tried again after %s, or when a person asks for a rebuild)", l.why, watchdog.StampOf(l.until))
}
