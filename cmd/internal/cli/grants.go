package cli

import (
	"errors"
	"fmt"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"resilver/cmd/internal/sidecar"
	"resilver/config"
	"resilver/watchdog/replica"
)

// grantsOf is one account in the JSON of grants.
type grantsOf struct {
	Role       string   `json:"role"`
	Account    string   `json:"account"`
	Statements []string `json:"statements"`
}

func (a *app) grantsCommand() *cobra.Command {
	var file, osUser, flavor, mysqld string
	var roles []string
	c := &cobra.Command{
		Use: "grants", GroupID: "setup", Args: cobra.NoArgs,
		Short: "print the statements that make resilver's accounts, with the fewest rights",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := config.Default()
			if file != "" {
				var err error
				if cfg, err = config.LoadFile(file); err != nil {
					return &usageError{absent(err, "name an existing one by --config FILE, or none for the defaults")}
				}
			}
			if osUser == "" {
				me, err := user.Current()
				if err != nil {
					return fmt.Errorf("find this process's user: %w; name the sidecar's with --os-user", err)
				}
				osUser = me.Username
			}
			return a.grants(cfg, accounts{flavor: flavor, sidecar: osUser, mysqld: mysqld}, roles)
		},
	}
	c.Flags().StringVar(&file, "config", "", "take the names of accounts and users from this configuration; without it the defaults")
	c.Flags().StringVar(&osUser, "os-user", "", "system user that runs the sidecar; without it this one")
	c.Flags().StringVar(&flavor, "flavor", "mysql", "mysql | mariadb")
	c.Flags().StringVar(&mysqld, "mysqld-user", "mysql", "MariaDB: system user that mysqld runs as; the donor's account has its name")
	c.Flags().StringSliceVar(&roles, "role", []string{"sidecar", "donor"}, "sidecar: what it needs itself | donor: what copying from this server needs")
	return c
}

// accounts says for which engine, and for whom.
type accounts struct {
	flavor          string // mysql | mariadb
	sidecar, mysqld string // system users
}

func (w accounts) sidecarOf(cfg *config.Config) replica.GrantsOptions {
	o := replica.GrantsOptions{Flavor: w.flavor, Account: replica.AccountSidecar, Name: cfg.MySQL.User, OSUser: w.sidecar,
		Checksum: cfg.Verify.Checksum != config.ChecksumOff}
	// On MariaDB only the account of that very name is known by its system user.
	if cfg.MySQL.PasswordFile != "" || w.flavor == "mariadb" && o.Name != o.OSUser {
		o.OSUser = ""
	}
	return o
}

func (w accounts) donorOf(cfg *config.Config) replica.GrantsOptions {
	if w.flavor == "mariadb" {
		return replica.GrantsOptions{Flavor: w.flavor, Account: replica.AccountBackup, Name: w.mysqld, OSUser: w.mysqld}
	}
	return replica.GrantsOptions{Flavor: w.flavor, Account: replica.AccountClone, Name: sidecar.CloneAccount, OSUser: cfg.Donor.OSUser}
}

func (a *app) grants(cfg *config.Config, who accounts, roles []string) error {
	if who.flavor != "mysql" && who.flavor != "mariadb" {
		return &usageError{fmt.Errorf("there is no flavour %q: it is mysql or mariadb", who.flavor)}
	}
	out := []grantsOf{}
	for _, role := range roles {
		var o replica.GrantsOptions
		switch role {
		case "sidecar":
			o = who.sidecarOf(cfg)
		case "donor":
			o = who.donorOf(cfg)
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
	a.printf("-- Run these on the primary; they replicate.")
	if who.flavor == "mysql" {
		a.printf(" Every server needs the plugins auth_socket and\n-- mysql_clone, loaded by its option file: plugin_load_add=auth_socket.so and plugin_load_add=mysql_clone.so")
	}
	a.printf("\n")
	for _, g := range out {
		a.printf("\n-- %s: %s\n%s;\n", g.Role, g.Account, strings.Join(g.Statements, ";\n"))
	}
	return nil
}
