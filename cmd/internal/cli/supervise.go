package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"resilver/cmd/internal/sidecar"
	"resilver/config"
	"resilver/healing"
	"resilver/healing/service"
)

func (a *app) superviseCommand() *cobra.Command {
	var file, user string
	var stop time.Duration
	var start bool
	c := &cobra.Command{
		Use: "supervise -- mysqld [ARG]...", GroupID: "daemon",
		Short: "own a mysqld: start it, restart it after a crash, keep it down during a swap",
		Args: func(c *cobra.Command, args []string) error {
			if start {
				return cobra.NoArgs(c, args)
			}
			return cobra.MinimumNArgs(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if start {
				return a.wake(c.Context(), file)
			}
			if stop <= 0 {
				return &usageError{fmt.Errorf("--stop-timeout %v is not positive", stop)}
			}
			return a.supervise(c.Context(), file, args, user, stop)
		},
	}
	configFlag(c, &file)
	c.Flags().DurationVar(&stop, "stop-timeout", 10*time.Minute, "how long mysqld may take to shut down before it is killed")
	c.Flags().StringVar(&user, "user", "", "system user to run mysqld as, where only its option file names one")
	c.Flags().BoolVar(&start, "start", false, "have the supervisor that runs start its mysqld, which was shut down")
	c.Flags().SetInterspersed(false) // what follows mysqld is its own
	return c
}

func (a *app) supervise(ctx context.Context, file string, command []string, user string, stop time.Duration) error {
	stateDir, log, err := config.LoadStateDir(file)
	if err != nil {
		return &usageError{absent(err, configCure)}
	}
	program, err := exec.LookPath(command[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return &usageError{fmt.Errorf("find %s: %w; name it by its whole path", command[0], err)}
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("make state_dir: %w", err)
	}
	command = append([]string{program}, command[1:]...)
	if user != "" {
		command = append(command, "--user="+user)
	}
	// A mysqld that changes its user by itself would outlive a killed supervisor.
	as, err := service.RunAs(command)
	if err != nil {
		return &usageError{err}
	}
	if as == nil && os.Geteuid() == 0 {
		a.logger(log).Warn("no --user for mysqld: a killed supervisor would leave it running")
	}
	s, err := service.NewSupervisor(service.SupervisorOptions{
		Command:     command,
		Credential:  as,
		Env:         mysqldEnviron(a.Environ),
		Socket:      sidecar.SuperviseSocket(stateDir),
		Guard:       func(context.Context) error { return healing.StartGuard(stateDir, datadirOf(command)) },
		Stdout:      fileOf(a.Stdout),
		Stderr:      fileOf(a.Stderr),
		StopTimeout: stop,
		Logger:      a.logger(log),
	})
	if err != nil {
		return err
	}
	if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// started is the JSON of supervise --start.
type started struct {
	Running bool `json:"running"`
	PID     int  `json:"pid"`
}

// wake has the supervisor that runs start its mysqld.
func (a *app) wake(ctx context.Context, file string) error {
	stateDir, _, err := config.LoadStateDir(file)
	if err != nil {
		return &usageError{absent(err, configCure)}
	}
	st, err := service.Supervised{Socket: sidecar.SuperviseSocket(stateDir)}.Wake(ctx)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(started{st.Running, st.PID})
	}
	a.printf("mysqld runs, process %d\n", st.PID)
	return nil
}

// datadirOf is the datadir that mysqld's command line names, empty where only
// an option file does.
func datadirOf(command []string) string {
	dir := ""
	for _, arg := range command {
		if value, ok := strings.CutPrefix(arg, "--datadir="); ok {
			dir = value
		}
	}
	return dir
}

// mysqldEnviron is the environment without what is meant for resilver.
func mysqldEnviron(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool { return strings.HasPrefix(e, "RESILVER_") })
}

func fileOf(w any) *os.File {
	f, _ := w.(*os.File)
	return f
}
