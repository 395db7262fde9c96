package lab

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// schema is what every node of a lab begins with, at the same GTID: none.
var schema = []string{
	"CREATE DATABASE lab",
	// The mass of the data, touched by the load row by row.
	"CREATE TABLE lab.bulk (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, touched INT UNSIGNED NOT NULL DEFAULT 0, body VARBINARY(1000) NOT NULL)",
	// What the load writes and remembers.
	"CREATE TABLE lab.writes (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, sum INT UNSIGNED NOT NULL, body VARCHAR(255) NOT NULL)",
	// What the faults write.
	"CREATE TABLE lab.faults (id BIGINT UNSIGNED NOT NULL PRIMARY KEY AUTO_INCREMENT, note VARCHAR(64) NOT NULL)",
}

// rowsPerMB is how many rows of lab.bulk make a megabyte of table space.
const rowsPerMB = 900

const templateDeadline = 10 * time.Minute

// template returns a datadir at rest to copy nodes from: initialised, root
// entering by its operating system user, lab's schema with dataMB megabytes
// in it. It is made once for each server, user and size.
func (s *Server) template(ctx context.Context, id identity, dataMB int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, templateDeadline)
	defer cancel()
	recipe := sha256.New()
	fmt.Fprint(recipe, s.Version, id, schema, rowsPerMB, redoCapacity, seedOptions("", s, id))
	dir := filepath.Join(s.cache, fmt.Sprintf("template-%s-%x-%dMB", s.Version, recipe.Sum(nil)[:6], dataMB))
	err := withLock(ctx, dir+".lock", func() error {
		if exists(dir) {
			return nil
		}
		work := dir + ".new"
		if err := os.RemoveAll(work); err != nil {
			return fmt.Errorf("clear an unfinished template: %w", err)
		}
		if err := s.makeTemplate(ctx, id, work, dataMB); err != nil {
			return errors.Join(fmt.Errorf("make a template datadir: %w", err), os.RemoveAll(work))
		}
		if err := os.Rename(filepath.Join(work, "data"), dir); err != nil {
			return fmt.Errorf("keep a template: %w", err)
		}
		return os.RemoveAll(work)
	})
	return dir, err
}

func (s *Server) makeTemplate(ctx context.Context, id identity, dir string, dataMB int) (err error) {
	if err := id.mkdirOwned(dir, 0o755); err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	options := filepath.Join(dir, "my.cnf")
	if err := os.WriteFile(options, []byte(seedOptions(dir, s, id)), 0o644); err != nil {
		return fmt.Errorf("write the option file: %w", err)
	}
	if dataMB > 0 {
		base, err := s.template(ctx, id, 0)
		if err != nil {
			return err
		}
		if err := copyTree(base, data, id); err != nil {
			return err
		}
	} else if err := s.engine.initialise(ctx, s, id, options); err != nil {
		return fmt.Errorf("initialise: %w; its log ends: %s", err, tail(filepath.Join(dir, "seed.err"), 5))
	}
	if err := s.seed(ctx, id, dir, dataMB); err != nil {
		return fmt.Errorf("%w; its log ends: %s", err, tail(filepath.Join(dir, "seed.err"), 5))
	}
	for _, name := range s.engine.forget {
		if err := os.Remove(filepath.Join(data, name)); err != nil {
			return fmt.Errorf("make the template nobody's own: %w", err)
		}
	}
	return nil
}

// seed boots the server on the new datadir, fills it and shuts it down.
func (s *Server) seed(ctx context.Context, id identity, dir string, dataMB int) (err error) {
	booted, stop := context.WithCancel(ctx)
	defer stop()
	cmd := command(booted, s.Mysqld, "--defaults-file="+filepath.Join(dir, "my.cnf"))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); stop() }()
	db, err := openSocket(filepath.Join(dir, "sock"), s.engine.user(id))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := waitAnswer(booted, db, time.Minute); err != nil {
		return err
	}
	if dataMB > 0 {
		err = s.fill(booted, db, dataMB)
	} else {
		err = runAll(booted, db, append(s.engine.admit(id), schema...)...)
	}
	if err != nil {
		return err
	}
	if err := runAll(booted, db, "SET GLOBAL innodb_fast_shutdown=0", "SHUTDOWN"); err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// fill writes rows that do not compress into lab.bulk.
func (s *Server) fill(ctx context.Context, db *sql.DB, dataMB int) error {
	const batch = 20000
	for first, last := 1, dataMB*rowsPerMB; first <= last; first += batch {
		if _, err := db.ExecContext(ctx, s.engine.fill(first, min(first+batch-1, last))); err != nil {
			return fmt.Errorf("fill the template: %w", err)
		}
	}
	return nil
}

// waitAnswer waits until a server answers a query.
func waitAnswer(ctx context.Context, db *sql.DB, within time.Duration) error {
	return WaitFor(ctx, within, "mysqld to answer", func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var one string
		if err := db.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
			return false, strings.TrimSpace(err.Error())
		}
		return true, ""
	})
}
