package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"resilver/config"
	"resilver/healing"
)

// mayStart is the JSON of start-guard and finish.
type mayStart struct {
	MayStart bool    `json:"may_start"`
	Reason   *string `json:"reason"`  // why not
	Warning  *string `json:"warning"` // why it is not certain
}

// answerStart says whether mysqld may be started: err is why not, and doubt
// what keeps it from being certain. It returns err.
func (a *app) answerStart(err, doubt error) error {
	if !a.json() {
		return err
	}
	text := func(err error) *string {
		if err == nil {
			return nil
		}
		s := err.Error()
		return &s
	}
	return errors.Join(err, a.printJSON(mayStart{MayStart: err == nil, Reason: text(err), Warning: text(doubt)}))
}

func (a *app) startGuardCommand() *cobra.Command {
	var file, datadir string
	c := &cobra.Command{
		Use: "start-guard", GroupID: "daemon", Args: cobra.NoArgs,
		Short: "say whether mysqld may be started now: exit code 0 or 1",
		RunE: func(*cobra.Command, []string) error {
			stateDir, _, err := bootStateDir(file)
			if err != nil {
				return a.guardBlind(file, datadir, err)
			}
			return a.answerStart(healing.StartGuard(stateDir, datadir), nil)
		},
	}
	c.Flags().StringVar(&datadir, "datadir", "", "the datadir to look for a marker in, where the state directory does not know it")
	configFlag(c, &file)
	return c
}

// guardBlind answers where a broken configuration hides its state_dir. It must
// not keep a database down that no rebuild has to do with, and systemd takes a
// refusal for a start that was skipped: all it says is in the unit's journal.
func (a *app) guardBlind(file, datadir string, broken error) error {
	dirs, err := config.StateDirsIn(file)
	if err != nil {
		return a.answerStart(broken, nil)
	}
	if err := healing.StartGuardBlind(dirs, datadir); err != nil {
		return a.answerStart(errors.Join(broken, err), nil)
	}
	a.complain(broken)
	_, _ = fmt.Fprintln(a.Stderr, "resilver: WARNING: mysqld may start, because nothing says that a rebuild is under way; but the sidecar does not run until this configuration is corrected")
	return a.answerStart(nil, broken)
}
