package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"resilver/cmd/internal/lab"
)

// oldWays rebuilds the replica as Xenon's rebuildme does: stop it, wipe its
// datadir, copy into it, prepare, give it to mysqld, start, reset, attach. The
// copy is the fastest that the engine has: CLONE on MySQL, where a backup tool
// would take longer, the local pipe on MariaDB.
func (s *site) oldWays() measure {
	return measure{"rebuild the old way", func(ctx context.Context) error {
		return s.away(ctx, outageOld, clientOld, func(ctx context.Context) error {
			for _, step := range []func(context.Context) error{s.shutDown, s.wipe, s.copyInto, s.boot, s.reattach} {
				if err := step(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}}
}

func (s *site) wipe(context.Context) error {
	if err := os.RemoveAll(s.replica.Datadir); err != nil {
		return fmt.Errorf("wipe the datadir: %w", err)
	}
	return nil
}

// copyInto makes the datadir anew. CLONE wants to make its directory itself,
// as mysqld's user, so the copy is made in the area and moved, which takes no
// time; the primary's mysqld is its hands, because the replica's is down.
func (s *site) copyInto(ctx context.Context) error {
	dir, remove := s.fresh("old")
	take := s.pipe
	if s.Engine == lab.MySQL {
		take = func(ctx context.Context, dir string) error {
			return s.clone(ctx, func(ctx context.Context, statement string) error { return s.primary.SQL(ctx, statement) }, dir, "NO SSL")
		}
	}
	if err := take(ctx, dir); err != nil {
		return errors.Join(err, remove())
	}
	if s.Engine == lab.MariaDB {
		prepare := s.c.AsServer(ctx, s.c.Tool("mariadb-backup"), "--no-defaults", "--prepare", "--target-dir="+dir)
		prepare.Dir = "/"
		if out, err := prepare.CombinedOutput(); err != nil {
			return fmt.Errorf("prepare: %w: %s", err, out[max(0, len(out)-800):])
		}
	}
	if err := s.c.Own(dir); err != nil {
		return err
	}
	if err := os.Rename(dir, s.replica.Datadir); err != nil {
		return fmt.Errorf("move the copy: %w", err)
	}
	return nil
}

// reattach waits for the server and makes it a replica again.
func (s *site) reattach(ctx context.Context) error {
	err := poll(ctx, bootDeadline, quick, "mysqld to answer", func(ctx context.Context) (bool, string) {
		_, err := s.replica.Value(ctx, "SELECT 1")
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return err
	}
	statements := []string{"STOP REPLICA", "RESET REPLICA ALL"}
	if s.Engine == lab.MariaDB {
		position, err := copiedPosition(s.replica.Datadir)
		if err != nil {
			return err
		}
		statements = append(statements, "RESET MASTER", "SET GLOBAL gtid_slave_pos='"+position+"'")
	}
	if err := s.replica.SQL(ctx, statements...); err != nil {
		return err
	}
	return s.replica.Attach(ctx, s.primary)
}

// copiedPosition is the GTID position that mariadb-backup wrote beside a copy.
func copiedPosition(dir string) (string, error) {
	name := filepath.Join(dir, "xtrabackup_binlog_info")
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read the copy's position: %w", err)
	}
	fields := strings.Fields(string(text)) // file, offset, position
	if len(fields) != 3 {
		return "", fmt.Errorf("read the copy's position: %s holds %q", name, text)
	}
	return fields[2], nil
}
