package cli

import (
	"errors"
	"fmt"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"resilver/config"
	"resilver/watchdog/replica"
)

// cloneAccount is the account that copies log in as at a donor.
const cloneAccount = "resilver_clone"

// grantsOf is one account in the JSON of grants.
type grantsOf struct {
	Role       string   `json:"role"`
	Account    string   `json:"account"`
	Statements []string `json:"statements"`
}

func (a *app) grantsCommand() *cobra.Command {
	var file, osUser string
	var roles []string
	c := &cobra.Command{
		Use: "grants", GroupID: "setup", Args: cobra.NoArgs,
		Short: "print the statements that make resilver's accounts, with the fewest rights",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := config.Default()
			if file != "" {
				var err error
				if cfg, err = config.LoadFile(file); err != nil {
					return &usageError{err}
				}
			}
			if osUser == "" {
				me, err := user.Current()
				if err != nil {
					return fmt.Errorf("find this process's user: %w; name the sidecar's with --os-user", err)
				}
				osUser = me.Username
			}
			return a.grants(cfg, osUser, roles)
		},
	}
	c.Flags().StringVar(&file, "config", "", "take the names of accounts and users from this configuration; without it the defaults")
	c.Flags().StringVar(&osUser, "os-user", "", "system user that runs the sidecar; without it this one")
	c.Flags().StringSliceVar(&roles, "role", []string{"sidecar", "donor"}, "sidecar: what it needs itself | donor: what copying from this server needs")
	return c
}

func (a *app) grants(cfg *config.Config, osUser string, roles []string) error {
	out := []grantsOf{}
	for _, role := range roles {
		o := replica.GrantsOptions{Flavor: "mysql"}
		switch role {
		case "sidecar":
			o.Account, o.Name, o.OSUser = replica.AccountSidecar, cfg.MySQL.User, osUser
			if cfg.MySQL.PasswordFile != "" {
				o.OSUser = ""
			}
		case "donor":
			o.Account, o.Name, o.OSUser = replica.AccountClone, cloneAccount, cfg.Donor.OSUser
		default:
			return &usageError{fmt.Errorf("there is no role %q: it is sidecar or donor", role)}
		}
		statements, err := replica.Grants(o)
		if err != nil {
			return err
		}
		out = append(out, grantsOf{Role: role, Account: o.Name + "@localhost", Statements: statements})
	}
	if len(out) == 0 {
		return &usageError{errors.New("no role is named: it is sidecar or donor")}
	}
	if a.json() {
		return a.printJSON(out)
	}
	a.printf("-- Run these on the primary; they replicate. Every server needs the plugins auth_socket and\n-- mysql_clone, loaded by its option file: plugin_load_add=auth_socket.so and plugin_load_add=mysql_clone.so\n")
	for _, g := range out {
		a.printf("\n-- %s: %s\n%s;\n", g.Role, g.Account, strings.Join(g.Statements, ";\n"))
	}
	return nil
}
