package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"

	"github.com/go-sql-driver/mysql"

	"resilver/healing/private"
)

// scratch boots the very scratch server that resilver clones into.
func (s *site) scratch(ctx context.Context) (*private.Server, *sql.DB, error) {
	program, uid, gid := s.c.Mysqld()
	if found, err := exec.LookPath(program); err == nil {
		program = found
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, nil, fmt.Errorf("find mysqld: %w", err)
	}
	paths := map[string]string{}
	for _, name := range []string{"basedir", "plugin_dir", "lc_messages_dir", "character_sets_dir"} {
		if paths[name], err = s.replica.Value(ctx, "SELECT @@global."+name); err != nil {
			return nil, nil, err
		}
	}
	server, err := private.Scratch(ctx, private.Options{
		Program: private.Program{Prefix: []string{program}, UID: uint32(uid), GID: uint32(gid)},
		Paths:   paths, Area: s.area, BootTimeout: bootDeadline, Logger: slog.New(slog.DiscardHandler),
	}, nil)
	if err != nil {
		return nil, nil, err
	}
	conf := mysql.NewConfig()
	conf.User, conf.Net, conf.Addr = "root", "unix", server.Socket()
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("connect to the scratch server: %w", err), server.Kill())
	}
	return server, sql.OpenDB(connector), nil
}

// warmScratch makes the template that later ones are copied from.
func (s *site) warmScratch(ctx context.Context) error {
	server, db, err := s.scratch(ctx)
	if err != nil {
		return err
	}
	return errors.Join(db.Close(), server.Kill())
}
