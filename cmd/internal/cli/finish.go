package cli

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"resilver/config"
	"resilver/healing"
)

func (a *app) finishCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "finish", GroupID: "daemon", Args: cobra.NoArgs,
		Short: "complete a swap that a reboot has interrupted, before mysqld starts",
		Long: "Run before mysqld starts, as resilver-finish.service does. Where a rebuild was interrupted between\n" +
			"stop and start it makes the datadir fit to be started on: it completes the exchange, or goes back.\n" +
			"Exit code 0: mysqld may start. 1: it must not, or a running sidecar is about to do it.",
		RunE: func(*cobra.Command, []string) error {
			stateDir, log, err := bootStateDir(file)
			if err == nil {
				err = healing.Finish(stateDir, a.logger(log))
			}
			return a.answerStart(err, nil)
		},
	}
	configFlag(c, &file)
	return c
}

// bootStateDir finds the state directory for what is asked before mysqld
// starts. Where resilver is installed but not configured, that is the default
// one: such a machine's database must not stay down for want of the file.
func bootStateDir(file string) (string, config.Log, error) {
	stateDir, log, err := config.LoadStateDir(file)
	if file == defaultConfig && errors.Is(err, fs.ErrNotExist) {
		d := config.Default()
		return d.StateDir, d.Log, nil
	}
	if err != nil {
		return "", config.Log{}, &usageError{absent(err, configCure)}
	}
	return stateDir, log, nil
}
