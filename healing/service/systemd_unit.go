package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// Values of the properties that are branched on (org.freedesktop.systemd1(5)).
const (
	loadLoaded = "loaded"
	loadMasked = "masked"

	stateActive       = "active"
	stateReloading    = "reloading"
	stateActivating   = "activating"
	stateDeactivating = "deactivating"
	stateInactive     = "inactive"
	stateFailed       = "failed"

	subAutoRestart = "auto-restart"
	subStart       = "start"

	resultSuccess       = "success"
	resultExecCondition = "exec-condition"
	resultStartLimit    = "service-start-limit-hit"
)

// quickDeath is the life below which a death counts.
const quickDeath = time.Minute

// unit is what systemd says of one unit.
type unit struct {
	id       string // the name of which the others are aliases
	names    []string
	load     string
	file     string // UnitFileState
	active   string
	sub      string
	result   string
	triggers []string // what starts it: sockets
	stale    bool     // its files have changed since they were read
	job      bool     // one is pending

	pid      int // 0: none
	lastPID  int
	restarts int           // automatic ones, since it was started
	code     int32         // how the last process ended, as waitid(2) says it
	exit     int32         // with which exit code or signal
	begun    time.Duration // of the last process, by the monotonic clock
	up       bool          // it has been active since the machine started
	requires []string
	guards   [][]string // ExecCondition
}

func unitOf(ctx context.Context, c *dbus.Conn, name string) (unit, error) {
	p, err := c.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return unit{}, fmt.Errorf("read %s: %w", name, err)
	}
	return readUnit(p), nil
}

func readUnit(p map[string]any) unit {
	return unit{
		id: get[string](p, "Id"), names: get[[]string](p, "Names"), load: get[string](p, "LoadState"), file: get[string](p, "UnitFileState"),
		active: get[string](p, "ActiveState"), sub: get[string](p, "SubState"), result: get[string](p, "Result"),
		triggers: get[[]string](p, "TriggeredBy"), stale: get[bool](p, "NeedDaemonReload"), job: jobOf(p),
		pid: int(get[uint32](p, "MainPID")), lastPID: int(get[uint32](p, "ExecMainPID")), restarts: int(get[uint32](p, "NRestarts")),
		code: get[int32](p, "ExecMainCode"), exit: get[int32](p, "ExecMainStatus"),
		begun:    time.Duration(get[uint64](p, "ExecMainStartTimestampMonotonic")) * time.Microsecond,
		up:       get[uint64](p, "ActiveEnterTimestampMonotonic") != 0,
		requires: get[[]string](p, "Requires"), guards: commandsOf(p, "ExecCondition"),
	}
}

func get[T any](p map[string]any, name string) T {
	v, _ := p[name].(T)
	return v
}

// jobOf reads the pair of a job's number and path.
func jobOf(p map[string]any) bool {
	pair, _ := p["Job"].([]any)
	if len(pair) == 0 {
		return false
	}
	id, _ := pair[0].(uint32)
	return id != 0
}

// commandsOf reads the argument lists out of a list of commands.
func commandsOf(p map[string]any, name string) [][]string {
	var out [][]string
	list, _ := p[name].([][]any)
	for _, command := range list {
		if len(command) > 1 {
			if argv, ok := command[1].([]string); ok {
				out = append(out, argv)
			}
		}
	}
	return out
}

func (u unit) String() string {
	text := u.active + "/" + u.sub
	if u.result != "" && u.result != resultSuccess {
		text += " (" + u.result + ")"
	}
	if u.load != loadLoaded {
		text = u.load + ", " + text
	}
	return text
}

// running says that the server's process exists: as the main process, or, in
// a unit that waits for it to go into the background, not known as such yet.
func (u unit) running() bool {
	return u.pid != 0 || u.active == stateActivating && u.sub == subStart
}

// down says that nothing of the unit runs, and nothing will by itself.
func (u unit) down() bool {
	return (u.active == stateInactive || u.active == stateFailed) && u.pid == 0
}

func (u unit) refused() string {
	if u.active == stateInactive && u.result == resultExecCondition {
		return "a condition of " + u.id + " (ExecCondition) does not let it start: see `resilver start-guard`"
	}
	return ""
}

// status is the unit in the words of a Service, at a time of the monotonic
// clock.
func (u unit) status(now time.Duration) Status {
	st := Status{Managed: "systemd", Running: u.running(), PID: u.pid, Refused: u.refused(),
		Deaths: u.restarts, GaveUp: u.active == stateFailed && !u.job}
	if u.active == stateFailed || u.sub == subAutoRestart {
		st.Deaths++
	}
	if u.pid != 0 && now-u.begun >= quickDeath {
		st.Deaths = 0
	}
	if u.code != 0 {
		st.LastExit = exitText(u.code, u.exit)
	}
	if u.active == stateFailed && u.result != resultSuccess {
		st.LastExit = strings.TrimPrefix(st.LastExit+", "+u.result, ", ")
	}
	return st
}

// exitText writes what waitid(2) says as Go does.
func exitText(code, status int32) string {
	const exited, killed, dumped = 1, 2, 3 // CLD_*
	switch code {
	case exited:
		return fmt.Sprintf("exit status %d", status)
	case killed:
		return "signal: " + syscall.Signal(status).String()
	case dumped:
		return "signal: " + syscall.Signal(status).String() + " (core dumped)"
	}
	return fmt.Sprintf("ended with code %d", code)
}

// notStarted is why there is no process although the start job has ended.
func (u unit) notStarted(job string) error {
	switch {
	case u.refused() != "":
		return fmt.Errorf("%w: %s", ErrRefused, u.refused())
	case job == "dependency":
		return fmt.Errorf("something that %s requires did not start: see `systemctl list-dependencies --failed %s`", u.id, u.id)
	case u.code != 0 && u.active == stateFailed:
		return fmt.Errorf("%s is %s: %s", u.id, u, exitText(u.code, u.exit))
	}
	return fmt.Errorf("the start job of %s ended as %s, and it is %s", u.id, job, u)
}

// activeOf returns those of the units that are active or about to be.
func activeOf(ctx context.Context, c *dbus.Conn, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		u, err := unitOf(ctx, c, name)
		if err != nil {
			return nil, err
		}
		if u.active == stateActive || u.active == stateActivating || u.active == stateReloading {
			out = append(out, u.id)
		}
	}
	return out, nil
}

func contains(list, any []string) bool {
	return slices.ContainsFunc(any, func(s string) bool { return slices.Contains(list, s) })
}

// monotonic is the clock of systemd's timestamps.
func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Check says what the unit lacks to be driven safely: nil where nothing.
func (s *Systemd) Check(ctx context.Context) error {
	err := s.with(ctx, askTimeout, func(ctx context.Context, c *dbus.Conn) error {
		u, err := unitOf(ctx, c, s.o.Unit)
		if err != nil {
			return err
		}
		return u.check()
	})
	if err != nil {
		return fmt.Errorf("look at %s: %w", s.o.Unit, err)
	}
	return nil
}

// FinishUnit completes a swap before the server's unit starts.
const FinishUnit = "resilver-finish.service"

func (u unit) check() error {
	if u.load != loadLoaded {
		return fmt.Errorf("there is no such unit that could be started: it is %s", u.load)
	}
	var errs []error
	if !slices.ContainsFunc(u.guards, func(argv []string) bool { return slices.Contains(argv, "start-guard") }) {
		errs = append(errs, errors.New("the start guard is not in its way: install resilver's drop-in (ExecCondition) and run `systemctl daemon-reload`"))
	}
	if !slices.Contains(u.requires, FinishUnit) {
		errs = append(errs, fmt.Errorf("it does not require %s, which completes a swap after a reboot: run `systemctl enable %s`", FinishUnit, FinishUnit))
	}
	return errors.Join(errs...)
}
